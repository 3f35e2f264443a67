"""A network in memory for the nodes and scripted peers of a sealed share.

Every connection starts after the handshake. Bytes arrive one round of the event loop
after they were written, or when the receiver resumes reading.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from shoal.core.names.address import Address
from shoal.core.report.events import DownloadEvent
from shoal.errors import PeerError, SelfConnectionError
from shoal.origin.parts import OriginReader
from shoal.resources import Resources
from shoal.swarm.swarm import Swarm
from shoal.transfer.dialler import Found
from shoal.transport.sealed.proven import Factory, ProvenPeer
from tests.helpers.holder import Holder, Talk
from tests.helpers.resources import make_resources

__all__ = ["Member", "MemoryNet", "MemoryTransport", "memory_net"]

LATENCY = 0.001  # virtual seconds until a dialled connection opens
PATIENCE = 2000.0  # virtual seconds that a condition has to become true


H = TypeVar("H", bound=Holder)


class _Socket:
    """The socket functions that a connection uses; TCP_INFO begins with the state."""

    state = 1  # established
    round_trip = 0.0  # seconds

    def setsockopt(self, *args: int) -> None:
        pass

    def getsockopt(self, *args: int) -> bytes:
        micros = round(1e6 * self.round_trip).to_bytes(4, sys.byteorder)
        return bytes([self.state]) + bytes(67) + micros


class MemoryTransport(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, protocol: asyncio.BufferedProtocol, peer: Address) -> None:
        self._socket = _Socket()
        super().__init__({"peername": tuple(peer), "socket": self._socket})
        self.other: MemoryTransport
        self.protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._incoming = bytearray()
        self._is_reading = True
        self._is_closing = False
        self._high = 1 << 16
        self._is_full = False

    def write(self, data: Any) -> None:
        if not self._is_closing:
            self.other._incoming += data
            self._loop.call_soon(self.other._deliver)
            if not self._is_full and self.get_write_buffer_size() > self._high:
                self._is_full = True
                self.protocol.pause_writing()

    def _deliver(self) -> None:
        """Pass the bytes that arrived to the protocol, and let the other end write."""
        while self._incoming and self._is_reading and not self._is_closing:
            buffer = self.protocol.get_buffer(-1)
            assert isinstance(buffer, memoryview)
            size = min(len(buffer), len(self._incoming))
            buffer[:size] = self._incoming[:size]
            del self._incoming[:size]
            self.protocol.buffer_updated(size)
        other = self.other
        if other._is_full and not self._incoming and not other._is_closing:
            other._is_full = False
            other.protocol.resume_writing()

    def take(self, size: int) -> None:
        """Read exactly this many of the bytes that arrived."""
        rest = self._incoming[size:]
        del self._incoming[size:]
        self._is_reading = True
        self._deliver()
        self._is_reading = False
        self._incoming[:0] = rest  # before the bytes that were written meanwhile

    def get_write_buffer_size(self) -> int:
        return len(self.other._incoming)

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        self._high = high or self._high

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return self._is_reading

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self._loop.call_soon(self._deliver)

    def hang_up(self) -> None:
        """Close this end; the other end notices when it reads or asks the kernel."""
        self._is_closing = True
        self.other._socket.state = 8  # CLOSE_WAIT
        self._loop.call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        """Close both ends and drop the bytes that were not delivered."""
        for end in (self, self.other):
            if not end._is_closing:
                end._is_closing = True
                self._loop.call_soon(end.protocol.connection_lost, None)


class Member:
    """A node in the swarm."""

    def __init__(
        self,
        net: "MemoryNet",
        share_id: bytes,
        number: int,
        resources: Resources,
        sources: Sequence[OriginReader],
        timeout: float | None,
    ) -> None:
        self.address = Address(f"10.0.0.{number}", 4000)
        self.node_id = bytes([number]) * 16
        self.events: list[DownloadEvent] = []
        self.swarm = Swarm(
            share_id,
            lambda address, factory: net.dial(self, address, factory),
            resources,
            node_id=self.node_id,
            port=self.address.port,
            sources=sources,
            timeout=timeout,
            on_event=self.events.append,
        )
        self._task: asyncio.Task[None] | None = None

    def begin(self, *known: "Member | Holder") -> Self:
        """Join the swarm, and know the addresses of these others; return the member."""
        found = _report([member.address for member in known])
        self._task = asyncio.create_task(self.swarm.run([found]))
        return self

    async def leave(self) -> None:
        """Send goodbye messages, then close every connection."""
        await self.swarm.leave()
        await self.vanish()

    async def vanish(self) -> None:
        """Close every connection without a goodbye message."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def peers(self) -> list[Address]:
        """Return the listening addresses of the connected peers."""
        return sorted(peer.address for peer in self.swarm.peers)


async def _report(addresses: list[Address]) -> Found:
    for address in addresses:
        yield address, "test"


class MemoryNet:
    """The members and holders by their addresses."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.threads = threads
        self.members: list[Member] = []
        self.accepts: dict[Address, Callable[[ProvenPeer], Any]] = {}
        self._node_ids: dict[Address, bytes] = {}
        self.dials: list[tuple[Member, Address]] = []
        """Who dialled which address."""
        self._next_port = 50_000

    def join(
        self,
        share_id: bytes,
        sources: Sequence[OriginReader] = (),
        timeout: float | None = None,
        limit_up: float | None = None,
        limit_down: float | None = None,
    ) -> Member:
        """Return a new member, which joins the swarm when `begin` is called.

        `sources` are its origins, `timeout` its longest wait for a chunk in seconds,
        `limit_up` and `limit_down` its rates in bytes per second.
        """
        number = len(self.members) + 1
        resources = make_resources(
            self.threads, limit_up=limit_up, limit_down=limit_down, seed=number
        )
        member = Member(self, share_id, number, resources, sources, timeout)
        self.members.append(member)
        self.accepts[member.address] = member.swarm.accept
        self._node_ids[member.address] = member.node_id
        return member

    def add_address(self, member: Member, address: Address) -> Address:
        """Let a member also listen at another address; return it."""
        self.accepts[address] = member.swarm.accept
        self._node_ids[address] = member.node_id
        return address

    def host(self, holder: H) -> H:
        """Let a holder listen at a new address; return it."""
        holder.address = Address(f"10.0.1.{len(self.accepts) + 1}", 4000)
        self.accepts[holder.address] = holder.accept
        self._node_ids[holder.address] = holder.node_id
        return holder

    def call(self, holder: Holder, member: Member, host: str = "") -> Talk:
        """Connect a holder with a member as if it dialled; return the connection."""
        host = host or holder.address.host
        self.connect(host, holder.node_id, member.address, holder.accept)
        return holder.talks[-1]

    async def dial(self, who: Member, address: Address, factory: Factory) -> None:
        """Connect a member with the node at an address."""
        await asyncio.sleep(LATENCY)
        if address == who.address or self._node_ids.get(address) == who.node_id:
            raise SelfConnectionError("this very node")
        self.dials.append((who, address))
        if address not in self.accepts:
            raise PeerError("no node has this address")
        self.connect(who.address.host, who.node_id, address, factory)

    def connect(
        self, host: str, node_id: bytes, address: Address, factory: Factory
    ) -> MemoryTransport:
        """Connect a client with the server at an address; return the client's end."""
        self._next_port += 1
        client = Address(host, self._next_port)
        server = self.accepts[address](ProvenPeer(client, node_id, 2))
        near = MemoryTransport(asyncio.BufferedProtocol(), address)
        far = MemoryTransport(server, client)
        near.other, far.other = far, near
        # The server's end is ready before the dialler accepts or refuses.
        server.connection_made(far)
        try:
            near.protocol = factory(
                ProvenPeer(address, self._node_ids.get(address, bytes(16)), 2)
            )
        except PeerError:
            near.abort()
            raise
        near.protocol.connection_made(near)
        return near

    def cross(self, client: Member, server: Member) -> None:
        """Connect two members that dialled each other (a simultaneous open)."""
        near = MemoryTransport(asyncio.BufferedProtocol(), server.address)
        far = MemoryTransport(asyncio.BufferedProtocol(), client.address)
        near.other, far.other = far, near
        for end, who, other in ((near, client, server), (far, server, client)):
            factory = who.swarm._connections._factory(other.address, "test")
            end.protocol = factory(
                ProvenPeer(
                    *(other.address, other.node_id, 2),
                    is_server=end is far,
                    is_crossed=True,
                )
            )
        for end in (near, far):
            end.protocol.connection_made(end)

    async def until(self, condition: Callable[[], bool], step: float = 0.05) -> None:
        """Check a condition every `step` virtual seconds until it is true."""
        for _ in range(int(PATIENCE / step)):
            if condition():
                return
            await asyncio.sleep(step)
        raise AssertionError("the condition never became true")


@asynccontextmanager
async def memory_net() -> AsyncIterator[MemoryNet]:
    """Open an empty network; all members leave it at the end."""
    with ThreadPoolExecutor(2) as threads:
        net = MemoryNet(threads)
        try:
            yield net
        finally:
            for member in net.members:
                await member.leave()
