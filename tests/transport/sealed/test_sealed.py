"""Sealed connections between holders of a share, over real sockets."""

import asyncio
import os
import socket
from contextlib import suppress

import pytest

from shoal.core.crypto.keys import derive_keys
from shoal.core.names.address import Address
from shoal.errors import PeerError, PeerTimeoutError, SelfConnectionError, UsageError
from shoal.transport.sealed import listen
from shoal.transport.sealed.port import Port
from shoal.transport.sealed.proven import ProvenPeer
from tests.helpers.crafted import knocked
from tests.helpers.relay import PlainRelay
from tests.helpers.sealed import (
    CLIENT_ID,
    KEYS,
    OTHER_KEYS,
    PATIENCE,
    SERVER_ID,
    open_sealed,
)

MEGABYTE = 1 << 20


async def test_holders_exchange_bytes_both_ways() -> None:
    data = os.urandom(3 * MEGABYTE + 17)
    async with open_sealed() as sealed:
        sealed.echo = True
        plain = await sealed.dial()
        plain.transport.write(data)
        assert await plain.until(len(data)) == data
        served = await sealed.first()
        assert served.received == data
        assert (plain.peer.node_id, served.peer.node_id) == (SERVER_ID, CLIENT_ID)
        assert plain.peer.address == sealed.address
        assert plain.peer.version == served.peer.version == 2
        assert sealed.listener.half_open == 0
        plain.transport.close()
        await served.until_lost()
        await plain.until_lost()


async def test_bytes_right_after_the_proof_are_not_lost() -> None:
    async with open_sealed() as sealed:
        sealed.greeting = os.urandom(2 * MEGABYTE)
        plain = await sealed.dial()
        assert await plain.until(len(sealed.greeting)) == sealed.greeting
        plain.transport.abort()


async def test_data_written_before_closing_arrives() -> None:
    async with open_sealed() as sealed:
        plain = await sealed.dial()
        data = os.urandom(5 * MEGABYTE)
        plain.transport.writelines([data[:100], data[100:]])
        plain.transport.close()
        assert plain.transport.is_closing()
        assert await (await sealed.first()).until(len(data)) == data
        await (await sealed.first()).until_lost()
        await plain.until_lost()


async def test_a_paused_reader_loses_nothing_and_pauses_the_writer() -> None:
    async with open_sealed() as sealed:
        plain = await sealed.dial()
        served = await sealed.first()
        served.transport.pause_reading()
        assert not served.transport.is_reading()
        data = os.urandom(32 * MEGABYTE)
        plain.transport.write(data)
        assert plain.transport.get_write_buffer_size() > 0
        assert plain.calls == ["pause"]
        served.transport.resume_reading()
        assert await served.until(len(data)) == data
        assert plain.transport.get_write_buffer_size() == 0
        assert plain.calls == ["pause", "resume"]
        plain.transport.abort()


async def test_a_reader_that_pauses_after_every_read_loses_nothing() -> None:
    async with open_sealed() as sealed:
        plain = await sealed.dial()
        served = await sealed.first()
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


async def test_a_node_recognises_itself_by_its_id() -> None:
    async with open_sealed() as sealed, PlainRelay(sealed.address) as relay:
        with pytest.raises(SelfConnectionError):
            await sealed.dial(address=relay.address, node_id=SERVER_ID)
        assert not sealed.served


async def test_a_port_recognises_itself() -> None:
    def never(_: ProvenPeer) -> asyncio.BufferedProtocol:
        raise AssertionError("the node connected to itself")

    port = Port(["127.0.0.1"], 0)
    try:
        port.register(KEYS, never)
        with pytest.raises(SelfConnectionError):
            await port.dialler(KEYS)(Address("127.0.0.1", port.port), never)
    finally:
        await port.aclose()


async def test_many_shares_are_served_at_one_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "MAX_SHARES", 64)
    async with open_sealed() as sealed:
        all_keys = [derive_keys(bytes((n,)) * 32) for n in range(1, 64)]
        for keys in all_keys:
            sealed.listener.register(keys, sealed.serve)
        with pytest.raises(UsageError, match="shares at a time"):
            sealed.listener.register(OTHER_KEYS, sealed.serve)
        for keys in (all_keys[0], all_keys[30], all_keys[-1], KEYS):
            plain = await sealed.dial(keys)
            plain.transport.abort()
        sealed.listener.unregister(all_keys[30], sealed.serve)
        with pytest.raises(PeerError):
            await sealed.dial(all_keys[30])
        with pytest.raises(UsageError, match="already"):
            sealed.listener.register(KEYS, sealed.serve)


async def test_a_share_withdrawn_during_the_handshake_is_not_served() -> None:
    loop = asyncio.get_running_loop()
    async with open_sealed() as sealed:
        async with knocked(sealed.address, KEYS) as (sock, _, confirmation):
            sealed.listener.unregister(KEYS, sealed.serve)
            await loop.sock_sendall(sock, confirmation)
            async with asyncio.timeout(PATIENCE):
                with suppress(ConnectionError):
                    assert await loop.sock_recv(sock, 1) == b""
        assert not sealed.served


async def test_a_factory_may_refuse_a_holder() -> None:
    async with open_sealed() as sealed:

        def refuse(_: object) -> asyncio.BufferedProtocol:
            raise PeerError("too many")

        sealed.listener.register(OTHER_KEYS, refuse)
        plain = await sealed.dial(OTHER_KEYS)
        await plain.until_lost()
        assert sealed.listener.half_open == 0


async def test_dialling_a_silent_server_times_out() -> None:
    async with open_sealed() as sealed:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = Address("127.0.0.1", silent.getsockname()[1])
            with pytest.raises(PeerTimeoutError):
                await sealed.dial(address=address, within=0.2)
        with pytest.raises(PeerError, match="cannot be reached"):
            await sealed.dial(address=address)


async def test_closing_ends_only_half_open_connections() -> None:
    async with open_sealed() as sealed:
        sealed.echo = True
        plain = await sealed.dial()
        reader, writer = await asyncio.open_connection(*sealed.address)
        writer.write(b"half a knock")
        await sealed.dial()
        await sealed.first(2)  # the stranger came first, so it is half-open by now
        assert sealed.listener.half_open == 1
        await sealed.listener.aclose()
        await sealed.listener.aclose()
        assert await reader.read() == b""
        writer.transport.abort()
        plain.transport.write(b"still here")
        assert await plain.until(10) == b"still here"
        plain.transport.abort()
