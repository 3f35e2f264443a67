"""Simulated DHT nodes with real sockets on 127.0.0.1, in the test's own loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Self

from shoal.core.names.address import Address
from shoal.discovery.base import Discovery
from shoal.discovery.dht.krpc import BencodeValue, DhtNode, bdecode
from tests.discovery.dht.simulation import SimulatedNode

__all__ = ["UdpNode", "start_dht", "wait_for_problem"]

_PATIENCE = 10.0  # seconds


class UdpNode(asyncio.DatagramProtocol):
    """Send and receive a simulated node's datagrams, and record each message."""

    transport: asyncio.DatagramTransport

    def __init__(
        self,
        kind: type[SimulatedNode] = SimulatedNode,
        *,
        seed: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        self._kind = kind
        self._host = host
        self._id = Random(seed).randbytes(20)
        self._changed = asyncio.Event()
        self._is_closed = asyncio.Event()
        self.inner = kind(DhtNode(self._id, Address(host, 1)))
        self.messages: list[tuple[dict[bytes, BencodeValue], Address]] = []
        """Every message received so far, and its sender."""

    @property
    def address(self) -> Address:
        """Return this node's UDP address."""
        return self.inner.me.address

    def senders_of(self, query: bytes, topic: bytes | None = None) -> list[Address]:
        """Return the senders of this query so far, about this topic or any."""
        found = []
        for message, source in self.messages:
            arguments = message.get(b"a", {})
            assert isinstance(arguments, dict)
            if message.get(b"q") == query and topic in (
                None,
                arguments.get(b"info_hash"),
            ):
                found.append(source)
        return found

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for the message that makes `condition` true."""
        async with asyncio.timeout(_PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def send(self, data: bytes, address: Address) -> None:
        """Send a datagram that answers nothing."""
        self.transport.sendto(data, address)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = bdecode(data)
        assert isinstance(message, dict)
        source = Address(*addr[:2])
        self.messages.append((message, source))
        self._changed.set()
        if message[b"y"] == b"q":
            answer = self.inner.answer(data, source)
            if answer is not None:
                self.transport.sendto(answer, addr)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closed.set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(self._host, 0)
        )
        address = Address(*self.transport.get_extra_info("sockname")[:2])
        self.inner.me = DhtNode(self._id, address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.transport.close()
        await self._is_closed.wait()


async def wait_for_problem(discovery: Discovery) -> str:
    """Return the discovery's problem as soon as it has one."""
    async with asyncio.timeout(_PATIENCE):
        while discovery.problem is None:  # noqa: ASYNC110 (an attribute has no event)
            await asyncio.sleep(0.01)
    return discovery.problem


@asynccontextmanager
async def start_dht(
    count: int, host: str = "127.0.0.1"
) -> AsyncIterator[Sequence[UdpNode]]:
    """Start honest nodes that all know each other."""
    nodes = [UdpNode(seed=seed, host=host) for seed in range(count)]
    async with asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(node.__aenter__())
    for node in nodes:
        node.inner.known = [other.inner.me for other in nodes if other is not node]
    try:
        yield nodes
    finally:
        for node in nodes:
            await node.__aexit__(None, None, None)
