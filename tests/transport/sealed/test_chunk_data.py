"""Chunk data goes through a real connection without being decrypted on the loop."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.core.names.address import Address
from shoal.core.session.events import ChunkReceived, Event, SealedChunkReceived
from shoal.core.session.sealed_session import SealedSession
from shoal.core.wire.framing import BufferPool
from shoal.core.wire.messages import encode_frame
from shoal.core.wire.noise_messages import MAX_PAYLOAD
from shoal.core.wire.sealed_messages import Have, Hello, SealedRequest, response_frame
from shoal.errors import PeerError, ProtocolError
from shoal.transport.connection import MANY_MESSAGES, Connection
from shoal.transport.making import Data, Making
from shoal.transport.sealed.noise import DATA_LEAST
from shoal.transport.sealed.port import Port
from shoal.transport.sealed.proven import ProvenPeer
from tests.helpers.crafted import Crafted, crafted
from tests.helpers.sealed import KEYS, PATIENCE

CHUNK = 1 << 20
COUNT = 32  # chunks, more than the system has room for on one connection
CHUNKS = Chunks(64 * CHUNK, CHUNK)
SIZES = [0, 1, 16_384, DATA_LEAST - 1, DATA_LEAST, 5 * MAX_PAYLOAD, CHUNK - 1, CHUNK]


class End:
    """Keep what a connection receives."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.parts = 0
        self.calls = 0
        self.pauses = False
        """Whether it stops reading after each call."""
        self.errors: list[PeerError | OSError | None] = []
        self.connection: Connection[SealedSession] | None = None
        self._changed = asyncio.Event()

    def make(self, _: ProvenPeer) -> Connection[SealedSession]:
        session = SealedSession(BufferPool())
        session.know_share(CHUNKS, lambda key: key.number < 1)
        self.connection = Connection(session, self)
        return self.connection

    def on_connected(self, connection: Connection[SealedSession]) -> None:
        connection.session.send(Hello(0))
        self._changed.set()

    def on_events(
        self, connection: Connection[SealedSession], events: list[Event]
    ) -> None:
        self.parts += not events
        self.calls += 1
        self.events += events
        if self.pauses:
            connection.pause_reading()
        self._changed.set()

    def on_writable(self, connection: Connection[SealedSession]) -> None:
        self._changed.set()

    def on_lost(
        self,
        connection: Connection[SealedSession],
        error: PeerError | OSError | None,
    ) -> None:
        self.errors.append(error)
        self._changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @property
    def chunks(self) -> list[tuple[int, bytes]]:
        """Return the chunks that arrived, decrypted."""
        found: list[tuple[int, bytes]] = []
        for event in self.events:
            if isinstance(event, ChunkReceived):
                found.append((event.index, bytes(event.data)))
            elif isinstance(event, SealedChunkReceived):
                found.append((event.index, bytes(event.data.opened())))
        return found


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[End, End]]:
    """Connect a downloader with a source."""
    ours, theirs = End(), End()
    with ThreadPoolExecutor(2) as threads:
        port, other = (Port(["127.0.0.1"], 0, threads) for _ in range(2))
        try:
            port.register(KEYS, theirs.make)
            address = port_address(port)
            await other.dialler(KEYS)(address, ours.make)
            await theirs.until(lambda: theirs.events)
            await ours.until(lambda: ours.events)
            yield ours, theirs
        finally:
            for end in (ours, theirs):
                if end.connection is not None:
                    end.connection.close()
            await port.aclose()
            await other.aclose()
            await ours.until(lambda: ours.errors)
            await theirs.until(lambda: theirs.errors)


def port_address(port: Port) -> Address:
    return Address("127.0.0.1", port.port)


def request(end: End, *indexes: int) -> None:
    assert end.connection is not None
    for index in indexes:
        end.connection.session.request(index)
    end.connection.flush()


@pytest.mark.parametrize("size", SIZES)
async def test_chunks_of_any_size_arrive_between_other_messages(size: int) -> None:
    data = os.urandom(size)
    async with connected() as (ours, theirs):
        request(ours, *range(8))
        await theirs.until(lambda: len(theirs.events) == 9)
        sender = theirs.connection
        assert sender is not None
        for index in range(8):
            sender.writelines([response_frame(index, size), data])
            sender.session.send_have([index])
            sender.flush()
        await ours.until(lambda: len(ours.events) == 1 + 16)
        assert ours.chunks == [(index, data) for index in range(8)]
        assert [each for each in ours.events if isinstance(each, Have)] == [
            Have([(index, 1)]) for index in range(8)
        ]
        kind = SealedChunkReceived if size >= DATA_LEAST else ChunkReceived
        assert isinstance(ours.events[1], kind)


Part = Callable[[], int]


class Fixed:
    """Room for the same number of bytes at any time."""

    def __init__(self, size: int) -> None:
        self._size = size

    def take(self) -> int:
        return self._size

    def made(self) -> None:
        pass


def begin(
    sender: Connection[SealedSession],
    count: int,
    make: Callable[[Part], Iterator[tuple[list[Data], int | None]]],
    room: int = 4 * CHUNK,
) -> asyncio.Future[list[int]]:
    """Have data made; return the future of the notes."""
    making: Making[int] = Making(count, make, Fixed(room))
    sender.write_made(making)
    return making.notes


async def test_data_is_made_and_encrypted_in_a_thread_in_order() -> None:
    parts = [os.urandom(CHUNK) for _ in range(3)]
    where: list[str] = []
    async with connected() as (ours, theirs):
        request(ours, 0, 1, 2)
        await theirs.until(lambda: len(theirs.events) == 4)
        sender = theirs.connection
        assert sender is not None

        def make(part: Part) -> Iterator[tuple[list[Data], int | None]]:
            for index, data in enumerate(parts):
                where.append(threading.current_thread().name)
                yield [response_frame(index, len(data)), data], index
            yield [], 99

        made = begin(sender, 4, make)
        # A message that is written meanwhile arrives after the data.
        sender.session.send_have([7])
        sender.flush()
        assert not sender.can_write_made, "one thread at a time"
        assert await made == [0, 1, 2, 99]
        await ours.until(lambda: len(ours.events) == 5)
        assert ours.chunks == list(enumerate(parts))
        assert ours.events[-1] == Have([(7, 1)])
        assert threading.current_thread().name not in where


async def test_two_that_send_each_other_more_than_fits_both_receive_it() -> None:
    """Neither waits to be read from before it reads."""

    def make(part: Part) -> Iterator[tuple[list[Data], int | None]]:
        for index in range(COUNT):
            yield [response_frame(index, CHUNK), bytes(CHUNK)], index

    async with connected() as ends:
        for end in ends:
            request(end, *range(COUNT))
        ours, theirs = ends
        await ours.until(lambda: len(ours.events) == 1 + COUNT)
        await theirs.until(lambda: len(theirs.events) == 1 + COUNT)
        made = [begin(end.connection, COUNT, make) for end in ends if end.connection]
        await ours.until(lambda: len(ours.events) == 1 + 2 * COUNT)
        await theirs.until(lambda: len(theirs.events) == 1 + 2 * COUNT)
        assert [await notes for notes in made] == [list(range(COUNT))] * 2


async def test_a_failure_to_make_data_ends_the_connection_and_is_reported() -> None:
    async with connected() as (ours, theirs):
        sender = theirs.connection
        assert sender is not None

        def make(part: Part) -> Iterator[tuple[list[Data], int | None]]:
            yield [response_frame(0, 1)], 0
            raise RuntimeError("broken")

        made = begin(sender, 2, make)
        with pytest.raises(RuntimeError, match="broken"):
            await made
        await ours.until(lambda: ours.errors)


async def test_a_peer_that_takes_a_chunk_slowly_is_seen_to_take_it() -> None:
    async with connected() as (ours, theirs):
        receiver, sender = ours.connection, theirs.connection
        assert receiver is not None
        assert sender is not None
        request(ours, *range(32))
        await theirs.until(lambda: len(theirs.events) == 33)
        receiver.pause_reading()
        sender.on_chunks_sent(1)
        for index in range(32):
            sender.writelines([response_frame(index, CHUNK), bytes(CHUNK)])
        sender.last_upload = 0.0
        receiver.resume_reading()
        await ours.until(lambda: len(ours.events) == 33)
        assert sender.last_upload > 0


def changed(data: bytes) -> bytes:
    """Return the messages of a chunk's data with one bit flipped near the end."""
    return data[:-20] + bytes((data[-20] ^ 1,)) + data[-19:]


async def send_chunk(
    peer: Crafted, index: int, data: bytes, cut: int, change: Callable[[bytes], bytes]
) -> None:
    """Send a chunk in messages of `cut` bytes of payload."""
    header = peer.message(response_frame(index, len(data)))
    pieces = [data[i : i + cut] for i in range(0, len(data), cut)]
    await peer.send(header + change(b"".join(map(peer.message, pieces))))


@asynccontextmanager
async def source(end: End) -> AsyncIterator[Crafted]:
    """Connect a crafted source to a downloader, which has requested chunk 3."""
    port = Port(["127.0.0.1"], 0)
    try:
        port.register(KEYS, end.make)
        async with crafted(port_address(port), KEYS) as peer:
            await end.until(lambda: end.connection)
            request(end, 3)
            await peer.send(peer.message(b"\x12\x82\xa4type\xa5hello\xa4port\x00"))
            yield peer
    finally:
        if end.connection is not None:
            end.connection.close()
        await port.aclose()
        await end.until(lambda: end.errors)


async def test_data_is_handed_over_before_it_is_decrypted() -> None:
    """The end that decrypts a changed message finds it, and nothing before that."""
    end, data = End(), os.urandom(CHUNK)
    async with source(end) as peer:
        await send_chunk(peer, 3, data, MAX_PAYLOAD, changed)
        await end.until(lambda: len(end.events) == 2)
        event = end.events[1]
        assert isinstance(event, SealedChunkReceived)
        assert len(event.data) == CHUNK
        with pytest.raises(ProtocolError, match="changed"):
            event.data.opened()
        # Later messages are not affected, because nonces are counted.
        await peer.send(peer.message(b"\x15\x82\xa4type\xa7request\xa5index\x07"))
        await end.until(lambda: len(end.events) == 3)
        assert end.events[2] == SealedRequest(7)


@pytest.mark.parametrize("cut", [1000, MAX_PAYLOAD - 1, 30_000])
async def test_data_in_other_messages_than_full_ones_is_right_or_refused(
    cut: int,
) -> None:
    end, data = End(), os.urandom(CHUNK)
    async with source(end) as peer:
        await send_chunk(peer, 3, data, cut, bytes)
        await end.until(lambda: len(end.events) > 1 or end.errors)
        for event in end.events[1:]:
            if isinstance(event, SealedChunkReceived):
                with pytest.raises(ProtocolError, match="wrong length"):
                    event.data.opened()
            else:  # it was decrypted with the message before it
                assert end.chunks == [(3, data)]


async def test_data_behind_its_header_in_one_message_is_understood() -> None:
    """A sender that cuts messages in its own way is still understood."""
    end, data = End(), os.urandom(CHUNK)
    async with source(end) as peer:
        whole = response_frame(3, CHUNK) + data
        for start in range(0, len(whole), 50_000):
            await peer.send(peer.message(whole[start : start + 50_000]))
        await end.until(lambda: len(end.events) == 2)
        assert end.chunks == [(3, data)]


async def test_all_that_one_read_brings_is_acted_on_together() -> None:
    end, data = End(), os.urandom(5000)
    async with source(end) as peer:
        await end.until(lambda: end.events)
        calls = end.calls
        requests = [encode_frame(SealedRequest(index)) for index in range(9)]
        pieces = [response_frame(3, len(data)), data, *requests]
        # So few bytes are one packet, and so one read.
        await peer.send(b"".join(map(peer.message, pieces)))
        await end.until(lambda: len(end.events) == 11)
        assert end.calls == calls + 1
        assert end.chunks == [(3, data)]


async def test_a_peer_that_is_paused_is_not_heard_out_to_the_end_of_a_read() -> None:
    end, number = End(), 8 * MANY_MESSAGES
    async with source(end) as peer:
        await end.until(lambda: end.events)
        assert end.connection is not None
        end.pauses = True
        requests = [encode_frame(SealedRequest(i % 64)) for i in range(number)]
        eighths = [b"".join(requests[i::8]) for i in range(8)]
        await peer.send(b"".join(map(peer.message, eighths)))
        await end.until(lambda: len(end.events) > 1)
        assert len(end.events) < number / 2
        end.pauses = False
        end.connection.resume_reading()
        await end.until(lambda: len(end.events) == number + 1)


async def test_data_that_no_one_requested_ends_the_connection() -> None:
    end = End()
    async with source(end) as peer:
        await peer.send(peer.message(response_frame(4, CHUNK)))
        await end.until(lambda: end.errors)
        assert isinstance(end.errors[0], ProtocolError)


async def test_a_connection_that_ends_amid_data_hands_nothing_over() -> None:
    end = End()
    async with source(end) as peer:
        await send_chunk(peer, 3, os.urandom(CHUNK), MAX_PAYLOAD, lambda d: d[:-1])
        await end.until(lambda: end.parts > 0)
        peer.hang_up()
        await end.until(lambda: end.errors)
        assert len(end.events) == 1


async def test_data_made_for_a_peer_that_reads_nothing_does_not_pile_up() -> None:
    number = 64
    async with connected() as (ours, theirs):
        receiver, sender = ours.connection, theirs.connection
        assert receiver is not None
        assert sender is not None
        request(ours, *range(number))
        await theirs.until(lambda: len(theirs.events) == number + 1)
        receiver.pause_reading()

        def make(part: Part) -> Iterator[tuple[list[Data], int | None]]:
            yield [response_frame(sent, CHUNK), bytes(CHUNK)], sent

        sent = 0
        while sender.is_writable and sent < number:
            await begin(sender, 1, make)
            sent += 1
        assert not sender.is_writable, "the kernel accepts less than all of it"
        receiver.resume_reading()
        await theirs.until(lambda: sender.is_writable)
        await ours.until(lambda: len(ours.chunks) == sent)


async def test_no_more_of_a_chunk_is_made_than_there_is_room_for() -> None:
    async with connected() as (ours, theirs):
        receiver, sender = ours.connection, theirs.connection
        assert receiver is not None
        assert sender is not None
        data = os.urandom(CHUNK)
        made = 0

        def make(part: Part) -> Iterator[tuple[list[Data], int | None]]:
            nonlocal made
            for index in range(COUNT):
                for begin in range(0, CHUNK, part()):
                    end = min(begin + part(), CHUNK)
                    head = [] if begin else [response_frame(index, CHUNK)]
                    made += end - begin
                    yield [*head, data[begin:end]], index if end == CHUNK else None

        request(ours, *range(COUNT))
        await theirs.until(lambda: len(theirs.events) == COUNT + 1)
        receiver.pause_reading()
        notes = begin(sender, COUNT, make, MAX_PAYLOAD)
        sender.session.send_have([7])
        sender.flush()
        before = -1
        while made > before:
            before = made
            await asyncio.sleep(0.2)
        assert made < COUNT * CHUNK, "the kernel accepts less than all of it"
        assert sender.queued < 1 << 19
        assert not sender.is_writable
        receiver.resume_reading()
        assert await notes == list(range(COUNT))
        await ours.until(lambda: len(ours.events) == COUNT + 2)
        assert ours.chunks == [(index, data) for index in range(COUNT)]
        # What is written meanwhile comes behind the last chunk, not between two parts.
        assert ours.events[-1] == Have([(7, 1)])


async def test_a_connection_that_ends_before_all_is_made_cancels_the_rest() -> None:
    async with connected() as (_, theirs):
        sender = theirs.connection
        assert sender is not None

        def make(part: Part) -> Iterator[tuple[list[Data], int | None]]:
            yield [b""], 0  # is never called

        notes = begin(sender, 1, make, 0)
        assert not sender.can_write_made
        sender.close()
        with pytest.raises(asyncio.CancelledError):
            await notes
