"""Open channels on the simulated network: listeners, dialling, and servers that lie."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

from shoal.core.manifest.chunks import Chunks
from shoal.core.names.address import Address
from shoal.core.names.channel_id import Channel
from shoal.core.session.events import ChunkRequested, Event
from shoal.core.session.open_session import OpenServerSession
from shoal.core.wire.handshake import encode_handshake
from shoal.core.wire.messages import (
    Handshake,
    Info,
    Message,
    encode_frame,
    response_header,
)
from shoal.errors import PeerError, PeerTimeoutError
from shoal.transport.connection import Connection
from shoal.transport.dial import CONNECT_TIME
from tests.simulator.hosts import Host
from tests.simulator.lines import Line, SimTransport
from tests.simulator.loop import Process, current_process
from tests.simulator.network import Network
from tests.simulator.plan import Share
from tests.simulator.routes import source_address

__all__ = ["SERVING", "OpenLiar", "SimListener", "dial_open", "make_handshake"]

SERVING: ContextVar[Share] = ContextVar("serving")
"""The share that this task serves or fetches over an open channel."""
FIRST_PORT = 4001  # of the channels that the first node serves: others are told of it
LIAR_PORT = 4999


@runtime_checkable
class Answering(Protocol):
    """Accept the connections at a port of an open channel."""

    process: Process

    def answer(self) -> asyncio.BufferedProtocol:
        """Return the server's end of a new connection."""


class SimListener:
    """Take the place of the `Listener` of an open channel."""

    def __init__(
        self,
        network: Network,
        factory: Callable[[], Connection[OpenServerSession]],
        *,
        hosts: Sequence[str],
        port: int = 0,
        make_room: Callable[[int], int] = lambda count: 0,
    ) -> None:
        """Listen at a port of the host whose process calls this."""
        self.process = current_process()
        self._share = SERVING.get()
        self._host = network.host_of(self.process)
        self._factory = factory
        taken = self._host.listening
        if self._host is network.hosts[0]:
            self.port = FIRST_PORT + self._share.number
        else:
            ports = iter(lambda: 10_000 + network.rng.randrange(50_000), None)
            self.port = next(each for each in ports if each not in taken)
        self._host.listening[self.port] = self

    def factory(self, knock: bytes) -> None:
        """Accept no connection of a sealed share."""

    def answer(self) -> Connection[OpenServerSession]:
        """Return the server's end of a new connection."""
        connection = self._factory()
        if self._share.hides_sizes and self._share.open == "name":
            connection.session = _NoSizes(connection.session._chunks, None)
        return connection

    def listen_on(self, hosts: Sequence[str]) -> None:
        """Do nothing: a simulated listener has all addresses of its host."""

    async def aclose(self) -> None:
        """Listen no more; connections stay open."""
        self._host.listening.pop(self.port, None)


class _NoSizes(OpenServerSession):
    """Ignore requests for the sizes, as the servers of the workshop do."""

    def _handle(self, message: Message, frame: memoryview) -> None:
        if not isinstance(message, Info):
            super()._handle(message, frame)


def make_handshake(digests: bytes, chunks: Chunks) -> bytes:
    """Return a handshake; without sizes if the servers of that share hide them."""
    if SERVING.get().hides_sizes:
        return encode_frame(Handshake(_hex_of(digests)))
    return encode_handshake(digests, chunks)


def _hex_of(digests: bytes) -> list[str]:
    return [digests[i : i + 32].hex() for i in range(0, len(digests), 32)]


async def dial_open(
    network: Network,
    connection: Connection[Any],
    address: Address,
    *,
    within: float = CONNECT_TIME,
) -> None:
    """Connect the calling process with the server at an address."""
    process = current_process()
    host = network.host_of(process)
    resolved = Address(network.resolve(host, address.host), address.port)
    target = network.find(host, resolved)
    if (
        target is None
        or network.rng.random() < network.loss
        or network.is_cut(host, target)
    ):
        await asyncio.sleep(within)
        raise PeerTimeoutError(f"{address} did not answer in {within:g} s")
    await asyncio.sleep(2 * (host.latency + target.latency))
    server = target.listening.get(target.inner_port(address))
    if not isinstance(server, Answering):
        # The port of sealed shares accepts, and hangs up at the first message.
        raise PeerError(f"{address} cannot be reached: Connection refused")
    _connect(network, (host, target), (process, server), resolved, connection)


def _connect(
    network: Network,
    hosts: tuple[Host, Host],
    ends: tuple[Process, Answering],
    address: Address,
    connection: Connection[Any],
) -> None:
    (host, target), (process, server) = hosts, ends
    seen = network.seen_from(host, address.host, target)
    local = Address(source_address(host, address.host), seen.port)
    far = SimTransport(
        network, server.process, asyncio.BufferedProtocol(), seen, address
    )
    near = SimTransport(network, process, connection, address, local)
    near.other, far.other = far, near
    near.line = far.line = Line(hosts, (process, server.process), (near, far), b"")
    network.lines.append(near.line)

    def accept() -> None:
        # The kernel has accepted; the process does it when it runs.
        if not far.is_closing():
            far.protocol = server.answer()
            far.protocol.connection_made(far)

    server.process.call(accept)
    network.trace("connect", host.name, target.name, str(address), "open")
    connection.connection_made(near)


class OpenLiar:
    """Serve an open channel with wrong chunks or wrong sizes, on a host of its own."""

    def __init__(
        self,
        network: Network,
        host: Host,
        process: Process,
        channel: Channel,
        share: Share,
        data: bytes,
    ) -> None:
        """Announce the channel; `data` are its bytes."""
        self.process = process
        self._kind = network.rng.choice(["flips", "cuts", "sizes", "hashes"])
        self._chunks, self._data = Chunks(len(data), share.chunk), data
        self._handshake = self._lie() if channel.is_hash else None
        host.listening[LIAR_PORT] = self
        network.hosts.append(host)
        network.announce(channel.topic, host, LIAR_PORT, process)
        network.trace("liar", self._kind)

    def factory(self, knock: bytes) -> None:
        """Accept no connection of a sealed share."""

    def _chunk(self, index: int) -> bytes:
        start = self._chunks.offset(index)
        return self._data[start : start + self._chunks.length(index)]

    def _lie(self) -> bytes:
        chunks = self._chunks
        digests = b"".join(
            hashlib.sha256(self._chunk(index)).digest() for index in range(chunks.count)
        )
        if self._kind == "hashes":
            digests = bytes(32) + digests[32:]
        less = Chunks(chunks.size - 1, chunks.chunk_size)
        if self._kind == "sizes" and less.count == chunks.count:
            chunks = less  # the hashes agree with it too
        return encode_handshake(digests, chunks)

    def answer(self) -> Connection[OpenServerSession]:
        """Return the liar's end of a new connection."""
        return Connection(OpenServerSession(self._chunks, self._handshake), self)

    def on_connected(self, connection: Connection[OpenServerSession]) -> None:
        """Do nothing: the session has sent the handshake."""

    def on_events(
        self, connection: Connection[OpenServerSession], events: list[Event]
    ) -> None:
        """Answer requests."""
        for event in events:
            if isinstance(event, ChunkRequested):
                data = self._chunk(event.index)
                if self._kind == "flips":
                    data = bytes([data[0] ^ 1]) + data[1:]
                elif self._kind == "cuts":
                    data = data[:-1]
                connection.write(response_header(event.echo, len(data)) + data)

    def on_writable(self, connection: Connection[OpenServerSession]) -> None:
        """Do nothing: a liar writes everything at once."""

    def on_lost(
        self, connection: Connection[OpenServerSession], error: Exception | None
    ) -> None:
        """Do nothing."""
