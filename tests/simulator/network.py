"""The network of the simulator: hosts, NATs, firewalls, partitions, lost connections.

It extends `tests.helpers.memory_net`: a connection starts after the handshake, and its
bytes arrive after the latency of its line. A host has one to three addresses. Those of
one site reach each other; a site behind a NAT has one public address, from which all
its connections seem to come.
"""

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import dataclass
from random import Random
from typing import Any

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.knock import KnockMemory
from shoal.core.names.address import Address
from shoal.errors import PeerError
from shoal.transport.liveness import SILENCE_LIMIT
from shoal.transport.sealed.dial import dial_sealed
from shoal.transport.sealed.port import Port
from shoal.transport.sealed.proven import Dial, Factory, ProvenPeer
from tests.simulator.dial_watch import DialWatch
from tests.simulator.hosts import Host
from tests.simulator.lines import Line, SimTransport
from tests.simulator.loop import Process, SimLoop
from tests.simulator.routes import source_address
from tests.simulator.sockets import DIALLING, Dialling, SimSocket

__all__ = ["Network", "SimPort"]

LINGER_TIME = 60.0  # seconds for which Linux keeps the addresses of a closed socket
FORGET_TIME = 30.0  # seconds for which the DHT names a node that is gone


class SimPort(Port):
    """The port of one node: the real one without sockets and encryption."""

    def __init__(
        self, network: "Network", host: Host, process: Process, port: int
    ) -> None:
        # The real constructor listens; only this part of it is needed.
        self.port = port
        self.node_id = network.rng.randbytes(16)
        self._shares = {}
        self._uncounted = set()
        self._asides = {}
        self._met = OrderedDict()
        self.number = lambda port: host.number_of(port) or port
        self._loop = asyncio.get_running_loop()
        self.knocks = KnockMemory()
        self._udp = None
        self.network = network
        self.host = host
        self.process = process
        host.listening[port] = self

    def factory(self, knock: bytes) -> Factory | None:
        """Return what makes the connections of a share; None if it is not offered."""
        share = self._shares.get(knock)
        return None if share is None else self._noting(share.factory)

    def _noting(self, factory: Factory) -> Factory:
        """Return a factory that also notes whom this node has met."""

        def make(proven: ProvenPeer) -> asyncio.BufferedProtocol:
            self.note_met(proven.address.host)
            return factory(proven)

        return make

    async def aclose(self) -> None:
        """Listen no more."""
        for port in list(self._asides):
            self._end_aside(port)
        self.host.listening.pop(self.port, None)

    def _open_aside(self, port: int) -> list[asyncio.Task[None]]:
        self.host.listening.setdefault(port, self)
        return []

    def _end_aside(self, port: int) -> None:
        super()._end_aside(port)
        if self.host.listening.get(port) is self:
            del self.host.listening[port]

    def dialler(self, keys: Keys) -> Dial:
        """Return a function that connects through the simulated network."""

        async def dial(address: Address, factory: Factory) -> None:
            DIALLING.set((self, keys.psk))
            await dial_sealed(
                address,
                keys,
                self.node_id,
                self._noting(factory),
                knocks=self.knocks,
                port=self,
            )

        return dial


@dataclass
class _Announced:
    host: Host
    port: int
    process: Process
    until: float = float("inf")


class Network:
    """Know all hosts, and carry bytes between them."""

    def __init__(
        self,
        loop: SimLoop,
        rng: Random,
        trace: Callable[..., None],
        report: Callable[[str], None],
        shares: int,
    ) -> None:
        """Report what no node may do that is in this many `shares` at most."""
        self.rng = rng
        self.trace = trace
        self.report = report
        self.watch = DialWatch(report, shares)
        self.hosts: list[Host] = []
        self.names: dict[str, Host] = {}
        """Hosts by their names."""
        self.lines: list[Line] = []
        """All open connections."""
        self.loss = 0.0
        """The part of all attempts to connect that get no answer."""
        self.mappings = 0
        """How often a router has mapped a port, or ended that."""
        self.dials: dict[tuple[str, str, bytes], int] = {}
        """How often one host dialled another with success, by share."""
        self._loop = loop
        # What is on its way arrives, whatever becomes of the process that sent it.
        self._context = Context()
        self._cuts: set[frozenset[str]] = set()
        self._topics: dict[bytes, list[_Announced]] = {}
        self._next_port = 50_000

    def later(self, delay: float, callback: Callable[..., None], *args: Any) -> None:
        """Call a function in some seconds, whatever becomes of the calling process."""
        self._loop.call_later(delay, callback, *args, context=self._context)

    def time(self) -> float:
        """Return the virtual time."""
        return self._loop.time()

    def next_port(self) -> int:
        """Return a port for a socket that needs none of its own."""
        self._next_port += 1
        return self._next_port

    def host_of(self, process: Process) -> Host:
        """Return the host that a process runs on."""
        name = process.name.partition(".")[0]
        return next(each for each in self.hosts if each.name == name)

    # Reachability.

    def is_cut(self, one: Host, other: Host) -> bool:
        """Return True if no packet gets from one host to the other."""
        return bool(
            self._cuts
            and (
                frozenset((one.name, other.name)) in self._cuts
                or frozenset((one.site.name, other.site.name)) in self._cuts
                or frozenset((one.name,)) in self._cuts
                or frozenset((other.name,)) in self._cuts
            )
        )

    def cut(self, *names: str) -> None:
        """Cut off a host or site, or two from each other."""
        self._cuts.add(frozenset(names))
        for line in self.lines:
            if not line.is_cut and self.is_cut(*line.hosts):
                line.is_cut = True
                self.later(SILENCE_LIMIT + 1, self._give_up, line)

    def heal(self) -> None:
        """End all partitions."""
        self._cuts.clear()
        for line in list(self.lines):
            if line.is_cut:
                line.is_cut = False
                waiting, line.waiting = line.waiting, []
                for end in waiting:
                    self.later(0.2, end.arrive)

    def _give_up(self, line: Line) -> None:
        if line.is_cut:
            self.lose(line)

    def lose(self, line: Line) -> None:
        """End a connection for both ends, as a timeout of the kernel does."""
        for end in line.ends:
            end.end(TimeoutError("timed out"))

    def resolve(self, host: Host, name: str) -> str:
        """Return the address that a name has for a host."""
        named = self.names.get(name)
        if named is None:
            return name
        is_near = named.site is host.site
        return named.addresses[-1] if is_near else named.outside

    def find(self, host: Host, address: Address) -> Host | None:
        """Return the host that an address leads to from a host; None for none."""
        for other in self.hosts:
            is_near = other.site is host.site
            if address.host in other.addresses and (other.is_global or is_near):
                return other if self.lets_in(host, other) else None
            site = other.site
            if site.public == address.host and not is_near:
                mapped = site.nats[0].mapped.get(address.port)
                if mapped is not None and len(site.nats) == 1:
                    if mapped.host in other.addresses and self.lets_in(host, other):
                        return other
                    continue
                forwarded = site.forwards.get(address.port)
                if forwarded is not None and self.lets_in(host, forwarded):
                    return forwarded
        return None

    def lets_in(self, host: Host, other: Host) -> bool:
        """Return True if no firewall stops a connection from a host to another."""
        if other.is_deaf:
            return False
        return other.site is host.site or not other.is_closed

    # Connections.

    def seen_from(self, host: Host, target: str, target_host: Host) -> Address:
        """Return the address and a new port that a connection seems to come from."""
        is_near = target_host.site is host.site
        seen = source_address(host, target) if is_near else host.outside
        return Address(seen, self.next_port())

    def join(
        self, sock: SimSocket, server: Dialling, accept: Factory, factory: Factory
    ) -> asyncio.BufferedProtocol:
        """Connect a node that has dialled with another; return the client's protocol.

        Raises `PeerError` if either refuses.
        """
        client, seen = sock.owner, sock.seen
        proven = ProvenPeer(seen, client.node_id, 2)
        protocol = server.process.context.copy().run(accept, proven)
        far = SimTransport(self, server.process, protocol, seen, sock.at)
        near = SimTransport(
            self, client.process, asyncio.BufferedProtocol(), sock.remote, sock.local
        )
        near.other, far.other = far, near
        near.line = far.line = Line(
            (client.host, server.host),
            (client.process, server.process),
            (near, far),
            sock.knock,
        )
        self.lines.append(near.line)
        client.host.sockets[near.key] = near
        server.host.sockets[far.key] = far
        server.process.context.copy().run(protocol.connection_made, far)
        proven = ProvenPeer(sock.remote, server.node_id, 2)
        try:
            made = client.process.context.copy().run(factory, proven)
        except PeerError:
            near._is_closing = True
            self.forget(near.line)
            self.hang_up(near.line, far)
            raise
        near.protocol = made
        self.trace("connect", client.host.name, server.host.name, str(sock.remote))
        key = (client.host.name, server.host.name, sock.knock)
        self.dials[key] = self.dials.get(key, 0) + 1
        client.process.context.copy().run(made.connection_made, near)
        return made

    def send(self, line: Line, end: SimTransport, data: bytes) -> None:
        """Carry bytes to one end of a line."""
        line.carried += len(data)
        if line.is_cut:
            line.waiting.append(end)
            return
        latency = line.hosts[0].latency + line.hosts[1].latency
        self.trace("bytes", end.process.name, len(data), zlib.crc32(data))
        self.later(latency, end.arrive)

    def hang_up(self, line: Line, end: SimTransport) -> None:
        """Tell one end that the other has closed."""
        if not line.is_cut:
            latency = line.hosts[0].latency + line.hosts[1].latency
            self.later(latency, end.on_hung_up)

    def linger(self, line: Line, end: SimTransport) -> None:
        """Keep the port and remote address of the end that has closed first."""
        host = line.hosts[line.ends.index(end)]
        host.lingering[end.key] = self.time() + LINGER_TIME

    def forget(self, line: Line) -> None:
        """Free the ports of ends that have closed; forget the line if both have."""
        for end, host in zip(line.ends, line.hosts, strict=True):
            if end.is_closing() and host.sockets.get(end.key) is end:
                del host.sockets[end.key]
        if all(end.is_closing() or end.process.is_dead for end in line.ends):
            if line in self.lines:
                self.lines.remove(line)

    def on_killed(self, process: Process, *, is_silent: bool) -> None:
        """Close every connection of a process; after a power loss nobody is told."""
        for host in self.hosts:
            for port, owner in list(host.listening.items()):
                if owner.process is process:
                    del host.listening[port]
            for key, sock in list(host.sockets.items()):
                if sock.process is process:
                    del host.sockets[key]
                    if isinstance(sock, SimTransport) and not is_silent:
                        self.linger(sock.line, sock)
        for announced in self._topics.values():
            for each in announced:
                if each.process is process:
                    each.until = min(each.until, self._loop.time() + FORGET_TIME)
        for line in list(self.lines):
            for end in line.ends:
                if end.process is not process and process in line.processes:
                    if is_silent:
                        line.is_cut = True
                        self.later(SILENCE_LIMIT + 1, end.end, OSError())
                    else:
                        self.hang_up(line, end)

    # Discovery.

    def announce(self, topic: bytes, host: Host, port: int, process: Process) -> Any:
        """Announce a port under a topic; return what `withdraw` takes."""
        announced = _Announced(host, port, process)
        self._topics.setdefault(topic, []).append(announced)
        return announced

    def withdraw(self, topic: bytes, announced: Any) -> None:
        """Announce a port no more."""
        announced.until = min(announced.until, self._loop.time() + FORGET_TIME)

    def look_up(
        self, topic: bytes, host: Host, *, is_lan: bool
    ) -> Iterator[tuple[Address, Host]]:
        """Yield the addresses that a discovery finds from a host."""
        now = self._loop.time()
        for each in self._topics.get(topic, []):
            if each.until < now or self.is_cut(host, each.host):
                continue
            if is_lan:
                if each.host.site is host.site and each.until == float("inf"):
                    for address in each.host.addresses:
                        yield Address(address, each.port), each.host
            else:
                public = each.host.outside
                yield Address(public, each.port), each.host
