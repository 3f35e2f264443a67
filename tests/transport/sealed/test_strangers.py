"""A client without the link gets no answer and has to leave by the deadline."""

import asyncio
import os
import ssl
import time

import pytest

from shoal.core.crypto.proof import make_knock
from shoal.errors import ProtocolError
from shoal.transport.tls.certificate import client_context, make_certificate
from shoal.transport.tls.records import Records
from shoal.transport.tls.tls import STRANGER_LIMIT
from tests.helpers.sealed import (
    KEYS,
    OTHER_KEYS,
    PATIENCE,
    answer_to,
    client_hello,
    open_sealed,
)

HTTP = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".ljust(300)
GARBAGE = {
    **{f"{size} bytes": os.urandom(size) for size in (0, 1, 47, 48, 49, 300, 70_000)},
    **{f"{size} bytes of HTTP": HTTP[:size] for size in (1, 47, 48, 49, 300)},
    "zeros": bytes(48),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "TLS": client_hello(),
    "TLS 1.2": client_hello(old=True),
    "BitTorrent": b"\x13BitTorrent protocol" + bytes(8) + os.urandom(40),
    "a message": b"\x15\x82\xa4type\xa7request\xa5index\x00" + bytes(40),
    "a knock of another share": make_knock(OTHER_KEYS.knock, bytes(16)),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("end", [False, True])
async def test_a_stranger_receives_no_byte(data: bytes, end: bool) -> None:
    async with open_sealed(within=0.3) as sealed:
        assert await answer_to(sealed.address, data, end=end) == b""


async def test_a_tls_client_with_a_knock_of_another_share_gets_no_answer() -> None:
    async with open_sealed() as sealed:
        knock = make_knock(OTHER_KEYS.knock, os.urandom(16))
        assert await answer_to(sealed.address, knock + client_hello()) == b""


@pytest.mark.parametrize("stage", ["nothing", "half a knock", "knock", "tls", "proof"])
async def test_the_deadline_ends_a_client_that_falls_silent_at_any_stage(
    stage: str,
) -> None:
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
async def test_the_deadline_does_not_move_for_a_client_that_trickles_bytes(
    stage: str,
) -> None:
    async with open_sealed(within=0.5) as sealed:
        reader, writer = await asyncio.open_connection(*sealed.address)
        knock = make_knock(KEYS.knock, os.urandom(16))
        drip = knock
        if stage != "knock":
            writer.write(knock)
            drip = client_hello()
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
        assert ended.done(), "the connection outlived its deadline"
        assert ended.exception() is None or isinstance(ended.exception(), OSError)
        writer.transport.abort()
        assert sealed.listener.half_open == 0


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


def test_a_completed_handshake_of_tls_1_2_is_refused() -> None:
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


async def test_the_bytes_of_a_stranger_inside_tls_are_limited() -> None:
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
