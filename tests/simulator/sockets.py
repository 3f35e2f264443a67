"""TCP sockets of the simulated network, up to the end of the handshake of shoal.

A socket that dials sends SYNs as Linux does. One of them meets a listening port, or a
socket that dials in the opposite direction (a simultaneous open). In the second case
both ends run the real handshake, which decides on their parts. In the first case the
handshake is left out.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from errno import EADDRNOTAVAIL
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from shoal.core.crypto.crossing import DialHandshake
from shoal.core.crypto.knock import KnockMemory
from shoal.core.names.address import Address
from shoal.errors import PeerError, SelfConnectionError
from shoal.transport.sealed.knocking import REST_TIME
from shoal.transport.sealed.proven import Factory, ProvenPeer
from tests.simulator.hosts import Host
from tests.simulator.loop import Process
from tests.simulator.routes import let_in, let_out, source_address

if TYPE_CHECKING:
    from tests.simulator.network import Network

__all__ = ["DIALLING", "Dialling", "SimKnocking", "SimSocket", "connect", "open_socket"]

SYN_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds after each SYN

P = TypeVar("P")


class Dialling(Protocol):
    """Dial nodes: a `SimPort` or a liar."""

    host: Host
    process: Process
    node_id: bytes
    knocks: KnockMemory

    def factory(self, knock: bytes) -> Factory | None:
        """Return what makes the connections of a share; None if it is not offered."""


DIALLING: ContextVar[tuple[Dialling, bytes]] = ContextVar("dialling")
"""Who dials in this task, and the knock key of the share."""


@dataclass(eq=False)
class SimSocket:
    """A socket that dials, or is connected and has not passed the handshake."""

    network: "Network"
    owner: Dialling
    knock: bytes
    local: Address
    remote: Address
    met: "asyncio.Future[None]"
    """Done once it is connected."""
    seen: Address = field(default_factory=lambda: Address("", 0))
    """The address that the other end sees."""
    at: Address = field(default_factory=lambda: Address("", 0))
    """The address that the other end has there."""
    server: Any = None
    """What accepts at the other end: a `SimPort` or a liar."""
    crossing: "SimSocket | None" = None
    """The socket at the other end of a simultaneous open."""
    knocking: "SimKnocking | None" = None
    is_closed: bool = False

    @property
    def process(self) -> Process:
        """Return the process that it belongs to."""
        return self.owner.process

    @property
    def is_dialling(self) -> bool:
        """Return True if it has met nothing yet."""
        return not (self.is_closed or self.server or self.crossing)

    def close(self) -> None:
        """Give its port and remote address free."""
        self.is_closed = True
        sockets = self.owner.host.sockets
        if sockets.get((self.local, self.remote)) is self:
            del sockets[self.local, self.remote]


async def open_socket(network: "Network", port: int, address: Address) -> SimSocket:
    """Connect from a port, 0 for any; raises `OSError`, as `bound._connect` does."""
    owner, knock = DIALLING.get()
    host, loop = owner.host, asyncio.get_running_loop()
    remote = Address(network.resolve(host, address.host), address.port)
    local = Address(source_address(host, remote.host), port or network.next_port())
    key, now = (local, remote), network.time()
    if key in host.sockets or host.lingering.get(key, now) > now:
        raise OSError(EADDRNOTAVAIL, "Cannot assign requested address")
    sock = SimSocket(network, owner, knock, local, remote, loop.create_future())
    host.sockets[key] = sock
    is_lost = network.rng.random() < network.loss
    network.watch.on_begin(owner.process.name, remote, now)
    try:
        for wait in SYN_WAITS:
            _send_syn(sock, is_lost=is_lost)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await asyncio.shield(sock.met)
            if sock.met.done():
                sock.met.result()  # it may have been refused as its time was over
                return sock
        raise TimeoutError("Connection timed out")
    except BaseException:
        sock.close()
        raise
    finally:
        network.watch.on_end(owner.process.name, remote)


async def connect(
    network: "Network", factory: Callable[[], P], address: Address
) -> SimSocket:
    """Connect the protocol that `factory` makes, from any port."""
    sock = await open_socket(network, 0, address)
    protocol: Any = factory()
    protocol.connection_made(sock)
    return sock


# The kernels and the network.


def _send_syn(sock: SimSocket, *, is_lost: bool) -> None:
    network, host = sock.network, sock.owner.host
    now = network.time()
    seen = let_out(host, sock.local, sock.remote, network.hosts, now)
    if not is_lost and sock.is_dialling:
        network.later(host.latency, _pass_nats, sock, seen)


def _pass_nats(sock: SimSocket, seen: Address) -> None:
    network, host = sock.network, sock.owner.host
    found = let_in(host, seen, sock.remote, network.hosts, network.time())
    if found is not None and not network.is_cut(host, found[0]):
        network.later(found[0].latency, _arrive, sock, seen, *found)


def _arrive(sock: SimSocket, seen: Address, host: Host, at: Address) -> None:
    """Let a SYN arrive at a host: it meets a socket that dials, or a listening port."""
    if not sock.is_dialling:
        return
    network, key = sock.network, (at, seen)
    other = host.sockets.get(key)
    delay = host.latency + sock.owner.host.latency
    if isinstance(other, SimSocket) and other.is_dialling:
        network.trace("cross", sock.owner.host.name, host.name, str(seen))
        sock.crossing, sock.seen, sock.at = other, seen, other.local
        other.crossing, other.seen, other.at = sock, sock.remote, sock.local
        network.later(delay, _finish, other)
    elif other is not None:
        return  # that connection lasts, and ignores the SYN
    elif (server := host.listening.get(at.port)) is None:
        network.later(delay, _refuse, sock)
        return
    else:
        sock.server, sock.seen, sock.at = server, seen, at
    network.later(delay, _finish, sock)


def _finish(sock: SimSocket) -> None:
    if not sock.met.done():
        sock.met.set_result(None)


def _refuse(sock: SimSocket) -> None:
    if not sock.met.done() and sock.is_dialling:
        sock.met.set_exception(ConnectionRefusedError(111, "Connection refused"))


# The handshake.


class SimKnocking:
    """Take the place of the protocol that runs the handshake of a dial."""

    def __init__(
        self,
        address: Address,
        handshake: DialHandshake,
        factory: Factory,
        outcome: "asyncio.Future[Any]",
        threads: object,
        on_unopened: object = None,
    ) -> None:
        self.address = address
        self.handshake = handshake
        self.factory = factory
        self._outcome = outcome
        self._sock: SimSocket | None = None
        self.inbox = bytearray()
        """What the other end has sent, in a simultaneous open."""

    def connection_made(self, sock: SimSocket) -> None:
        """Run the handshake, if the other end is ready for it."""
        self._sock = sock
        sock.knocking = self
        if sock.crossing is None:
            self._meet_server(sock)
        elif sock.crossing.is_closed or sock.crossing.process.is_dead:
            self.fail(self._hung_up())
        elif sock.crossing.knocking and not sock.crossing.process.is_stopped:
            _cross(sock, sock.crossing)

    def abort(self) -> None:
        """End the connection at once."""
        if self._sock is not None and not self._sock.is_closed:
            self._sock.close()
            other = self._sock.crossing
            if other is not None and other.knocking is not None:
                other.knocking.fail(other.knocking._hung_up())

    def fail(self, error: PeerError) -> None:
        """Report why there is no connection."""
        if not self._outcome.done():
            self._outcome.set_exception(error)
        self.abort()

    def hang_up_after(self, seconds: float) -> None:
        """End the connection once the peer has had time for the rest of an answer."""
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, lambda: self.fail(self._hung_up()))

    def succeed(self, protocol: object) -> None:
        """Report that a connection has been made."""
        if self._sock is not None:
            self._sock.is_closed = True  # the line has the addresses now
        if not self._outcome.done():
            self._outcome.set_result(protocol)

    def turn(self, error: PeerError) -> None:
        """Report that the connection has become one for another share."""
        if self._sock is not None:
            self._sock.is_closed = True
        if not self._outcome.done():
            self._outcome.set_exception(error)

    def _hung_up(self) -> PeerError:
        return PeerError(f"{self.address} hung up: it seems not to have this share")

    def _meet_server(self, sock: SimSocket) -> None:
        server = sock.server
        if server.process.is_stopped:
            return  # the kernel has accepted, but the process does not answer
        if server is sock.owner:
            self.fail(SelfConnectionError(f"{self.address} is this very node"))
            return
        accept = None if server.process.is_dead else server.factory(sock.knock)
        if accept is None:
            self.fail(self._hung_up())
            return
        try:
            self.succeed(sock.network.join(sock, server, accept, self.factory))
        except PeerError as error:
            self.fail(error)


def _cross(one: SimSocket, other: SimSocket) -> None:
    """Run the handshake of two sockets that dialled each other."""
    ends = [each.knocking for each in (one, other) if each.knocking is not None]
    pairs = list(zip(ends, reversed(ends), strict=True))
    for end, peer in pairs:
        peer.inbox += end.handshake.knock
    greeted: dict[int, Any] = {}
    while any(end.inbox and id(end) not in greeted for end in ends):
        for end, peer in pairs:
            if not end.inbox or id(end) in greeted:
                continue
            data = bytes(end.inbox[: end.handshake.awaited])
            del end.inbox[: len(data)]
            try:
                reply, found = end.handshake.receive(data)
            except PeerError as error:
                end.fail(error)
                return
            peer.inbox += reply
            if found is not None:
                greeted[id(end)] = found
    if one.knock != other.knock:
        _cross_shares(one, other)
        return
    clients = [each for each in ends if each.handshake.is_client]
    if len(greeted) < len(ends) or len(clients) != 1:
        names = f"{one.process.name} and {other.process.name}"
        one.network.report(f"{names} dialled each other and did not connect")
        return
    client, server = (one, other) if clients[0] is one.knocking else (other, one)
    _connect_crossed(client, server, greeted)


def _cross_shares(one: SimSocket, other: SimSocket) -> None:
    """Connect two sockets that dialled each other for two shares.

    It takes a server that has the share of the client. The handshake is left out.
    """
    if one.knocking is None or other.knocking is None:
        return
    ours, theirs = one.knocking.handshake.knock, other.knocking.handshake.knock
    client, server = (one, other) if ours < theirs else (other, one)
    near, far = client.knocking, server.knocking
    assert near is not None
    assert far is not None
    accept = server.owner.factory(client.knock)
    if accept is None:  # it takes the knock for the begin of an answer
        for each in (near, far):
            each.hang_up_after(REST_TIME)
        return
    problem = PeerError(f"{far.address} dialled us at the same time, for another share")
    try:
        made = client.network.join(client, server.owner, accept, near.factory)
    except PeerError as error:
        near.fail(error)
        far.fail(problem)
    else:
        near.succeed(made)
        far.turn(problem)


def _connect_crossed(
    client: SimSocket, server: SimSocket, greeted: dict[int, Any]
) -> None:
    near, far = client.knocking, server.knocking
    assert near is not None
    assert far is not None

    def accept(proven: ProvenPeer) -> asyncio.BufferedProtocol:
        return far.factory(proven._replace(address=server.remote, is_server=True))

    try:
        made = client.network.join(client, server.owner, accept, near.factory)
    except PeerError as error:
        near.fail(error)
        return
    near.succeed(made)
    far.succeed(made)
