"""Both networks of the DHT, with nodes on the loopback addresses of both families."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from shoal.core.names.address import Address
from shoal.discovery.base import Discovery
from shoal.discovery.dht import dual
from shoal.discovery.dht.client import DhtDiscovery
from shoal.discovery.dht.dual import DualDht
from shoal.errors import UsageError
from shoal.net.interfaces import Interface
from tests.discovery.dht.nodes import UdpNode, start_dht, wait_for_problem
from tests.discovery.dht.simulation import DeadNode

TOPIC = bytes(range(20))
PEER, PEER6 = Address("127.0.0.1", 4001), Address("::1", 4001)
LOOPBACK = ("127.0.0.1", "::1")
PATIENCE = 10.0  # seconds


def discover(*bootstrap: Address, **options: Any) -> DualDht:
    """Return a client of both networks, with short waits and timeouts."""
    quick = {"hosts": LOOPBACK, "retry": (0.05, 0.1), "timeout": 0.5}
    return DualDht(bootstrap, **{**quick, **options})


def announce(nodes: Sequence[UdpNode], peer: Address) -> None:
    """Let each node know a peer."""
    for node in nodes:
        node.inner.peers[TOPIC] = [peer]


async def find(
    stack: AsyncExitStack, discovery: DualDht, count: int, port: int | None = None
) -> set[Address]:
    """Join the topic until the end of the stack; return the first addresses."""
    stack.push_async_callback(discovery.aclose)
    joined = await stack.enter_async_context(aclosing(discovery.join(TOPIC, port)))
    return await take(joined, count)


async def take(joined: AsyncGenerator[Address, None], count: int) -> set[Address]:
    found: set[Address] = set()
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            found.add(await anext(joined))
    return found


async def test_peers_of_both_networks_are_found() -> None:
    async with AsyncExitStack() as stack:
        four = await stack.enter_async_context(start_dht(10))
        six = await stack.enter_async_context(start_dht(10, "::1"))
        announce(four, PEER)
        announce(six, PEER6)
        discovery: Discovery = discover(four[0].address, six[0].address)
        assert isinstance(discovery, DualDht)
        assert await find(stack, discovery, 2) == {PEER, PEER6}
        assert discovery.problem is None
        assert discovery.name == "dht"


async def test_a_port_is_announced_in_both_networks() -> None:
    async with AsyncExitStack() as stack:
        four = await stack.enter_async_context(start_dht(10))
        six = await stack.enter_async_context(start_dht(10, "::1"))
        both = (four[0].address, six[0].address)
        mine = discover(*both, announced=lambda port: port + 1)
        # Only IPv4 addresses are translated by a router.
        expected = {Address("127.0.0.1", 4003), Address("::1", 4002)}
        assert await find(stack, mine, 2, 4002) == expected
        assert await find(stack, discover(*both), 2) == expected


async def test_the_other_network_is_found_through_nodes_that_know_it() -> None:
    """No bootstrap node has an IPv6 address, as in many lists."""
    async with AsyncExitStack() as stack:
        four = await stack.enter_async_context(start_dht(10))
        six = await stack.enter_async_context(start_dht(10, "::1"))
        announce(six, PEER6)
        for node in four[5:]:
            node.inner.known += [each.inner.me for each in six[5:]]
        discovery = discover(four[0].address)
        discovery._is_named = True  # "::1" is not an address of the internet
        assert await find(stack, discovery, 1) == {PEER6}


async def test_peers_and_nodes_of_the_other_network_are_not_believed() -> None:
    async with AsyncExitStack() as stack:
        (node,) = await stack.enter_async_context(start_dht(1, "::1"))
        (other,) = await stack.enter_async_context(start_dht(1))
        node.inner.peers[TOPIC] = [PEER, PEER6]
        node.inner.known = [other.inner.me]
        client = DhtDiscovery([node.address], bind="::1", retry=(0.05, 0.1))
        stack.push_async_callback(client.aclose)
        joined = await stack.enter_async_context(aclosing(client.join(TOPIC, None)))
        assert await take(joined, 1) == {PEER6}
        await node.wait_until(lambda: len(node.messages) > 2)
        assert not other.messages


@pytest.mark.parametrize("dead", LOOPBACK)
async def test_one_network_is_enough(dead: str) -> None:
    """What fails is told only if both do."""
    (alive,) = set(LOOPBACK) - {dead}
    async with (
        AsyncExitStack() as stack,
        UdpNode(DeadNode, host=dead) as silent,
        UdpNode(host=alive) as node,
    ):
        peer = node.inner.peers[TOPIC] = [Address(alive, 4001)]
        discovery = discover(silent.address, node.address)
        assert await find(stack, discovery, 1) == set(peer)
        (failing,) = [c for c in discovery._clients if c._bind == dead]
        await wait_for_problem(failing)
        assert discovery.problem is None
        assert discovery.reach == "the DHT (1 node answered)"
        node.inner.answer = lambda data, source: None  # type: ignore[method-assign]
        discovery.refresh(LOOPBACK)
        assert "No DHT node answered" in await wait_for_problem(discovery)


@pytest.mark.parametrize(
    ("ours", "is_used"),
    [
        ([], False),
        (["::1"], False),
        (["fe80::1%eth0", "fd00::1"], False),
        (["2001:db8::1"], False),
        (["fd00::1", "2a01::1"], True),
    ],
)
async def test_ipv6_is_used_if_this_machine_has_a_global_address(
    ours: list[str], is_used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [Interface("eth0", each, 64) for each in ["10.0.0.1", *ours]]
    monkeypatch.setattr(dual, "list_interfaces", lambda: here)
    names = Address("node.invalid", 6881), Address("10.0.0.1", 6881)
    for discovery in (DualDht(names), DualDht(names, hosts=[*ours, "10.0.0.1"])):
        four, six = discovery._clients
        assert six.is_usable() is is_used
        assert four.is_usable()
        await discovery.aclose()
    # Where the user names a node by its address, it is used from any.
    discovery = DualDht([Address("fd00::9", 6881)], hosts=ours)
    assert discovery._clients[1].is_usable() is bool(ours)
    assert not discovery._clients[0].is_usable()
    await discovery.aclose()


async def test_an_unusable_network_is_sent_nothing_until_it_is_usable() -> None:
    async with AsyncExitStack() as stack, UdpNode(host="::1") as node:
        node.inner.peers[TOPIC] = [PEER6]
        discovery = discover(node.address, hosts=["127.0.0.1"], retry=(60.0, 60.0))
        stack.push_async_callback(discovery.aclose)
        joined = await stack.enter_async_context(aclosing(discovery.join(TOPIC, None)))
        first = asyncio.ensure_future(anext(joined))
        await wait_for_problem(discovery)
        assert not node.messages
        discovery.refresh(LOOPBACK)
        assert await first == PEER6


async def test_a_wrong_topic_is_refused() -> None:
    with pytest.raises(UsageError, match="topic"):
        discover().join(b"", None)
