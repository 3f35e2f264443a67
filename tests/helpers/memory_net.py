"""Sealed swarms joined without sockets: whoever dials has proved the id.

Each member has an address of its own; what it writes is at the other end one round
of the loop later, or, while that end does not read, when it reads again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from shoal.core.names.address import Address
from shoal.core.report.events import DownloadEvent
from shoal.errors import PeerError, SelfConnectionError
from shoal.origin.source import OriginReader
from shoal.swarm.swarm import Swarm
from shoal.transfer.dialler import Found
from shoal.transport.sealed.proven import Factory, ProvenPeer
from tests.helpers.resources import make_resources

__all__ = ["Member", "MemoryNet", "MemoryTransport", "memory_net"]

LATENCY = 0.001  # seconds that dialling takes
PATIENCE = 2000.0  # virtual seconds


class _Socket:
    """What is asked of the socket below; TCP_INFO begins with the state."""

    state = 1  # established

    def setsockopt(self, *args: int) -> None:
        pass

    def getsockopt(self, *args: int) -> bytes:
        return bytes([self.state])


class MemoryTransport(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, protocol: asyncio.BufferedProtocol, peer: Address) -> None:
        self._socket = _Socket()
        super().__init__(
            {"peername": tuple(peer), "socket": self._socket, "gathers": True}
        )
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
        """Hand what came to the protocol; wake who waits to write more."""
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
        """Read so many bytes of what came, and no more."""
        rest = self._incoming[size:]
        del self._incoming[size:]
        self._is_reading = True
        self._deliver()
        self._is_reading = False
        self._incoming[:0] = rest  # what was written meanwhile comes behind it

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
        """End this end; the other one's kernel knows, and who reads it will."""
        self._is_closing = True
        self.other._socket.state = 8  # waits to be closed
        self._loop.call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        """End both ends; what was not delivered is lost."""
        for end in (self, self.other):
            if not end._is_closing:
                end._is_closing = True
                self._loop.call_soon(end.protocol.connection_lost, None)


class Member:
    """One node's part in the swarm."""

    def __init__(
        self,
        net: "MemoryNet",
        share_id: bytes,
        number: int,
        sources: Sequence[OriginReader],
        timeout: float | None,
        limit_up: float | None,
    ) -> None:
        self.address = Address(f"10.0.0.{number}", 4000)
        self.node_id = bytes([number]) * 16
        self.events: list[DownloadEvent] = []
        self.swarm = Swarm(
            share_id,
            lambda address, factory: net.dial(self, address, factory),
            make_resources(net.threads, limit_up=limit_up, seed=number),
            node_id=self.node_id,
            port=self.address.port,
            sources=sources,
            timeout=timeout,
            on_event=self.events.append,
        )
        self._task: asyncio.Task[None] | None = None

    def begin(self, *known: "Member") -> None:
        """Be in the swarm, and know of some others."""
        found = _report([member.address for member in known])
        self._task = asyncio.create_task(self.swarm.run([found]))

    async def leave(self) -> None:
        """Say goodbye, then end every connection."""
        await self.swarm.leave()
        await self.vanish()

    async def vanish(self) -> None:
        """End every connection without a word."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def peers(self) -> list[Address]:
        """Return the listening addresses of everybody it is connected with."""
        return sorted(peer.address for peer in self.swarm.peers)


async def _report(addresses: list[Address]) -> Found:
    for address in addresses:
        yield address, "test"


class MemoryNet:
    """Everybody who may be dialled."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.threads = threads
        self.members: list[Member] = []
        self.accepts: dict[Address, Callable[[ProvenPeer], Any]] = {}
        self._next_port = 50_000

    def join(
        self,
        share_id: bytes,
        sources: Sequence[OriginReader] = (),
        timeout: float | None = None,
        limit_up: float | None = None,
    ) -> Member:
        """Return a new member, which is not in the swarm before it begins.

        `sources` are its origins, `timeout` its patience in seconds; it sends
        `limit_up` bytes per second at most.
        """
        number = len(self.members) + 1
        member = Member(self, share_id, number, sources, timeout, limit_up)
        self.members.append(member)
        self.accepts[member.address] = member.swarm.accept
        return member

    async def dial(self, who: Member, address: Address, factory: Factory) -> None:
        """Connect a member with whoever is at an address."""
        await asyncio.sleep(LATENCY)
        if address == who.address:
            raise SelfConnectionError("this very node")
        if address not in self.accepts:
            raise PeerError("nobody is there")
        self.connect(who.address.host, who.node_id, address, factory)

    def connect(
        self, host: str, node_id: bytes, address: Address, factory: Factory
    ) -> MemoryTransport:
        """Join both ends, the server's first; return the dialler's."""
        self._next_port += 1
        client = Address(host, self._next_port)
        number = next(
            (m.node_id for m in self.members if m.address == address), bytes(16)
        )
        server = self.accepts[address](ProvenPeer(client, node_id, 1))
        near = MemoryTransport(asyncio.BufferedProtocol(), address)
        far = MemoryTransport(server, client)
        near.other, far.other = far, near
        # The server stands before the dialler has made up its mind.
        server.connection_made(far)
        try:
            near.protocol = factory(ProvenPeer(address, number, 1))
        except PeerError:
            near.abort()
            raise
        near.protocol.connection_made(near)
        return near

    async def until(self, condition: Callable[[], bool], step: float = 0.05) -> None:
        """Look again every `step` virtual seconds until something holds."""
        for _ in range(int(PATIENCE / step)):
            if condition():
                return
            await asyncio.sleep(step)
        raise AssertionError("it never came to that")


@asynccontextmanager
async def memory_net() -> AsyncIterator[MemoryNet]:
    """Open a network of nobody; whoever joins has left it at the end."""
    with ThreadPoolExecutor(2) as threads:
        net = MemoryNet(threads)
        try:
            yield net
        finally:
            for member in net.members:
                await member.leave()
