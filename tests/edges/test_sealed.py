"""Sealed connections over real sockets: who gets in, and what others hear."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import time
from collections import deque
from hashlib import sha256
from pathlib import Path

import pytest

from shoal.core.address import Address
from shoal.core.keys import derive_keys
from shoal.core.proof import ClientProof, make_knock
from shoal.errors import (
    NotAHolderError,
    PeerError,
    PeerTimeoutError,
    ProtocolError,
    SelfConnectionError,
    UsageError,
)
from shoal.transport.certificate import (
    Certificates,
    client_context,
    make_certificate,
    peer_certificate,
)
from shoal.transport.halfopen import HalfOpen, slot_of
from shoal.transport.records import Records
from shoal.transport.sealed_listen import MAX_SHARES
from shoal.transport.tls import STRANGER_LIMIT
from tests.helpers.relay import PlainRelay, TlsRelay
from tests.helpers.sealed import (
    CLIENT_ID,
    KEYS,
    OTHER_KEYS,
    PATIENCE,
    SERVER_ID,
    answer_to,
    open_sealed,
)
from tests.helpers.wrong_server import LyingServer, mismatched_context

MEGABYTE = 1 << 20


async def hello_of_tls() -> bytes:
    """Return what a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def test_holders_exchange_bytes_both_ways() -> None:
    data = os.urandom(3 * MEGABYTE + 17)
    async with open_sealed() as sealed:
        sealed.echo = True
        plain = await sealed.dial()
        plain.transport.write(data)
        assert await plain.until(len(data)) == data
        served = sealed.served[0]
        assert served.received == data
        assert (plain.peer.node_id, served.peer.node_id) == (SERVER_ID, CLIENT_ID)
        assert plain.peer.address == sealed.address
        assert plain.peer.version == served.peer.version == 1
        assert sealed.listener.half_open == 0
        plain.transport.close()
        await served.until_lost()
        await plain.until_lost()


async def test_bytes_right_behind_the_proof_are_not_lost() -> None:
    async with open_sealed() as sealed:
        sealed.greeting = os.urandom(2 * MEGABYTE)
        plain = await sealed.dial()
        assert await plain.until(len(sealed.greeting)) == sealed.greeting
        plain.transport.abort()


async def test_what_was_written_before_closing_arrives() -> None:
    async with open_sealed() as sealed:
        plain = await sealed.dial()
        data = os.urandom(5 * MEGABYTE)
        plain.transport.writelines([data[:100], data[100:]])
        plain.transport.close()
        assert plain.transport.is_closing()
        assert await sealed.served[0].until(len(data)) == data
        await sealed.served[0].until_lost()
        await plain.until_lost()


async def test_a_reader_that_pauses_loses_nothing_and_holds_the_writer_up() -> None:
    async with open_sealed() as sealed:
        plain = await sealed.dial()
        served = sealed.served[0]
        served.transport.pause_reading()
        assert not served.transport.is_reading()
        data = os.urandom(32 * MEGABYTE)
        plain.transport.write(data)
        assert plain.transport.get_write_buffer_size() > 0
        assert plain.told == ["pause"]
        served.transport.resume_reading()
        assert await served.until(len(data)) == data
        assert plain.transport.get_write_buffer_size() == 0
        assert plain.told == ["pause", "resume"]
        plain.transport.abort()


async def test_a_reader_that_pauses_in_the_middle_of_what_came_loses_nothing() -> None:
    async with open_sealed() as sealed:
        plain = await sealed.dial()
        served = sealed.served[0]
        served.holds_back = True
        data = os.urandom(8 * MEGABYTE + 1)
        plain.transport.write(data)
        assert await served.until(len(data)) == data
        plain.transport.abort()


async def test_another_id_is_refused() -> None:
    async with open_sealed() as sealed:
        with pytest.raises(PeerError, match="does not|hung up"):
            await sealed.dial(OTHER_KEYS)
        assert not sealed.served


HTTP = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".ljust(300)


@pytest.mark.parametrize("size", [0, 1, 47, 48, 49, 300, 70_000])
@pytest.mark.parametrize("end", [False, True])
async def test_garbage_gets_no_answer(size: int, end: bool) -> None:
    async with open_sealed(within=0.3) as sealed:
        assert await answer_to(sealed.address, os.urandom(size), end=end) == b""
        assert await answer_to(sealed.address, HTTP[:size], end=end) == b""


async def test_a_tls_client_that_does_not_knock_gets_no_answer() -> None:
    async with open_sealed() as sealed:
        assert await answer_to(sealed.address, await hello_of_tls()) == b""
        knock = make_knock(OTHER_KEYS.knock, os.urandom(16))
        assert await answer_to(sealed.address, knock + await hello_of_tls()) == b""


@pytest.mark.parametrize("stage", ["nothing", "half a knock", "knock", "tls", "proof"])
async def test_silence_at_any_stage_is_ended_by_the_deadline(stage: str) -> None:
    async with open_sealed(within=0.4) as sealed:
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection(*sealed.address)
        knock = make_knock(KEYS.knock, os.urandom(16))
        if stage == "half a knock":
            writer.write(knock[:24])
        elif stage != "nothing":
            writer.write(knock)
        if stage in ("tls", "proof"):
            await writer.start_tls(client_context(), server_hostname="")
            assert len(await reader.readexactly(34)) == 34
        if stage == "proof":
            writer.write(b"\x01" * 80)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        assert time.monotonic() - begun >= 0.35
        writer.transport.abort()
        assert sealed.listener.half_open == 0
        assert not sealed.served


@pytest.mark.parametrize("stage", ["knock", "tls", "proof"])
async def test_a_byte_now_and_then_does_not_move_the_deadline(stage: str) -> None:
    async with open_sealed(within=0.5) as sealed:
        reader, writer = await asyncio.open_connection(*sealed.address)
        knock = make_knock(KEYS.knock, os.urandom(16))
        drip = knock
        if stage != "knock":
            writer.write(knock)
            drip = await hello_of_tls()
        if stage == "proof":
            await writer.start_tls(client_context(), server_hostname="")
            drip = bytes(81)
        drip = drip[:40]
        ended = asyncio.create_task(reader.read(-1))
        async with asyncio.timeout(PATIENCE):
            for byte in drip:
                writer.write(bytes((byte,)))
                done, _ = await asyncio.wait({ended}, timeout=0.05)
                if done:
                    break
        assert ended.done(), "all of it was taken, long after the deadline"
        assert ended.exception() is None or isinstance(ended.exception(), OSError)
        writer.transport.abort()
        assert sealed.listener.half_open == 0


async def test_a_captured_knock_is_refused_the_second_time() -> None:
    async with open_sealed() as sealed, PlainRelay(sealed.address) as relay:
        plain = await sealed.dial(address=relay.address)
        plain.transport.abort()
        captured = bytes(relay.to_server)
        # The knock and what a server would answer to, TLS's first record.
        end = 53 + int.from_bytes(captured[51:53])
        assert await answer_to(sealed.address, captured[:end], end=True) == b""
        assert await answer_to(sealed.address, captured, end=True) == b""
        async with open_sealed() as another:  # it can be spent once at each
            assert len(await answer_to(another.address, captured[:end], end=True)) > 99
        assert len(sealed.served) == 1


async def test_a_relay_with_its_own_certificate_is_refused_by_the_server() -> None:
    async with open_sealed() as sealed, TlsRelay(sealed.address) as relay:
        with pytest.raises(PeerError):
            await sealed.dial(address=relay.address)
        assert len(relay.to_client) == 34  # the greeting, and never a proof
        assert len(relay.to_server) == 81
        assert not sealed.served


async def test_a_relay_with_its_own_certificate_is_refused_by_the_client() -> None:
    # The proof is a holder's, made for the certificate that this holder has.
    async with LyingServer(make_certificate(), claimed=bytes(32)) as server:
        async with open_sealed() as sealed:
            with pytest.raises(NotAHolderError):
                await sealed.dial(address=server.address)
    # The same server passes when it is not relayed.
    certificate = make_certificate()
    async with LyingServer(certificate, claimed=certificate.digest) as server:
        async with open_sealed() as sealed:
            plain = await sealed.dial(address=server.address)
            plain.transport.abort()


async def test_the_right_certificate_without_its_key_is_refused() -> None:
    context, der = mismatched_context()
    async with LyingServer(context, claimed=sha256(der).digest()) as server:
        async with open_sealed() as sealed:
            with pytest.raises(PeerError, match="(?i)signature"):
                await sealed.dial(address=server.address)


async def test_a_server_that_knows_only_the_knock_is_refused() -> None:
    certificate = make_certificate()
    async with LyingServer(
        certificate, claimed=certificate.digest, keys=OTHER_KEYS
    ) as server:
        async with open_sealed() as sealed:
            with pytest.raises(NotAHolderError):
                await sealed.dial(address=server.address)


async def test_tls_1_2_is_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with open_sealed() as sealed:
        _, writer = await asyncio.open_connection(*sealed.address)
        writer.write(make_knock(KEYS.knock, os.urandom(16)))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await writer.start_tls(context, server_hostname="")
        writer.transport.abort()


def test_a_handshake_of_tls_1_2_is_not_taken_for_one() -> None:
    contexts = client_context.__wrapped__(), make_certificate().context
    for each in contexts:
        each.minimum_version = ssl.TLSVersion.TLSv1_2
        each.maximum_version = ssl.TLSVersion.TLSv1_2
    client = Records(contexts[0], is_server=False)
    server = Records(contexts[1], is_server=True)

    def talk() -> None:
        for _ in range(3):
            server.receive(memoryview(client.shake_hands()))
            client.receive(memoryview(server.shake_hands()))

    with pytest.raises(ProtocolError, match=r"not 1\.3"):
        talk()


def test_records_of_tls_itself_do_not_hold_up_what_follows() -> None:
    context = make_certificate().context
    context.num_tickets = 8  # as good as key updates: records without plain bytes
    client = Records(client_context(), is_server=False)
    server = Records(context, is_server=True)
    server.receive(memoryview(client.shake_hands()))
    client.receive(memoryview(server.shake_hands()))
    server.receive(memoryview(client.shake_hands()))
    sent = server.shake_hands()
    data = os.urandom(MEGABYTE)
    backlog = deque([memoryview(data)])
    while backlog:
        sent += server.encrypt(backlog)[0]
    client.receive(memoryview(sent))
    buffer = bytearray(MEGABYTE)
    assert client.fill(memoryview(buffer)) == MEGABYTE
    assert buffer == data


async def test_a_stranger_may_not_talk_without_end_inside_tls() -> None:
    async with open_sealed(within=60.0) as sealed:
        reader, writer = await asyncio.open_connection(*sealed.address)
        writer.write(make_knock(KEYS.knock, os.urandom(16)))
        # The first half of a ClientHello of 64 KiB, which OpenSSL would wait for.
        record = b"\x16\x03\x01\x3f\xff".ljust(5 + 0x3FFF)
        first = b"\x16\x03\x01\x3f\xff\x01\x00\xff\xff\x03\x03".ljust(5 + 0x3FFF)
        writer.write(first + record[: STRANGER_LIMIT + 1 - len(first)])
        async with asyncio.timeout(PATIENCE):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.transport.abort()


async def test_certificates_differ_between_nodes_hours_and_addresses() -> None:
    now = 0.0
    certificates = Certificates(lambda: now)
    first = certificates.current()
    now = 3599.0
    assert certificates.current() is first
    now = 3600.0
    second = certificates.current()
    certificates.renew()
    third = certificates.current()
    other = Certificates(lambda: now).current()
    assert len({each.digest for each in (first, second, third, other)}) == 4
    assert all(each.digest in certificates for each in (first, second, third))
    assert other.digest not in certificates


async def test_two_servers_of_a_share_show_nothing_in_common() -> None:
    shown = []
    for _ in range(2):
        async with open_sealed() as sealed:
            _, writer = await asyncio.open_connection(*sealed.address)
            writer.write(make_knock(KEYS.knock, os.urandom(16)))
            await writer.start_tls(client_context(), server_hostname="")
            tls = writer.get_extra_info("ssl_object")
            shown.append(tls.getpeercert(binary_form=True))
            assert peer_certificate(tls) == sealed.certificates.current().digest
            assert tls.version() == "TLSv1.3"
            writer.transport.abort()
    assert shown[0] != shown[1]


def test_a_certificate_is_loaded_without_a_file_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    certificate = make_certificate()
    assert certificate.context.cert_store_stats()["x509"] == 0
    assert not list(tmp_path.iterdir())
    assert len(certificate.digest) == 32


async def test_a_flood_of_silence_keeps_no_holder_out() -> None:
    async with open_sealed(max_half_open=64) as sealed:
        strangers = await flood(sealed.address, 2000)
        plain = await sealed.dial()
        assert sealed.listener.half_open <= 64
        plain.transport.abort()
        for each in strangers:
            each.close()


async def flood(address: Address, count: int) -> list[socket.socket]:
    """Connect `count` times and say nothing."""
    strangers = []
    for _ in range(count):
        strangers.append(socket.socket())
        strangers[-1].setblocking(False)
        strangers[-1].connect_ex(tuple(address))
        await asyncio.sleep(0)
    return strangers


async def test_the_oldest_guest_of_an_address_has_to_go() -> None:
    half_open: HalfOpen[int] = HalfOpen(max_guests=5, max_per_address=2)
    assert half_open.admit(1, "8.8.8.8", 1.0) is None
    assert half_open.admit(2, "10.0.0.1", 2.0) is None
    assert half_open.admit(3, "8.8.8.8", 3.0) is None
    assert half_open.admit(4, "8.8.8.8", 4.0) == 1
    assert half_open.admit(5, "10.0.0.1", 5.0) is None
    assert half_open.admit(6, "10.0.0.1", 6.0) is None
    assert half_open.admit(7, "10.0.0.1", 7.0) == 2
    assert half_open.next_deadline() == 3.0
    assert half_open.remove_overdue(4.0) == [3, 4]
    assert half_open.admit(8, "8.8.8.8", 8.0) is None
    assert half_open.remove(8)
    assert not half_open.remove(8)
    assert half_open.remove_oldest() == 5
    assert len(half_open) == 2


async def test_a_system_without_room_has_fewer_guests_until_half_are_gone() -> None:
    half_open: HalfOpen[int] = HalfOpen(max_guests=8)
    for guest in range(6):
        assert half_open.admit(guest, "127.0.0.1", 0.0) is None
    assert half_open.tighten() == 0
    assert half_open.admit(6, "127.0.0.1", 0.0) == 1
    assert half_open.admit(7, "127.0.0.1", 0.0) == 2
    assert len(half_open) == 5
    for guest in (3, 4, 5):
        half_open.remove(guest)
    for guest in range(10, 16):
        assert half_open.admit(guest, "127.0.0.1", 0.0) is None
    assert half_open.admit(16, "127.0.0.1", 0.0) == 6
    while half_open.tighten() is not None:
        pass
    assert half_open.admit(17, "127.0.0.1", 0.0) is None


@pytest.mark.parametrize(
    ("host", "other", "is_same"),
    [
        ("8.8.8.8", "8.8.8.8", True),
        ("8.8.8.8", "8.8.4.4", False),
        ("8.8.8.8", "::ffff:8.8.8.8", False),
        ("2600:1:2:3::1", "2600:1:2:3:ffff::2", True),
        ("2600:1:2:3::1", "2600:1:2:4::1", False),
    ],
)
def test_slots_are_of_global_addresses(host: str, other: str, is_same: bool) -> None:
    assert (slot_of(host) == slot_of(other)) is is_same


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.1.1", "::1", "fe80::1%lo"]
)
def test_other_addresses_have_no_slots(host: str) -> None:
    assert slot_of(host) is None


async def test_a_node_recognises_itself_by_its_certificate() -> None:
    async with open_sealed() as sealed:
        with pytest.raises(SelfConnectionError):
            await sealed.dial(own_certificates=sealed.certificates)
        assert not sealed.served


async def test_a_node_recognises_itself_by_its_id() -> None:
    async with open_sealed() as sealed, PlainRelay(sealed.address) as relay:
        with pytest.raises(PeerError):
            await sealed.dial(address=relay.address, node_id=SERVER_ID)
        assert not sealed.served


async def test_each_of_many_shares_is_reached_at_one_port() -> None:
    async with open_sealed() as sealed:
        all_keys = [derive_keys(bytes((n,)) * 32) for n in range(1, MAX_SHARES)]
        for number, keys in enumerate(all_keys):
            sealed.listener.register(number, keys, sealed.serve)
        with pytest.raises(UsageError, match="64"):
            sealed.listener.register("more", OTHER_KEYS, sealed.serve)
        for keys in (all_keys[0], all_keys[30], all_keys[-1], KEYS):
            plain = await sealed.dial(keys)
            plain.transport.abort()
        sealed.listener.unregister(30)
        with pytest.raises(PeerError):
            await sealed.dial(all_keys[30])
        with pytest.raises(UsageError, match="already"):
            sealed.listener.register("again", KEYS, sealed.serve)


async def test_a_share_withdrawn_during_the_proofs_is_not_served() -> None:
    async with open_sealed() as sealed:
        reader, writer = await asyncio.open_connection(*sealed.address)
        writer.write(make_knock(KEYS.knock, os.urandom(16)))
        await writer.start_tls(client_context(), server_hostname="")
        certificate = sealed.certificates.current().digest
        proof = ClientProof(KEYS, CLIENT_ID, certificate, os.urandom(32))
        proof.receive(await reader.readexactly(proof.needed))
        sealed.listener.unregister("share")
        writer.write(proof.data_to_send())
        async with asyncio.timeout(PATIENCE):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.transport.abort()
        assert not sealed.served


async def test_a_factory_may_refuse_a_holder() -> None:
    async with open_sealed() as sealed:

        def refuse(_: object) -> asyncio.BufferedProtocol:
            raise PeerError("too many")

        sealed.listener.register("full", OTHER_KEYS, refuse)
        with pytest.raises(PeerError, match="hung up"):
            await sealed.dial(OTHER_KEYS)
        assert sealed.listener.half_open == 0


async def test_dialling_ends_in_time_when_nobody_speaks() -> None:
    async with open_sealed() as sealed:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = Address("127.0.0.1", silent.getsockname()[1])
            with pytest.raises(PeerTimeoutError):
                await sealed.dial(address=address, within=0.2)
        with pytest.raises(PeerError, match="cannot be reached"):
            await sealed.dial(address=address)


async def test_closing_ends_what_is_half_open_and_nothing_else() -> None:
    async with open_sealed() as sealed:
        sealed.echo = True
        plain = await sealed.dial()
        reader, writer = await asyncio.open_connection(*sealed.address)
        writer.write(b"half a knock")
        await sealed.dial()  # the stranger came first, so it is half-open by now
        assert sealed.listener.half_open == 1
        await sealed.listener.aclose()
        await sealed.listener.aclose()
        assert await reader.read() == b""
        writer.transport.abort()
        plain.transport.write(b"still here")
        assert await plain.until(10) == b"still here"
        plain.transport.abort()


async def test_strangers_do_not_flood_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "shoal")
    async with open_sealed() as sealed:
        for _ in range(50):
            await answer_to(sealed.address, bytes(48))
    assert len([each for each in caplog.records if "holders" in each.message]) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of file descriptors")
async def test_it_survives_having_no_file_descriptor_left() -> None:
    # In a process of its own: the limit is the process's.
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.helpers.few_files"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=root,
    )
    assert process.stdin
    assert process.stdout
    strangers: list[socket.socket] = []
    try:
        async with asyncio.timeout(40), open_sealed() as here:
            address = Address("127.0.0.1", int(await process.stdout.readline()))
            strangers = await flood(address, 300)
            # It has accepted all of the flood before this one.
            (await here.dial(address=address)).transport.abort()
            process.stdin.write(b"now take all there is\n")
            strangers += await flood(address, 100)
            spare, used = (await process.stdout.readline()).split()
            assert int(spare) >= 20, "strangers took what files need"
            assert float(used) < 0.5, "it spins"
            plain = await here.dial(address=address)
            plain.transport.write(b"hello")
            assert await plain.until(5) == b"hello"
            plain.transport.abort()
            _, said = await process.communicate(b"\n")
            assert said == b""
    finally:
        for each in strangers:
            each.close()
        if process.returncode is None:
            process.kill()
            await process.wait()
