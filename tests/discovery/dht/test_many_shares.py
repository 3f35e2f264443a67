"""Many shares of one node in a DHT of nodes that ignore who sends too much."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from random import Random
from typing import Any

import pytest

from shoal.core.names.address import Address
from shoal.discovery.dht import client
from shoal.discovery.dht.client import DhtDiscovery
from tests.discovery.dht.simulation import LATENCY, SimulatedNode, Simulation
from tests.helpers.virtual_time import VirtualLoop

ME = Address("9.9.9.9", 40_000)
REMEMBERED = 32 * 60.0  # seconds; the shortest time that real nodes keep a peer
FIRST_TIME = 12.0  # seconds for the first lookups
ANNOUNCED_WITHIN = 30 * 60.0  # seconds


class Strict:
    """A node that ignores an address for five minutes after 50 packets in 10 s."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.heard: deque[float] = deque(maxlen=50)
        self.ignores_until = 0.0

    def answer(self, data: bytes, now: float) -> bytes | None:
        self.heard.append(now)
        if len(self.heard) == 50 and self.heard[0] > now - 10:
            self.ignores_until = now + 300
        return None if now < self.ignores_until else self.node.answer(data, ME)


class World:
    """The nodes, which see the packets of one client after a delay."""

    def __init__(self, count: int) -> None:
        self.rng = Random(1)
        simulation = Simulation(self.rng)
        simulation.add(SimulatedNode, count)
        simulation.connect()
        self.nodes = {
            address: Strict(node) for address, node in simulation.nodes.items()
        }
        self.announced: dict[bytes, list[float]] = {}
        self.sent: list[float] = []
        """When each packet of the client was sent."""

    def connect(self, bind: str, handle: Callable[[bytes, Address], None]) -> "Wire":
        return Wire(self, handle)


class Wire:
    """What the client uses as its UDP socket."""

    send_error = None
    local_port = 40_000

    def __init__(self, world: World, handle: Callable[[bytes, Address], None]) -> None:
        self._world = world
        self._handle = handle

    async def open(self) -> None:
        """Need nothing."""

    async def aclose(self) -> None:
        """Hold nothing."""

    def send(self, data: bytes, address: Address) -> None:
        world, loop = self._world, asyncio.get_running_loop()
        world.sent.append(loop.time())
        answer = world.nodes[address].answer(data, loop.time())
        if answer is None:
            return
        if b"13:announce_peer" in data:
            topic = data[data.index(b"9:info_hash20:") + 14 :][:20]
            world.announced.setdefault(topic, []).append(loop.time())
        delay = world.rng.uniform(*LATENCY) + world.rng.uniform(*LATENCY)
        loop.call_later(delay, self._handle, answer, address)


async def _share(
    world: World, count: int, lasting: float, *, has_ipv6: bool = False
) -> float:
    """Announce many shares for a while; return when the first began.

    If `has_ipv6`, the client takes it that nodes of the other network answer as well.
    """

    async def announce(discovery: DhtDiscovery, topic: bytes) -> None:
        async with aclosing(
            discovery.join(topic, 4001, is_awaited=lambda: False)
        ) as found:
            async for _ in found:
                pass

    first = list(world.nodes)[:3]
    async with DhtDiscovery(first, rng=Random(2)) as discovery:
        if has_ipv6:
            discovery.sibling = DhtDiscovery(bind="::", is_usable=lambda: False)
            discovery.sibling.answered = 8
        started = asyncio.get_running_loop().time()
        tasks = [
            asyncio.create_task(announce(discovery, Random(number).randbytes(20)))
            for number in range(count)
        ]
        await asyncio.sleep(lasting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return started


@pytest.mark.parametrize(
    ("count", "lasting"),
    [
        (60, 3600.0),
        pytest.param(1000, 5400.0, marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)
def test_all_shares_are_announced_in_time_and_stay_so(
    count: int, lasting: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    world: Any = World(20)
    monkeypatch.setattr(client, "UdpClient", world.connect)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        started = runner.run(_share(world, count, lasting))
    assert len(world.announced) == count
    for times in world.announced.values():
        assert times[0] - started <= ANNOUNCED_WITHIN
        moments = [*times, started + lasting]
        gaps = [
            after - before for before, after in zip(moments, moments[1:], strict=False)
        ]
        assert max(gaps) <= REMEMBERED
    assert all(node.ignores_until == 0 for node in world.nodes.values())


@pytest.mark.parametrize(("has_ipv6", "most"), [(False, 20), (True, 14)])
def test_a_share_that_nobody_fetches_costs_twenty_packets_in_any_minute(
    monkeypatch: pytest.MonkeyPatch, *, has_ipv6: bool, most: int
) -> None:
    """Of these, six are left to IPv6 if both networks work.

    Only the first two lookups are quick.
    """
    lasting = 3600.0
    world: Any = World(20)
    monkeypatch.setattr(client, "UdpClient", world.connect)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        started = runner.run(_share(world, 1, lasting, has_ipv6=has_ipv6))
    sent = [when for when in world.sent if when >= started + FIRST_TIME]
    assert len(sent) > lasting / 60
    for start in sent:
        assert sum(start <= when < start + 60 for when in sent) <= most
