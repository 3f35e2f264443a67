"""Find the servers of an open channel and keep a connection to each.

`ServerPool` owns the peer book, the dialling and the connections; what to ask of
a server that is ready, and what to make of its answers, is its `Client`'s
business. Of the many addresses that discovery reports, each is dialled once at a
time, later and later when it fails, and not at all for a while when it lied.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from random import Random
from typing import Protocol

from shoal.core.address import Address
from shoal.core.framing import BufferPool
from shoal.core.handshake import Offer
from shoal.core.link import Channel
from shoal.core.peerbook import PeerBook
from shoal.core.session import (
    ChunkReceived,
    Event,
    InfoReceived,
    OfferReceived,
    OpenClientSession,
)
from shoal.errors import LyingPeerError, PeerError, PeerTimeoutError
from shoal.transport.connection import Connection
from shoal.transport.dial import dial

__all__ = ["Client", "Found", "Server", "ServerPool"]

MAX_SERVERS = 64  # connections at once
MAX_DIALS = 8  # connections being made at once
HANDSHAKE_TIME = 10.0  # seconds for a handshake, and one more for so many bytes:
HANDSHAKE_RATE = 64 * 1024

Found = AsyncIterator[tuple[Address, str]]
"""Addresses with the name of the network that reported them."""


class Server:
    """One server of the channel, as far as we got with it."""

    def __init__(self, address: Address, source: str) -> None:
        self.address = address
        """As it was dialled."""
        self.source = source
        """The network that reported it."""
        self.connection: Connection[OpenClientSession] | None = None
        self.offer: Offer | None = None
        """What a hash channel's handshake offered; None before, or if named."""

    def ask(self, indexes: Iterable[int]) -> None:
        """Send requests for chunks."""
        if self.connection is not None:
            for index in indexes:
                self.connection.session.request(index)
            self.connection.flush()

    def ask_any(self, number: int) -> None:
        """Do nothing: an open channel has no word for it."""

    def cancel(self, indexes: Iterable[int]) -> None:
        """Do nothing: an open channel has no word for it."""

    def ask_info(self) -> None:
        """Send a request for a named channel's sizes."""
        if self.connection is not None:
            self.connection.session.request_info()
            self.connection.flush()

    def close(self, error: PeerError | None = None) -> None:
        """End the connection; `error` says what the server did wrong."""
        if self.connection is not None:
            self.connection.close(error)


class Client(Protocol):
    """Use the servers that a pool finds; called on the event loop only."""

    def on_server_ready(self, server: Server) -> None:
        """Ask a server: it is connected, and its handshake verified."""

    def on_info(self, server: Server, info: InfoReceived) -> None:
        """Take note of a named channel's sizes, as this server says them."""

    def on_heard(self, server: Server) -> None:
        """Take note that bytes came from a server."""

    def on_chunk(self, server: Server, chunk: ChunkReceived) -> None:
        """Take a chunk that was asked of this server."""

    def on_read_done(self, server: Server) -> None:
        """Go on with a server after all that came in one read."""

    def on_server_lost(self, server: Server, error: Exception | None) -> None:
        """Forget a server; `error` says why it is gone."""


class ServerPool:
    """Keep connections to the servers of one channel; closes them at its end."""

    def __init__(
        self, channel: Channel, client: Client, *, rng: Random, pool: BufferPool
    ) -> None:
        self.ready: dict[Address, Server] = {}
        """Servers that can be asked."""
        self.liars: dict[Address, Exception] = {}
        """Servers that sent what does not verify, and what it was."""
        self._channel = channel
        self._client = client
        self._pool = pool
        self._book = PeerBook(rng)
        self._servers: dict[Connection[OpenClientSession], Server] = {}
        self._dialling = 0
        self._wake = asyncio.Event()
        self._clock = asyncio.get_running_loop().time

    @property
    def found(self) -> int:
        """Return how many addresses were reported so far."""
        return len(self._book)

    @property
    def has_only_liars(self) -> bool:
        """Say whether all that was found turned out to lie."""
        return bool(self.liars) and len(self.liars) == len(self._book)

    async def run(self, found: Iterable[Found]) -> None:
        """Dial what is found until cancelled; then close every connection."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for each in found:
                    tasks.create_task(self._listen(each))
                await self._dial_forever(tasks.create_task)
        finally:
            for server in list(self._servers.values()):
                server.close()

    def ban(self, server: Server, error: PeerError) -> None:
        """Leave a server alone that sent what does not verify."""
        self.liars[server.address] = error
        self._book.ban(server.address, self._clock())
        server.close(error)

    # Dialling.

    async def _listen(self, found: Found) -> None:
        async for address, source in found:
            if self._book.add(address, source):
                self._wake.set()

    async def _dial_forever(self, start: Callable[..., object]) -> None:
        while True:
            now = self._clock()
            slots = min(MAX_DIALS - self._dialling, MAX_SERVERS - len(self._servers))
            for address in self._book.next_dials(now, max(slots, 0)):
                self._dialling += 1
                start(self._dial(Server(address, self._book.source_of(address))))
            self._end_silent(now)
            due = self._book.next_due() if slots > 0 else None
            wait = 1.0 if due is None else min(max(due - now, 0.0), 1.0)
            self._wake.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _dial(self, server: Server) -> None:
        session = OpenClientSession(self._channel, self._pool)
        connection = Connection(session, self)
        self._servers[connection] = server
        try:
            await dial(connection, server.address)
        except PeerError as error:
            self.on_lost(connection, error)
        finally:
            self._dialling -= 1
            self._wake.set()

    def _end_silent(self, now: float) -> None:
        """End connections whose handshake does not come, or only drips."""
        for connection, server in list(self._servers.items()):
            if (
                server.connection is not None
                and server.address not in self.ready
                and now - connection.since
                > HANDSHAKE_TIME + connection.received / HANDSHAKE_RATE
            ):
                server.close(PeerTimeoutError(f"{server.address} sent no handshake"))

    # What a connection tells its handler.

    def on_connected(self, connection: Connection[OpenClientSession]) -> None:
        """Note a connection; the server of a named channel may be asked."""
        server = self._servers[connection]
        server.connection = connection
        if not self._channel.is_hash:
            self._on_ready(server)

    def on_events(
        self, connection: Connection[OpenClientSession], events: list[Event]
    ) -> None:
        """Pass on what a server said."""
        server = self._servers[connection]
        self._client.on_heard(server)
        for event in events:
            match event:
                case ChunkReceived():
                    self._client.on_chunk(server, event)
                case OfferReceived(offer=offer):
                    server.offer = offer
                    self._on_ready(server)
                case InfoReceived():
                    self._client.on_info(server, event)
        self._client.on_read_done(server)

    def on_writable(self, connection: Connection[OpenClientSession]) -> None:
        """Do nothing: requests are short and their number is bounded."""

    def on_lost(
        self,
        connection: Connection[OpenClientSession],
        error: PeerError | OSError | None,
    ) -> None:
        """Forget a connection and dial its address again later."""
        server = self._servers.pop(connection, None)
        if server is None:
            return
        if isinstance(error, LyingPeerError):
            self.liars[server.address] = error
            self._book.ban(server.address, self._clock())
        self._book.on_lost(server.address, self._clock())
        self._wake.set()
        self.ready.pop(server.address, None)
        self._client.on_server_lost(server, error)

    def _on_ready(self, server: Server) -> None:
        self._book.on_ready(server.address)
        self.ready[server.address] = server
        self._client.on_server_ready(server)
