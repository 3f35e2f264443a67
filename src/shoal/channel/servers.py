"""Find the servers of an open channel and keep a connection to each.

`ServerPool` owns the connections, who lied and, through a `Dialler`, whom to dial;
what to ask of a server that is ready, and what to make of its answers, is its
`Client`'s business. A server that lied is not dialled for a while.
"""

import asyncio
from collections.abc import Iterable
from random import Random
from typing import Protocol

from shoal.core.names.address import Address
from shoal.core.names.channel_id import Channel
from shoal.core.session.session import (
    ChunkReceived,
    Event,
    InfoReceived,
    OfferReceived,
    OpenClientSession,
)
from shoal.core.wire.framing import BufferPool
from shoal.core.wire.handshake import Offer
from shoal.errors import LyingPeerError, PeerError, PeerTimeoutError
from shoal.transfer.dialler import Dialler, Found
from shoal.transport.connection import Connection, dial

__all__ = ["Client", "Server", "ServerPool"]

TICK = 1.0  # seconds between looks at handshakes that do not come
HANDSHAKE_TIME = 10.0  # seconds for a handshake, and one more for so many bytes:
HANDSHAKE_RATE = 64 * 1024


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

    def request(self, indexes: Iterable[int]) -> None:
        """Send requests for chunks."""
        if self.connection is not None:
            for index in indexes:
                self.connection.session.request(index)
            self.connection.flush()

    def request_any(self, number: int) -> None:
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
        self._channel = channel
        self._client = client
        self._pool = pool
        self._servers: dict[Connection[OpenClientSession], Server] = {}
        self._dialler = Dialler(self._dial, self._count_connected, rng)
        self._clock = asyncio.get_running_loop().time

    @property
    def found(self) -> int:
        """Return how many addresses were reported so far."""
        return len(self._dialler)

    @property
    def has_only_liars(self) -> bool:
        """Say whether all that was found turned out to lie."""
        return self._dialler.has_only_liars

    def is_banned(self, server: Server) -> bool:
        """Return True if a server is banned."""
        return self._dialler.is_banned(server.address)

    async def run(self, found: Iterable[Found]) -> None:
        """Dial what is found until cancelled; then close every connection."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._dialler.run(found))
                while True:
                    await asyncio.sleep(TICK)
                    self._end_silent(self._clock())
        finally:
            for server in list(self._servers.values()):
                server.close()

    def ban(self, server: Server, error: PeerError) -> None:
        """Leave a server alone that sent what does not verify."""
        self._dialler.ban(server.address)
        server.close(error)

    # Dialling.

    def _count_connected(self) -> int:
        """Count all but those being dialled, which are among the servers as well."""
        return len(self._servers) - self._dialler.dialling

    async def _dial(self, address: Address, source: str) -> None:
        session = OpenClientSession(self._channel, self._pool)
        connection = Connection(session, self)
        self._servers[connection] = Server(address, source)
        try:
            await dial(connection, address)
        except PeerError as error:
            self.on_lost(connection, error)

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
            self._dialler.ban(server.address)
        self._dialler.on_lost(server.address)
        self.ready.pop(server.address, None)
        self._client.on_server_lost(server, error)

    def _on_ready(self, server: Server) -> None:
        self._dialler.on_ready(server.address)
        self.ready[server.address] = server
        self._client.on_server_ready(server)
