"""Serve one open channel to every client that connects.

`ChannelServer` owns the inbound connections; its `Uploader` decides which client is
served next. The requests of one client are answered in order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Executor
from functools import partial

from shoal.core.manifest.chunks import Chunks
from shoal.core.names.address_scope import Scope, host_key, scope_of
from shoal.core.places import Owner, most_crowded
from shoal.core.report.events import Notice
from shoal.core.session.events import ChunkRequested, Event
from shoal.core.session.open_session import OpenServerSession
from shoal.core.wire.messages import response_header
from shoal.errors import PeerError, StoreError
from shoal.resources import Resources
from shoal.storage.store import ChunkReader, Span
from shoal.transfer.receiver import LONE_SIZE, Receiver, Sent
from shoal.transfer.responses import make_parts, write_responses
from shoal.transfer.store_reader import Read, Requests
from shoal.transfer.uploader import Uploader
from shoal.transport.connection import Connection
from shoal.transport.making import Making, Room

__all__ = ["ChannelServer"]

MAX_CLIENTS = 512  # connections at once
MAX_PER_ADDRESS = 8  # connections from one global address; others have no limit
USE_TIME = 30.0  # seconds for which a client that received data is not replaced
PART_LEAST = 256 * 1024  # bytes; chunks of this size are sent part by part
MAX_QUEUED = 1024  # requests of one client; reading from it pauses above that


def _responses(chunks: list[tuple[Hashable, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the header and the data of the response with each chunk."""
    for echo, data in chunks:
        yield _header(echo, len(data)), data


def _header(echo: Hashable, length: int) -> bytes:
    assert isinstance(echo, int | str)
    return response_header(echo, length)


def _owner_of(connection: Connection[OpenServerSession]) -> Owner:
    return host_key(connection.address.host), None


class _PartSender:
    """Read the chunks that one client has requested, part by part, in threads."""

    def __init__(
        self, connection: Connection[OpenServerSession], threads: Executor
    ) -> None:
        """Start with nothing to send."""
        self._connection = connection
        self._threads = threads
        self._making: Making[Sent] | None = None
        self._job: asyncio.Future[list[bytes]] | None = None

    @property
    def is_free(self) -> bool:
        """Return True if `start` can be called."""
        return self._making is None and self._job is None

    def start(self, making: Making[Sent]) -> None:
        """Send what `making` makes."""
        self._making = making
        self.resume()

    def resume(self) -> None:
        """Read the next part, if the socket accepts more."""
        making = self._making
        if making is None or self._job is not None or not self._connection.is_writable:
            return
        # The socket does not report that little is left, only that it is not full.
        size = making.next_size(self._connection.queued, self.resume, asks=True)
        if size:
            loop = asyncio.get_running_loop()
            take = partial(_take, making, size)
            self._job = loop.run_in_executor(self._threads, take)
            self._job.add_done_callback(partial(self._on_made, making))

    def end(self) -> None:
        """Send nothing more: the connection has ended."""
        making, self._making = self._making, None
        if making is not None and self._job is None:
            making.cancel()

    def _on_made(self, making: Making[Sent], job: asyncio.Future[list[bytes]]) -> None:
        self._job = None
        making.on_made()
        error = job.exception()
        if self._making is not making:
            making.cancel()
        elif error is not None:
            self._making = None
            self._connection.close()
            making.fail(error)
        else:
            is_done = making.is_done
            if is_done:
                self._making = None
            for data in job.result():
                self._connection.write(data)
            if is_done:
                making.finish()
            else:
                self.resume()


def _take(making: Making[Sent], size: int) -> list[bytes]:
    return [b"".join(parts) for parts in making.take(size)]


class _Client(Receiver):
    """One client: the `Receiver` of its connection, with its queue of requests."""

    def __init__(
        self,
        connection: Connection[OpenServerSession],
        chunks: Chunks,
        on_refused: Callable[[Exception], None],
        threads: Executor,
    ) -> None:
        self.connection = connection
        self.parts = _PartSender(connection, threads)
        self._chunks = chunks
        self.queue: deque[ChunkRequested] = deque()
        self._on_refused = on_refused

    @property
    def is_writable(self) -> bool:
        return self.connection.is_writable

    @property
    def owner(self) -> Hashable:
        return host_key(self.connection.address.host)

    @property
    def is_urgent(self) -> bool:
        queue = self.queue
        return len(queue) == 1 and self._chunks.length(queue[0].index) <= LONE_SIZE

    def next_requests(self, limit: int) -> list[tuple[int, Hashable]]:
        queue = self.queue
        batch = [queue.popleft() for _ in range(min(limit, len(queue)))]
        if len(queue) <= MAX_QUEUED // 2:
            self.connection.resume_reading()
        return [(each.index, each.echo) for each in batch]

    def send(self, chunks: list[tuple[Hashable, bytes]]) -> None:
        write_responses(self.connection, _responses(chunks))

    @property
    def can_send_read(self) -> bool:
        return self._chunks.chunk_size >= PART_LEAST and self.parts.is_free

    def send_read(
        self,
        requests: Requests,
        read: Callable[[int | Span], Read],
        room: Room,
    ) -> asyncio.Future[list[Sent]]:
        length = self._length_of
        make = partial(make_parts, requests, read, length, _header)
        making: Making[Sent] = Making(len(requests), make, room)
        self.parts.start(making)
        return making.notes

    def on_sent(self, sent: list[tuple[Hashable, int]]) -> None:
        self.connection.on_chunks_sent(len(sent))

    @property
    def queued(self) -> int:
        return self.connection.queued

    @property
    def accepted(self) -> int:
        return self.connection.accepted

    def hang_up(self) -> None:
        self.connection.close()

    def _length_of(self, wanted: int | Span) -> int:
        assert isinstance(wanted, int)
        return self._chunks.length(wanted)

    def refuse(self, notes: list[Hashable], error: Exception) -> None:
        # The protocol has no message for it. Closing sends the client to another server
        # at once; silence would leave it waiting.
        self.queue.clear()
        self.connection.close()
        self._on_refused(error)


class ChannelServer:
    """Answer requests for the chunks of one store."""

    def __init__(
        self, store: ChunkReader, handshake: bytes | None, resources: Resources
    ) -> None:
        """Serve `store`; send `handshake` first, which a named channel does not have.

        Each reason for not sending a chunk is reported once, as a `Notice`.
        """
        self._store = store
        self._handshake = handshake
        self._uploader = Uploader(store, resources)
        self._threads = resources.threads
        self._buffers = resources.buffers
        self._on_notice = resources.on_notice
        self._reported: set[str] = set()
        self._clients: dict[Connection[OpenServerSession], _Client] = {}
        self._room = MAX_CLIENTS  # less while the system is short of resources
        self._clock = asyncio.get_running_loop().time

    @property
    def chunks(self) -> Chunks:
        """Return the sizes of the file and its chunks."""
        return self._store.chunks

    @property
    def sent(self) -> int:
        """Return the number of bytes in these chunks."""
        return self._uploader.sent

    def __len__(self) -> int:
        return len(self._clients)

    def accept(self) -> Connection[OpenServerSession]:
        """Return a connection for a client that is about to be accepted."""
        session = OpenServerSession(self._store.chunks, self._handshake, self._buffers)
        return Connection(session, self)

    def make_room(self, count: int) -> int:
        """Close up to `count` idle connections; return how many.

        The system is short of resources, so the number of connections is limited to
        those that are left, until half of these have ended.
        """
        closed = self._close_idle(count)
        self._room = max(1, self._count_open())
        return closed

    def _count_open(self) -> int:
        return sum(not each.is_closing for each in self._clients)

    def _close_idle(self, count: int) -> int:
        """Close up to `count` idle connections; return how many.

        Clients that never received data come first, the oldest connection first. A
        client that received data within `USE_TIME` is not idle.
        """
        latest = self._clock() - USE_TIME
        opened = (each for each in self._clients if not each.is_closing)
        idle = [each for each in opened if each.last_upload <= latest]
        idle.sort(key=lambda each: each.last_upload)
        for each in idle[:count]:
            each.close()
        return min(count, len(idle))

    def _close_crowded(self, newcomer: str) -> bool:
        """Close a connection of the host with the most; return False if there is none.

        It is the one that received data longest ago.
        """
        opened = [each for each in self._clients if not each.is_closing]
        crowd = most_crowded(opened, _owner_of, (host_key(newcomer), None))
        if not crowd:
            return False
        min(crowd, key=lambda each: each.last_upload).close()
        return True

    async def aclose(self) -> None:
        """Close every connection; idempotent."""
        for connection in list(self._clients):
            connection.close()
        await self._uploader.aclose()

    # The handler of every connection.

    def on_connected(self, connection: Connection[OpenServerSession]) -> None:
        """Accept a client, unless there are too many."""
        host = connection.address.host
        if scope_of(host) is Scope.GLOBAL:
            key = host_key(host)
            same = sum(host_key(each.address.host) == key for each in self._clients)
            if same >= MAX_PER_ADDRESS:
                connection.close()
                return
        if self._count_open() >= self._room and not (
            self._close_idle(1) or self._close_crowded(host)
        ):
            connection.close()
            return
        self._clients[connection] = _Client(
            connection, self.chunks, self._report, self._threads
        )
        connection.acknowledge_now()

    def on_events(
        self, connection: Connection[OpenServerSession], events: list[Event]
    ) -> None:
        """Queue the requests of a client, and serve them."""
        client = self._clients.get(connection)
        if client is None:
            return
        if self._serve_now(client, events):
            return
        client.queue.extend(each for each in events if isinstance(each, ChunkRequested))
        self._uploader.wake(client)
        if connection.session.is_mid_frame:
            connection.acknowledge_now()
        # A client that does not read its chunks must not queue requests without limit.
        if len(client.queue) > MAX_QUEUED:
            connection.pause_reading()

    def _serve_now(self, client: _Client, events: list[Event]) -> bool:
        """Answer the only request of a client; return False if it must be queued."""
        if len(events) != 1 or client.queue or not client.is_writable:
            return False
        match events[0]:
            case ChunkRequested(index=index, echo=echo):
                data = self._uploader.read_now(index)
                if data is not None:
                    write_responses(client.connection, _responses([(echo, data)]))
                    self._uploader.on_sent(client, [len(data)])
                    return True
        return False

    def on_writable(self, connection: Connection[OpenServerSession]) -> None:
        """Continue to serve a client that accepts more data."""
        client = self._clients.get(connection)
        if client is not None:
            client.parts.resume()
            self._uploader.wake(client)

    def on_lost(
        self,
        connection: Connection[OpenServerSession],
        error: PeerError | OSError | None,
    ) -> None:
        """Forget a client."""
        client = self._clients.pop(connection, None)
        if client is not None:
            client.parts.end()
            self._uploader.remove(client)
        if 2 * len(self._clients) <= self._room:
            self._room = MAX_CLIENTS

    def _report(self, error: Exception) -> None:
        if isinstance(error, StoreError) and str(error) not in self._reported:
            self._reported.add(str(error))
            self._on_notice(Notice(str(error)))
