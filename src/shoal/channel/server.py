"""Serve one open channel to everyone who connects.

`Uploads` owns the connections that came in; what they are given when is up to its
`Uploader`. Each client is served in the order it asked.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable

from shoal.core.manifest.chunks import Chunks
from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.session.session import ChunkWanted, Event, OpenServerSession
from shoal.errors import PeerError, ShoalError, StoreError
from shoal.resources import Resources
from shoal.storage.store import ChunkReader
from shoal.transfer.responses import write_chunks
from shoal.transfer.uploader import Uploader
from shoal.transport.connection import Connection

__all__ = ["Uploads"]

MAX_CLIENTS = 512  # connections at once
MAX_PER_ADDRESS = 8  # connections of one global address; local ones are shared
USE_TIME = 30.0  # seconds after it took some for which a client keeps its place
MAX_WANTED = 1024  # requests of one client that are kept; then reading pauses


class _Client:
    """Take chunks for one connection, in the order they were asked for."""

    def __init__(
        self,
        connection: Connection[OpenServerSession],
        on_refused: Callable[[Exception], None],
    ) -> None:
        self.connection = connection
        self.wanted: deque[ChunkWanted] = deque()
        self._on_refused = on_refused

    @property
    def is_writable(self) -> bool:
        return self.connection.is_writable

    def next_requests(self, limit: int) -> list[tuple[int, Hashable]]:
        wanted = self.wanted
        batch = [wanted.popleft() for _ in range(min(limit, len(wanted)))]
        if len(wanted) <= MAX_WANTED // 2:
            self.connection.resume_reading()
        return [(want.index, want.echo) for want in batch]

    def send(self, chunks: list[tuple[Hashable, bytes]]) -> None:
        write_chunks(self.connection, chunks)

    def refuse(self, notes: list[Hashable], error: Exception) -> None:
        # An open channel has no word for no: closing sends the client elsewhere at
        # once, silence would leave it waiting.
        self.wanted.clear()
        self.connection.close()
        self._on_refused(error)


class Uploads:
    """Answer requests for the chunks of one store."""

    def __init__(
        self,
        store: ChunkReader,
        handshake: bytes | None,
        resources: Resources,
        on_problem: Callable[[ShoalError], None],
    ) -> None:
        """Serve `store`; `on_problem` hears, once each, why chunks are not sent."""
        self._store = store
        self._handshake = handshake
        self._uploader = Uploader(store, resources)
        self._pool = resources.buffers
        self._on_problem = on_problem
        self._told: set[str] = set()
        self._clients: dict[Connection[OpenServerSession], _Client] = {}
        self._room = MAX_CLIENTS  # for clients now; less while the system is short
        self._clock = asyncio.get_running_loop().time

    @property
    def chunks(self) -> Chunks:
        """Return how what is served is cut."""
        return self._store.chunks

    @property
    def served(self) -> int:
        """Return how many chunks were sent so far."""
        return self._uploader.served

    @property
    def sent(self) -> int:
        """Return how many bytes of them."""
        return self._uploader.sent

    def __len__(self) -> int:
        return len(self._clients)

    def accept(self) -> Connection[OpenServerSession]:
        """Return a connection for a client that is about to be accepted."""
        session = OpenServerSession(self._store.chunks, self._handshake, self._pool)
        return Connection(session, self)

    def make_room(self, count: int) -> int:
        """End up to `count` connections that are of no use; say how many.

        The system has no room for all of them: no more than are left will be here
        until half of those have gone.
        """
        ended = self._end_idle(count)
        self._room = max(1, self._standing())
        return ended

    def _standing(self) -> int:
        return sum(not each.is_closing for each in self._clients)

    def _end_idle(self, count: int) -> int:
        """End up to `count` connections that are of no use; say how many.

        Whoever has never taken anything goes first, and of those whoever has been
        here longest; nobody in the middle of it.
        """
        latest = self._clock() - USE_TIME
        standing = (each for each in self._clients if not each.is_closing)
        idle = [each for each in standing if each.last_taken <= latest]
        idle.sort(key=lambda each: each.last_taken)
        for each in idle[:count]:
            each.close()
        return min(count, len(idle))

    async def aclose(self) -> None:
        """End every connection; idempotent."""
        for connection in list(self._clients):
            connection.close()
        await self._uploader.aclose()

    # What a connection tells its handler.

    def on_connected(self, connection: Connection[OpenServerSession]) -> None:
        """Take a client in, unless there are too many."""
        host = connection.address.host
        if scope_of(host) is Scope.GLOBAL:
            same = sum(each.address.host == host for each in self._clients)
            if same >= MAX_PER_ADDRESS:
                connection.close()
                return
        if self._standing() >= self._room and not self._end_idle(1):
            connection.close()
            return
        self._clients[connection] = _Client(connection, self._tell)
        connection.acknowledge_now()

    def on_events(
        self, connection: Connection[OpenServerSession], events: list[Event]
    ) -> None:
        """Queue what a client asks for, and serve it."""
        client = self._clients.get(connection)
        if client is None:
            return
        if self._give_at_once(client, events):
            return
        client.wanted.extend(each for each in events if isinstance(each, ChunkWanted))
        self._uploader.wake(client)
        if connection.session.is_mid_frame:
            connection.acknowledge_now()
        # Whoever does not read what it asked for is not asked what else it wants.
        if len(client.wanted) > MAX_WANTED or not connection.is_writable:
            connection.pause_reading()

    def _give_at_once(self, client: _Client, events: list[Event]) -> bool:
        """Answer a lone request of a client that waits for nothing else."""
        if len(events) != 1 or client.wanted or not client.is_writable:
            return False
        match events[0]:
            case ChunkWanted(index=index, echo=echo):
                data = self._uploader.read_now(index)
                if data is not None:
                    write_chunks(client.connection, [(echo, data)])
                    return True
        return False

    def on_writable(self, connection: Connection[OpenServerSession]) -> None:
        """Go on serving a client that takes more."""
        client = self._clients.get(connection)
        if client is not None:
            connection.resume_reading()
            self._uploader.wake(client)

    def on_lost(
        self,
        connection: Connection[OpenServerSession],
        error: PeerError | OSError | None,
    ) -> None:
        """Forget a client."""
        client = self._clients.pop(connection, None)
        if client is not None:
            self._uploader.remove(client)
        if 2 * len(self._clients) <= self._room:
            self._room = MAX_CLIENTS

    def _tell(self, error: Exception) -> None:
        if isinstance(error, StoreError) and str(error) not in self._told:
            self._told.add(str(error))
            self._on_problem(error)
