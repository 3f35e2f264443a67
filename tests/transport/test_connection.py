"""One connection over a real socket: receiving, sending and closing."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.core.names.address import Address
from shoal.core.session.events import ChunkRequested, Event
from shoal.core.session.open_session import OpenServerSession
from shoal.core.wire.messages import Request, encode_frame, encode_varint
from shoal.errors import NetworkError, PeerError, PeerTimeoutError, ProtocolError
from shoal.transport.connection import AHEAD_SIZE, WRITE_HIGH, Connection
from shoal.transport.dial import dial
from shoal.transport.listen import Listener

CHUNKS = Chunks(10_000, 1000)
Served = Connection[OpenServerSession]


class Recorder:
    """Record the calls of a connection to its handler."""

    def __init__(self) -> None:
        self.connections: list[Served] = []
        self.events: list[Event] = []
        self.updates = 0
        self.writable = 0
        self.lost: list[PeerError | OSError | None] = []
        self._changed = asyncio.Event()

    def on_connected(self, connection: Served) -> None:
        self.connections.append(connection)
        self._changed.set()

    def on_events(self, connection: Served, events: list[Event]) -> None:
        self.events += events
        self.updates += 1
        self._changed.set()

    def on_writable(self, connection: Served) -> None:
        self.writable += 1
        self._changed.set()

    def on_lost(self, connection: Served, error: PeerError | OSError | None) -> None:
        self.lost.append(error)
        self._changed.set()

    async def until(self, condition: str) -> None:
        """Wait until the list or number of that name is not empty."""
        async with asyncio.timeout(10):
            while not getattr(self, condition):
                self._changed.clear()
                await self._changed.wait()


class Pair:
    """Hold our connection and its raw other end."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Recorder
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.seen = seen

    @property
    def ours(self) -> Served:
        return self.seen.connections[0]


@asynccontextmanager
async def connected(handshake: bytes | None = None) -> AsyncIterator[Pair]:
    seen = Recorder()

    def accept() -> Served:
        return Connection(OpenServerSession(CHUNKS, handshake), seen)

    async with aclosing(Listener(accept, hosts=["127.0.0.1"])) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        await seen.until("connections")
        yield Pair(reader, writer, seen)
        writer.close()
        await seen.until("lost")


async def test_a_session_with_a_handshake_sends_it_first() -> None:
    async with connected(b"handshake") as pair:
        assert await pair.reader.readexactly(9) == b"handshake"
        assert pair.ours.sent == 9


async def test_received_messages_reach_the_handler_as_events() -> None:
    async with connected() as pair:
        pair.writer.write(encode_frame(Request(3)))
        await pair.seen.until("events")
        assert pair.seen.events == [ChunkRequested(3, 3)]
        assert pair.ours.received == len(encode_frame(Request(3)))
        assert pair.ours.address.host == "127.0.0.1"


async def test_a_protocol_error_ends_the_connection_and_is_reported_once() -> None:
    async with connected() as pair:
        pair.writer.write(b"\x00" * 100)
        await pair.seen.until("lost")
        assert [type(error) for error in pair.seen.lost] == [ProtocolError]
        assert pair.ours.is_closing


async def test_an_orderly_end_is_reported_without_an_error() -> None:
    async with connected() as pair:
        pair.writer.close()
        await pair.seen.until("lost")
        assert pair.seen.lost == [None]


async def test_closing_reports_the_reason_and_is_idempotent() -> None:
    async with connected() as pair:
        error = PeerTimeoutError("too slow")
        pair.ours.close(error)
        pair.ours.close()
        await pair.seen.until("lost")
        assert pair.seen.lost == [error]
        pair.ours.write(b"dropped")
        pair.ours.flush()
        assert not pair.ours.is_writable


async def test_a_half_closed_peer_that_reads_nothing_can_be_closed() -> None:
    async with connected() as pair:
        pair.ours.write(bytes(16 << 20))
        pair.writer.write_eof()
        for _ in range(20):
            await asyncio.sleep(0)
        assert pair.ours._transport is not None
        assert pair.ours._transport.is_closing()  # asyncio closes it
        assert not pair.ours.is_closing  # and it still has to be closed
        pair.ours.close()
        await pair.seen.until("lost")


async def test_written_data_arrives_in_order() -> None:
    async with connected() as pair:
        parts = [bytes((i,)) * size for i, size in enumerate((1, 5 << 20, 2, 300_000))]
        for part in parts:
            pair.ours.write(part)
        is_full = not pair.ours.is_writable
        assert is_full
        whole = b"".join(parts)
        assert await pair.reader.readexactly(len(whole)) == whole
        await pair.seen.until("writable")
        assert pair.ours.is_writable
        assert pair.ours.sent == len(whole)


@pytest.mark.parametrize("gathers", [False, True])
async def test_parts_arrive_in_order_between_other_writes(
    gathers: bool,
) -> None:
    async with connected() as pair:
        pair.ours._gathers = gathers
        first, last = (b"head", bytes(5 << 20)), (b"x" * 1000, b"tail")
        pair.ours.writelines(last)
        pair.ours.writelines(first)
        pair.ours.write(b"between")
        pair.ours.writelines(last)
        whole = b"".join((*last, *first, b"between", *last))
        assert await pair.reader.readexactly(len(whole)) == whole
        assert pair.ours.sent == len(whole)


async def test_a_large_buffer_is_not_copied_at_once() -> None:
    async with connected() as pair:
        shared = bytes(64 << 20)
        pair.ours.writelines((b"head", shared))
        assert pair.ours._transport is not None
        assert pair.ours._transport.get_write_buffer_size() <= 2 * WRITE_HIGH
        pair.ours.close()


async def test_a_paused_connection_reads_nothing_until_resumed() -> None:
    async with connected() as pair:
        pair.ours.pause_reading()
        pair.ours.pause_reading()
        pair.writer.write(encode_frame(Request(1)))
        await pair.writer.drain()
        for _ in range(20):
            await asyncio.sleep(0)
        assert pair.seen.events == []
        pair.ours.resume_reading()
        await pair.seen.until("events")


async def test_small_messages_do_not_wait_for_acknowledgements() -> None:
    async with connected() as pair:
        assert pair.ours._transport is not None
        sock = pair.ours._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_taken_port_is_named_in_the_error() -> None:
    def accept() -> Served:
        raise AssertionError

    async with aclosing(Listener(accept, hosts=["127.0.0.1"])) as listener:
        with pytest.raises(NetworkError, match=f"Port {listener.port} is in use"):
            Listener(accept, hosts=["127.0.0.1"], port=listener.port)


async def test_a_port_moves_to_other_addresses() -> None:
    accepted = Recorder()

    def accept() -> Served:
        return Connection(OpenServerSession(CHUNKS, None), accepted)

    async def reaches(host: str) -> bool:
        try:
            _, writer = await asyncio.open_connection(host, listener.port)
        except ConnectionError:
            return False
        writer.close()
        return True

    async def settled() -> None:
        for _ in range(3):  # rounds of the loop until a cancelled task has ended
            await asyncio.sleep(0)

    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    async with aclosing(Listener(accept, hosts=hosts[:2])) as listener:
        assert [await reaches(host) for host in hosts] == [True, True, False]
        listener.listen_on(hosts[1:])
        await settled()
        assert [await reaches(host) for host in hosts] == [False, True, True]
        listener.listen_on([])
        await settled()
        assert [await reaches(host) for host in hosts] == [False] * 3
        listener.listen_on(["192.0.2.1", "127.0.0.1"])
        assert [await reaches(host) for host in hosts] == [True, False, False]


async def test_a_foreign_host_error_names_shoal_interfaces() -> None:
    def accept() -> Served:
        raise AssertionError

    with pytest.raises(NetworkError, match="SHOAL_INTERFACES"):
        Listener(accept, hosts=["192.0.2.1"])


@pytest.mark.parametrize("host", ["127.0.0.1", "a..b", "a" * 64])
async def test_an_unreachable_address_is_a_peer_error(host: str) -> None:
    connection = Connection(OpenServerSession(CHUNKS, None), Recorder())
    with pytest.raises(PeerError, match="cannot be reached"):
        await dial(connection, Address(host, 1))


class FullSocket(asyncio.Transport):
    """Stand in for a transport that passes on what one read from its socket brought."""

    def __init__(self) -> None:
        super().__init__({"gathers": True, "socket": socket.socket()})

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        pass

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("found", [AHEAD_SIZE, AHEAD_SIZE - 1])
async def test_a_peer_is_ahead_when_one_read_returns_much(found: int) -> None:
    connection = Connection(OpenServerSession(CHUNKS, None), Recorder())
    socket_ = FullSocket()
    connection.connection_made(socket_)
    frame = encode_frame(Request(3))
    connection.get_buffer(-1)[: len(frame)] = frame
    connection.buffer_updated(len(frame))
    connection.read_done(found)
    assert connection.is_ahead == (found >= AHEAD_SIZE)
    socket_.get_extra_info("socket").close()


@pytest.mark.skipif(sys.platform != "linux", reason="polling elsewhere does not wait")
async def test_the_packets_of_a_long_frame_are_read_together() -> None:
    body = msgspec.msgpack.encode({"type": "request", "index": 7, "pad": bytes(60_000)})
    frame = encode_varint(len(body)) + body
    async with connected() as pair:
        pair.writer.write(frame[:10_000])
        await pair.seen.until("updates")
        for start in range(10_000, len(frame), 1000):
            pair.writer.write(frame[start : start + 1000])
            await asyncio.sleep(0)
        await pair.seen.until("events")
        assert pair.seen.events.pop() == ChunkRequested(7, 7)
        assert pair.seen.updates <= 4
        # The next message is read as soon as it arrives.
        pair.writer.write(encode_frame(Request(8)))
        await pair.seen.until("events")
        assert pair.seen.events == [ChunkRequested(8, 8)]
