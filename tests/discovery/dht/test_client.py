"""The DHT client against nodes on loopback: sockets, tasks, time-outs, endings."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from tests.discovery.dht.nodes import UdpNode, start_dht, wait_for_problem
from tests.discovery.dht.simulation import DeadNode, SimulatedNode, compact, reply

from shoal.core.names.address import Address
from shoal.discovery.base import Discovery
from shoal.discovery.dht.bencode import Encodable, Value, encode
from shoal.discovery.dht.candidates import distance
from shoal.discovery.dht.client import DhtDiscovery
from shoal.discovery.dht.lookup import K
from shoal.errors import UsageError

TOPIC = bytes(range(20))
OTHER_TOPIC = bytes(range(20, 40))
PEER = Address("127.0.0.1", 4001)
PATIENCE = 10.0  # seconds


def discover(*bootstrap: Address, **options: Any) -> DhtDiscovery:
    """Return a client for whom a second is a long time."""
    quick = {"bind": "127.0.0.1", "retry": (0.05, 0.1), "timeout": 0.5}
    return DhtDiscovery(bootstrap, **{**quick, **options})


def join(
    discovery: DhtDiscovery, topic: bytes = TOPIC, port: int | None = None
) -> aclosing[AsyncGenerator[Address, None]]:
    """Join, and leave with the block."""
    return aclosing(discovery.join(topic, port))


async def first(addresses: AsyncGenerator[Address, None]) -> Address:
    """Return the next address that comes."""
    async with asyncio.timeout(PATIENCE):
        return await anext(addresses)


async def test_it_is_a_discovery() -> None:
    discovery: Discovery = DhtDiscovery()
    assert discovery.name == "dht"
    await discovery.aclose()


async def test_a_peer_is_found_through_nodes_that_nobody_has_named() -> None:
    async with start_dht(30) as nodes, discover(nodes[0].address) as discovery:
        for node in nodes[10:]:
            node.inner.peers[TOPIC] = [PEER]
        async with join(discovery) as addresses:
            assert await first(addresses) == PEER
        assert discovery.problem is None


async def test_what_one_announces_the_other_finds() -> None:
    async with start_dht(20) as nodes, discover(nodes[0].address) as one:
        async with discover(nodes[1].address) as other, join(one, port=4002) as mine:
            await first(mine)  # the announcement, coming back
            async with join(other) as addresses:
                assert await first(addresses) == Address("127.0.0.1", 4002)


async def test_a_client_finds_a_peer_that_is_announced_later() -> None:
    async with UdpNode() as node, discover(node.address) as discovery:
        async with join(discovery) as addresses:
            waiting = asyncio.create_task(first(addresses))
            await node.wait_until(lambda: len(node.asked(b"get_peers")) == 3)
            assert not waiting.done()
            node.inner.peers[TOPIC] = [PEER]
            assert await waiting == PEER


async def test_announcements_end_with_the_iterator() -> None:
    async with UdpNode() as node, discover(node.address) as discovery:
        async with join(discovery, OTHER_TOPIC) as clock:
            waiting = asyncio.create_task(first(clock))
            async with join(discovery, TOPIC, 4003) as addresses:
                await first(addresses)
            before = len(node.asked(b"announce_peer", TOPIC))
            seen = len(node.asked(b"get_peers", OTHER_TOPIC))
            await node.wait_until(
                lambda: len(node.asked(b"get_peers", OTHER_TOPIC)) > seen + 3
            )
            assert len(node.asked(b"announce_peer", TOPIC)) == before
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_all_topics_share_one_socket() -> None:
    async with UdpNode() as node, discover(node.address) as discovery:
        node.inner.peers = {TOPIC: [PEER], OTHER_TOPIC: [PEER]}
        async with join(discovery) as one, join(discovery, OTHER_TOPIC) as other:
            assert await first(one) == await first(other)
        assert len(set(node.asked(b"get_peers"))) == 1


async def test_nobody_answering_is_a_problem_until_somebody_does() -> None:
    async with UdpNode(DeadNode) as dead, discover(dead.address) as discovery:
        async with join(discovery) as addresses:
            waiting = asyncio.create_task(first(addresses))
            problem = await wait_for_problem(discovery)
            assert problem.startswith("No DHT node answered (tried 1);")
            assert "--dht-bootstrap" in problem
            dead.inner = SimulatedNode(dead.inner.me)
            dead.inner.peers[TOPIC] = [PEER]
            assert await waiting == PEER
            await dead.wait_until(lambda: discovery.problem is None)


async def test_an_unusable_local_address_is_a_problem_and_no_error() -> None:
    async with discover(PEER, bind="203.0.113.7") as discovery:
        async with join(discovery) as addresses:
            waiting = asyncio.create_task(first(addresses))
            assert "203.0.113.7" in await wait_for_problem(discovery)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_when_all_known_nodes_have_gone_the_bootstrap_is_asked_again() -> None:
    async with UdpNode(DeadNode, seed=100) as late, start_dht(40) as nodes:
        async with discover(nodes[0].address, late.address) as discovery:
            for topic in (bytes([part]) * 20 for part in (0x10, 0x50, 0x90, 0xD0)):
                await learn_nodes(discovery, nodes, topic)
            for node in nodes:
                node.inner = DeadNode(node.inner.me)
            late.inner = SimulatedNode(late.inner.me)
            late.inner.peers[TOPIC] = [PEER]
            async with join(discovery, TOPIC) as addresses:
                assert await first(addresses) == PEER
            # One round of silence is enough to stop believing in the others.
            asked = [node for node in nodes if node.asked(b"get_peers", TOPIC)]
            assert len(asked) <= K + 1


async def learn_nodes(
    discovery: DhtDiscovery, nodes: Sequence[UdpNode], topic: bytes
) -> None:
    """Make one pass over a topic, and wait until it has ended."""
    nearest = min(nodes, key=lambda node: distance(node.inner.me.id, topic))
    nearest.inner.peers[topic] = [PEER]
    async with join(discovery, topic) as addresses:
        await first(addresses)
        # The nearest node is asked in every pass.
        await nearest.wait_until(lambda: len(nearest.asked(b"get_peers", topic)) == 2)


class Impostor(SimulatedNode):
    """Let others answer in one's place, before one answers oneself."""

    elsewhere: UdpNode

    def on_get_peers(self, tid: Value, topic: bytes, source: Address) -> bytes | None:
        poison = [compact(Address("127.0.0.1", 6666))]
        assert isinstance(tid, bytes)
        self.elsewhere.send(reply(tid, id=self.me.id, values=poison), source)
        self.elsewhere.send(b"d", source)
        return super().on_get_peers(tid, topic, source)


class Guesser(SimulatedNode):
    """Answer to another transaction than the one under way."""

    def on_get_peers(self, tid: Value, topic: bytes, source: Address) -> bytes | None:
        poison = [compact(Address("127.0.0.1", 6666))]
        return reply(b"gues", id=self.me.id, values=poison)


async def test_an_answer_from_elsewhere_is_none() -> None:
    async with UdpNode(Impostor) as node, UdpNode(seed=1) as elsewhere:
        assert isinstance(node.inner, Impostor)
        node.inner.elsewhere = elsewhere
        node.inner.peers[TOPIC] = [PEER]
        async with discover(node.address) as discovery, join(discovery) as addresses:
            assert await first(addresses) == PEER


async def test_an_answer_to_another_transaction_is_none() -> None:
    async with UdpNode(Guesser) as node, UdpNode(seed=1) as honest:
        honest.inner.peers[TOPIC] = [PEER]
        discovery = discover(node.address, honest.address, timeout=0.1)
        async with discovery, join(discovery) as addresses:
            assert await first(addresses) == PEER
            assert await first(addresses) == PEER


class Curious(SimulatedNode):
    """Ask back before answering."""

    asker: UdpNode

    def on_get_peers(self, tid: Value, topic: bytes, source: Address) -> bytes | None:
        me: dict[bytes, Encodable] = {b"id": self.me.id}
        for name, arguments in (
            (b"ping", me),
            (b"find_node", {**me, b"target": topic}),
            (b"get_peers", {**me, b"info_hash": topic}),
        ):
            query: dict[bytes, Encodable] = {
                b"t": b"qq",
                b"y": b"q",
                b"q": name,
                b"a": arguments,
            }
            self.asker.send(encode(query), source)
        self.asker.send(b"garbage", source)
        return super().on_get_peers(tid, topic, source)


async def test_a_read_only_node_answers_no_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with UdpNode(Curious) as node, discover(node.address) as discovery:
        assert isinstance(node.inner, Curious)
        node.inner.asker = node
        node.inner.peers[TOPIC] = [PEER]
        async with join(discovery) as addresses:
            await first(addresses)
            await node.wait_until(lambda: len(node.asked(b"get_peers")) == 3)
        assert {message[b"y"] for message, _ in node.heard} == {b"q"}
        assert {message[b"ro"] for message, _ in node.heard} == {1}
    # Nor does garbage become an error in the loop.
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_closing_ends_every_iterator_and_is_idempotent() -> None:
    async with UdpNode() as node:
        discovery = discover(node.address)
        endings = [
            asyncio.create_task(collect(discovery, topic, 4004))
            for topic in (TOPIC, OTHER_TOPIC)
        ]
        await node.wait_until(lambda: len(node.asked(b"announce_peer")) >= 2)
        async with asyncio.timeout(PATIENCE):
            await discovery.aclose()
            await discovery.aclose()
            for ending in endings:
                assert set(await ending) <= {Address("127.0.0.1", 4004)}
            assert await collect(discovery, TOPIC, None) == []


async def collect(
    discovery: DhtDiscovery, topic: bytes, port: int | None
) -> Sequence[Address]:
    """Return everything that comes until the iterator ends."""
    return [each async for each in discovery.join(topic, port)]


@pytest.mark.parametrize(
    ("topic", "port"),
    [(b"short", None), (bytes(21), 1), (TOPIC, 0), (TOPIC, 65536), (TOPIC, -1)],
)
async def test_what_cannot_be_joined_is_refused_at_once(
    topic: bytes, port: int | None
) -> None:
    async with discover() as discovery:
        with pytest.raises(UsageError):
            discovery.join(topic, port)
