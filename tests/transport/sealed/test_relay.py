"""Two nodes meet at a relay; neither a relay nor a stranger at one learns anything."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import pytest

from shoal.core.crypto.knock import KNOCK_SIZE
from shoal.core.names.address import Address
from shoal.errors import PeerError, RelayError, SelfConnectionError
from shoal.transport.sealed.port import Port
from shoal.transport.sealed.proven import ProvenPeer
from shoal.transport.sealed.relay import relay_request
from tests.helpers.sealed import KEYS, OTHER_KEYS, PATIENCE, Plain

Serve: TypeAlias = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]
]
LINE = re.compile(rb"please relay ([0-9a-f]{64}) for side ([0-9a-f]{16})\n")


@asynccontextmanager
async def relay_at(serve: Serve) -> AsyncIterator[Address]:
    """Yield the address of a relay that does with each connection what a test says."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield Address(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class Pairs:
    """A relay that joins every two connections, and keeps what they send."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.seen = bytearray()
        self._waiting: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self._partner: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._joined = asyncio.Condition()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.lines.append(await reader.readline())
        async with self._joined:
            if self._waiting.empty():
                self._waiting.put_nowait(writer)
            else:
                other = self._waiting.get_nowait()
                self._partner[writer], self._partner[other] = other, writer
                # With what follows in the same segment, as a relay may send it.
                writer.write(b"ok\n")
                other.write(b"ok\n")
                self._joined.notify_all()
            await self._joined.wait_for(lambda: writer in self._partner)
        while data := await reader.read(4096):
            self.seen += data
            self._partner[writer].write(data)
        self._partner[writer].close()


@asynccontextmanager
async def two_ports() -> AsyncIterator[tuple[Port, Port]]:
    ports = Port(["127.0.0.1"], 0), Port(["127.0.0.1"], 0)
    try:
        yield ports
    finally:
        for port in ports:
            await port.aclose()


def nothing() -> None:
    """Be told that the other end is there."""


async def test_two_nodes_meet_and_exchange_encrypted_bytes() -> None:
    pairs, made = Pairs(), list[Plain]()

    def factory(proven: ProvenPeer) -> Plain:
        made.append(Plain(proven, b"a greeting in the clear"))
        return made[-1]

    async with relay_at(pairs.serve) as relay, two_ports() as ports:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for port in ports:
                tasks.create_task(port.meet(relay, KEYS, factory, nothing))
        for plain in made:
            assert await plain.until(23) == b"a greeting in the clear"
            assert plain.peer.is_relayed
            assert plain.peer.address == relay
        assert {plain.peer.node_id for plain in made} == {p.node_id for p in ports}
        for plain in made:
            plain.transport.abort()
    assert b"greeting" not in pairs.seen
    matches = [LINE.fullmatch(line) for line in pairs.lines]
    assert all(matches)
    assert {match[1].decode() for match in matches if match} == {KEYS.relay_token.hex()}
    assert len({match[2] for match in matches if match}) == 2
    for secret in (KEYS.psk, KEYS.log, ports[0].node_id, ports[1].node_id):
        assert secret not in pairs.seen
        assert secret.hex().encode() not in b"".join(pairs.lines)


async def test_a_stranger_at_the_relay_gets_the_knock_and_nothing_else() -> None:
    received = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"ok\n" + bytes(200))
        while data := await reader.read(4096):
            received.extend(data)

    async with relay_at(serve) as relay, two_ports() as (port, _):
        with pytest.raises(PeerError) as caught:
            await port.meet(relay, KEYS, Plain, nothing)
    assert not isinstance(caught.value, RelayError)
    assert len(received) == KNOCK_SIZE


async def test_a_relay_that_joins_a_node_with_itself_is_noticed() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"ok\n")
        while data := await reader.read(4096):
            writer.write(data)

    async with relay_at(serve) as relay, two_ports() as (port, _):
        with pytest.raises(SelfConnectionError):
            await port.meet(relay, KEYS, Plain, nothing)


@pytest.mark.parametrize(
    "answer",
    [b"", b"o", b"bad handshake\n", b"HTTP/1.1 400\r\n", b"impatient\n", bytes(9)],
)
async def test_what_is_no_relay_is_reported(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)

    async with relay_at(serve) as relay, two_ports() as (port, _):
        with pytest.raises(RelayError):
            await port.meet(relay, KEYS, Plain, nothing)


async def test_a_node_that_stops_waiting_ends_its_connection() -> None:
    ended, waits = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        waits.set()
        with suppress(OSError):
            await reader.read()
        ended.set()

    async with relay_at(serve) as relay, two_ports() as (port, _):
        task = asyncio.create_task(port.meet(relay, KEYS, Plain, nothing))
        await waits.wait()
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(PATIENCE):
            await ended.wait()


def test_sides_and_tokens_differ_by_node_and_share() -> None:
    lines = {
        relay_request(keys, node_id)
        for keys in (KEYS, OTHER_KEYS)
        for node_id in (b"a" * 16, b"b" * 16)
    }
    found = [LINE.fullmatch(line) for line in lines]
    assert len({match[1] for match in found if match}) == 2
    assert len({match[2] for match in found if match}) == 4
