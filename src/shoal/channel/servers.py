"""Connections to the servers of one open channel.

`Servers` dials the addresses found, keeps the connections and passes the messages of
each server to its `Client`, which decides what to request. Its `Dialler` knows when to
dial each address again and which addresses are banned.
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol, TypeVar

from shoal.core.names.address import Address
from shoal.core.names.channel_id import Channel
from shoal.core.session.events import Event, OfferReceived
from shoal.core.session.open_session import OpenClientSession
from shoal.core.wire.handshake import Offer
from shoal.errors import LyingPeerError, PeerError, PeerTimeoutError, first_error
from shoal.resources import Resources
from shoal.transfer.dialler import Dialler, Found
from shoal.transport.connection import Connection
from shoal.transport.dial import dial

__all__ = ["Client", "Server", "Servers"]

T = TypeVar("T")

TICK = 0.25  # seconds between ticks
HANDSHAKE_TIME = 10.0  # seconds to wait for a handshake, plus those for its bytes:
HANDSHAKE_RATE = 64 * 1024  # bytes per second


class Server:
    """One server of the channel; a `Source` of chunks."""

    def __init__(self, address: Address, source: str) -> None:
        self.address = address
        """The address that was dialled."""
        self.source = source
        """The network that reported it."""
        self.connection: Connection[OpenClientSession] | None = None
        """None until it is established."""
        self.offer: Offer | None = None
        """The hashes in its handshake; None before, and on a named channel."""

    def request(self, indexes: Iterable[int]) -> None:
        """Send requests for chunks."""
        if self.connection is not None:
            for index in indexes:
                self.connection.session.request(index)
            self.connection.flush()

    def request_any(self, number: int) -> None:
        """Do nothing: the protocol of open channels has no such message."""

    def cancel(self, indexes: Iterable[int]) -> None:
        """Do nothing: the protocol of open channels has no such message."""

    def request_info(self) -> None:
        """Send a request for the sizes of a named channel."""
        if self.connection is not None:
            self.connection.session.request_info()
            self.connection.flush()

    def close(self, error: PeerError | None = None) -> None:
        """Close the connection; `error` is what the server did wrong."""
        if self.connection is not None:
            self.connection.close(error)


class Client(Protocol):
    """Use the servers that `Servers` connects to; called on the event loop only."""

    def on_server_ready(self, server: Server) -> None:
        """Send requests: the server is connected, and its handshake verified."""

    def on_events(self, server: Server, events: list[Event]) -> None:
        """Act on the messages of one read from a server."""

    def on_server_lost(self, server: Server, error: Exception | None) -> None:
        """Forget a server; `error` is the reason, None for a normal end."""

    def on_tick(self, now: float) -> None:
        """Act on the time; called every `TICK` seconds."""


class Servers:
    """Connect to the servers of one channel while a client needs them."""

    def __init__(self, channel: Channel, client: Client, resources: Resources) -> None:
        """Prepare; nothing is dialled before `run`."""
        self.ready: dict[Address, Server] = {}
        """Servers that accept requests."""
        self._channel = channel
        self._client = client
        self._buffers = resources.buffers
        self._servers: dict[Connection[OpenClientSession], Server] = {}
        self.dialler = Dialler(
            *(self._dial, self._count_connected, resources.rng, resources.dials),
            has_identity=False,
        )
        self._clock = asyncio.get_running_loop().time

    async def run(self, found: Iterable[Found], result: asyncio.Future[T]) -> T:
        """Connect to servers until `result` is set; then close every connection.

        Returns or raises the result, or raises the error of a task that failed.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                dialling = tasks.create_task(self.dialler.run(found))
                ticking = tasks.create_task(self._tick_forever())
                await asyncio.wait([result])
                dialling.cancel()
                ticking.cancel()
        except BaseExceptionGroup as group:
            raise first_error(group) from None
        finally:
            for server in list(self._servers.values()):
                server.close()
        return result.result()

    def ban(self, server: Server, error: PeerError) -> None:
        """Disconnect a server that sent wrong data, and do not dial it for a while."""
        self._note_liar(server)
        server.close(error)

    def _note_liar(self, server: Server) -> None:
        if not self.dialler.is_banned(server.address):
            self.dialler.ban(server.address)
            self.dialler.bans.note_liar(
                server.address.host, self._clock(), dialled=True
            )

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = self._clock()
            self._drop_silent(now)
            self._client.on_tick(now)

    # Dialling.

    def _count_connected(self) -> int:
        """Return the number of connections, without those that are being dialled."""
        return len(self._servers) - self.dialler.dialling

    async def _dial(self, address: Address, source: str) -> None:
        if not self.dialler.bans.may_try(address.host, self._clock(), dialled=True):
            raise PeerError(f"several servers at {address.host} sent wrong data")
        session = OpenClientSession(self._channel, self._buffers)
        connection = Connection(session, self)
        self._servers[connection] = Server(address, source)
        try:
            await dial(connection, address)
        except PeerError as error:
            self.on_lost(connection, error)

    def _drop_silent(self, now: float) -> None:
        """Close connections whose handshake is late or arrives too slowly."""
        for connection, server in list(self._servers.items()):
            if (
                server.connection is not None
                and server.address not in self.ready
                and now - connection.connected_at
                > HANDSHAKE_TIME + connection.received / HANDSHAKE_RATE
            ):
                server.close(PeerTimeoutError(f"{server.address} sent no handshake"))

    # The handler of every connection.

    def on_connected(self, connection: Connection[OpenClientSession]) -> None:
        """Note a connection; the server of a named channel is ready at once."""
        server = self._servers[connection]
        server.connection = connection
        if not self._channel.is_hash:
            self._on_ready(server)

    def on_events(
        self, connection: Connection[OpenClientSession], events: list[Event]
    ) -> None:
        """Pass messages to the client; a hash channel's handshake makes a server ready.

        See docs/protocol.md, "Open channels".
        """
        server = self._servers[connection]
        for event in events:
            if isinstance(event, OfferReceived):
                server.offer = event.offer
                self._on_ready(server)
        self._client.on_events(server, events)

    def on_writable(self, connection: Connection[OpenClientSession]) -> None:
        """Do nothing: requests are short and their number is bounded."""

    def on_lost(
        self,
        connection: Connection[OpenClientSession],
        error: PeerError | OSError | None,
    ) -> None:
        """Forget a connection; its address is dialled again later."""
        server = self._servers.pop(connection, None)
        if server is None:
            return
        if isinstance(error, LyingPeerError):
            self._note_liar(server)
        self.dialler.on_lost(server.address)
        self.ready.pop(server.address, None)
        self._client.on_server_lost(server, error)

    def _on_ready(self, server: Server) -> None:
        self.dialler.on_ready(server.address)
        self.ready[server.address] = server
        self._client.on_server_ready(server)
