"""Serve one open channel to everyone who connects.

`Uploads` owns the connections that came in and what each of them still wants.
Chunks in the page cache are read on the event loop, batch by batch, as fast as a
client takes them; what has to come from the disk is read in a worker thread, so a
slow disk holds up nobody else. Each client is served in the order it asked, and
the kernel shares the uplink between them.
"""

import asyncio
import ipaddress
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from shoal.core.chunks import Chunks
from shoal.core.framing import BufferPool
from shoal.core.messages import response_header
from shoal.core.session import ChunkWanted, Event, OpenServerSession
from shoal.errors import PeerError, ShoalError, StoreError
from shoal.storage.store import ChunkReader
from shoal.transport.connection import Connection

__all__ = ["Uploads"]

MAX_CLIENTS = 512  # connections at once
MAX_PER_ADDRESS = 8  # connections of one global address; local ones are shared
MAX_WANTED = 1024  # requests of one client that are kept; then reading pauses
BATCH_SIZE = 256 * 1024  # bytes read before the next look at the socket
JOIN_BELOW = 64 * 1024  # bytes; larger chunks are not copied behind their header


class _Client:
    """Remember one connection and what it wants, in its order."""

    __slots__ = ("connection", "is_reading", "wanted")

    def __init__(self, connection: Connection[OpenServerSession]) -> None:
        self.connection = connection
        self.wanted: deque[ChunkWanted] = deque()
        self.is_reading = False  # a worker thread is at it


class Uploads:
    """Answer requests for the chunks of one store."""

    def __init__(
        self,
        store: ChunkReader,
        handshake: bytes | None,
        executor: Executor,
        *,
        pool: BufferPool,
        on_problem: Callable[[ShoalError], None],
    ) -> None:
        """Serve `store`; `on_problem` hears, once each, why chunks are not sent."""
        self.served = 0
        """Chunks sent so far."""
        self._store = store
        self._handshake = handshake
        self._executor = executor
        self._pool = pool
        self._on_problem = on_problem
        self._told: set[str] = set()
        self._clients: dict[Connection[OpenServerSession], _Client] = {}
        self._reads: set[asyncio.Future[list[bytes]]] = set()

    @property
    def chunks(self) -> Chunks:
        """Return how what is served is cut."""
        return self._store.chunks

    def __len__(self) -> int:
        return len(self._clients)

    def accept(self) -> Connection[OpenServerSession]:
        """Return a connection for a client that is about to be accepted."""
        session = OpenServerSession(self._store.chunks, self._handshake, self._pool)
        return Connection(session, self)

    async def aclose(self) -> None:
        """End every connection; idempotent."""
        for connection in list(self._clients):
            connection.close()
        if self._reads:
            await asyncio.wait(self._reads)

    # What a connection tells its handler.

    def on_connected(self, connection: Connection[OpenServerSession]) -> None:
        """Take a client in, unless there are too many."""
        host = connection.address.host
        if _is_global(host):
            same = sum(each.address.host == host for each in self._clients)
            if same >= MAX_PER_ADDRESS:
                connection.close()
                return
        if len(self._clients) >= MAX_CLIENTS:
            idle = min(self._clients, key=lambda each: each.last_heard)
            idle.close()
        self._clients[connection] = _Client(connection)

    def on_events(
        self, connection: Connection[OpenServerSession], events: list[Event]
    ) -> None:
        """Queue what a client asks for, and serve it."""
        client = self._clients.get(connection)
        if client is None:
            return
        client.wanted.extend(each for each in events if isinstance(each, ChunkWanted))
        self._serve(client)
        # Whoever does not read what it asked for is not asked what else it wants.
        if len(client.wanted) > MAX_WANTED or not connection.is_writable:
            connection.pause_reading()

    def on_writable(self, connection: Connection[OpenServerSession]) -> None:
        """Go on serving a client that takes more."""
        client = self._clients.get(connection)
        if client is not None:
            self._serve(client)

    def on_lost(
        self,
        connection: Connection[OpenServerSession],
        error: PeerError | OSError | None,
    ) -> None:
        """Forget a client."""
        self._clients.pop(connection, None)

    # Serving.

    def _serve(self, client: _Client) -> None:
        """Send what the client wants for as long as its socket takes it."""
        connection = client.connection
        while client.wanted and connection.is_writable and not client.is_reading:
            batch = self._next_batch(client)
            try:
                chunks = self._store.get_many_now([want.index for want in batch])
            except StoreError as error:
                self._refuse(client, error)
                return
            there = next((i for i, c in enumerate(chunks) if c is None), len(batch))
            self._send(
                client, batch[:there], [c for c in chunks[:there] if c is not None]
            )
            if there < len(batch):
                self._read(client, batch[there:])
        if connection.is_writable and len(client.wanted) <= MAX_WANTED // 2:
            connection.resume_reading()

    def _next_batch(self, client: _Client) -> list[ChunkWanted]:
        size = max(1, BATCH_SIZE // self._store.chunks.chunk_size)
        wanted = client.wanted
        return [wanted.popleft() for _ in range(min(size, len(wanted)))]

    def _send(
        self, client: _Client, batch: list[ChunkWanted], chunks: list[bytes]
    ) -> None:
        """Write one response for each of the chunks."""
        parts: list[bytes] = []
        for want, data in zip(batch, chunks, strict=True):
            parts.append(response_header(want.echo, len(data)))
            if len(data) < JOIN_BELOW:
                parts.append(data)
            else:
                client.connection.write(b"".join(parts))
                client.connection.write(data)
                parts.clear()
        if parts:
            client.connection.write(b"".join(parts))
        self.served += len(batch)

    def _read(self, client: _Client, batch: list[ChunkWanted]) -> None:
        """Have a worker thread read what is not in the page cache."""
        client.is_reading = True

        def read() -> list[bytes]:
            return [self._store.get(want.index) for want in batch]

        def done(future: asyncio.Future[list[bytes]]) -> None:
            self._reads.discard(future)
            client.is_reading = False
            error = future.exception()
            if isinstance(error, StoreError):
                self._refuse(client, error)
            elif error is not None:
                raise error
            else:
                self._send(client, batch, future.result())
                self._serve(client)

        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, read)
        self._reads.add(future)
        future.add_done_callback(done)

    def _refuse(self, client: _Client, error: StoreError) -> None:
        """Send nothing rather than something wrong.

        An open channel has no word for no: closing sends the client elsewhere at
        once, silence would leave it waiting.
        """
        client.wanted.clear()
        client.connection.close()
        if str(error) not in self._told:
            self._told.add(str(error))
            self._on_problem(error)


def _is_global(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False
