"""The DHT client with nodes on loopback: sockets, tasks, timeouts, closing."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from shoal.core.names.address import Address
from shoal.discovery.base import Discovery
from shoal.discovery.dht.client import DhtDiscovery
from shoal.discovery.dht.krpc import BencodeInput, BencodeValue, bdecode, bencode
from shoal.discovery.dht.lookup import K
from shoal.discovery.dht.nodes import distance
from shoal.errors import UsageError
from tests.discovery.dht.nodes import UdpNode, start_dht, wait_for_problem
from tests.discovery.dht.simulation import (
    DeadNode,
    SimulatedNode,
    build_response,
    compact,
)

TOPIC = bytes(range(20))
OTHER_TOPIC = bytes(range(20, 40))
PEER = Address("127.0.0.1", 4001)
PATIENCE = 10.0  # seconds


def discover(*bootstrap: Address, **options: Any) -> DhtDiscovery:
    """Return a client with short waits and timeouts."""
    quick = {"bind": "127.0.0.1", "retry": (0.05, 0.1), "timeout": 0.5}
    return DhtDiscovery(bootstrap, **{**quick, **options})


def join(
    discovery: DhtDiscovery, topic: bytes = TOPIC, port: int | None = None
) -> aclosing[AsyncGenerator[Address, None]]:
    """Join a topic until the end of the block."""
    return aclosing(discovery.join(topic, port))


async def first(addresses: AsyncGenerator[Address, None]) -> Address:
    """Return the next address."""
    async with asyncio.timeout(PATIENCE):
        return await anext(addresses)


async def test_the_client_implements_discovery() -> None:
    discovery: Discovery = DhtDiscovery()
    assert discovery.name == "dht"
    await discovery.aclose()


async def test_a_peer_is_found_through_nodes_other_than_the_bootstrap() -> None:
    async with start_dht(30) as nodes, discover(nodes[0].address) as discovery:
        for node in nodes[10:]:
            node.inner.peers[TOPIC] = [PEER]
        async with join(discovery) as addresses:
            assert await first(addresses) == PEER
        assert discovery.problem is None


async def test_a_client_finds_the_peer_that_another_announces() -> None:
    async with start_dht(20) as nodes, discover(nodes[0].address) as one:
        async with discover(nodes[1].address) as other, join(one, port=4002) as mine:
            await first(mine)  # our own announcement
            async with join(other) as addresses:
                assert await first(addresses) == Address("127.0.0.1", 4002)


async def test_a_port_is_announced_by_its_number_on_the_internet() -> None:
    numbers = {4002: 5002}
    async with start_dht(20) as nodes:
        bootstrap = [nodes[0].address]
        async with (
            DhtDiscovery(
                bootstrap, bind="127.0.0.1", announced=numbers.__getitem__
            ) as one,
            discover(nodes[1].address) as other,
            join(one, port=4002) as mine,
        ):
            assert await first(mine) == Address("127.0.0.1", 5002)
            async with join(other) as addresses:
                assert await first(addresses) == Address("127.0.0.1", 5002)


async def test_the_first_announcement_has_the_number_that_answers_have_told() -> None:
    """A wrong number would be all that others find until the next announcement."""
    async with UdpNode() as node:

        def number(port: int) -> int:
            return port + 1000 if node.senders_of(b"get_peers") else port

        discovery = discover(node.address, announced=number)
        async with discovery, join(discovery, port=4002) as mine:
            assert await first(mine) == Address("127.0.0.1", 5002)


async def test_a_client_finds_a_peer_that_is_announced_later() -> None:
    async with UdpNode() as node, discover(node.address) as discovery:
        async with join(discovery) as addresses:
            waiting = asyncio.create_task(first(addresses))
            await node.wait_until(lambda: len(node.senders_of(b"get_peers")) == 3)
            assert not waiting.done()
            node.inner.peers[TOPIC] = [PEER]
            assert await waiting == PEER


async def test_announcements_end_with_the_iterator() -> None:
    async with UdpNode() as node, discover(node.address) as discovery:
        async with join(discovery, OTHER_TOPIC) as clock:
            waiting = asyncio.create_task(first(clock))
            async with join(discovery, TOPIC, 4003) as addresses:
                await first(addresses)
            before = len(node.senders_of(b"announce_peer", TOPIC))
            seen = len(node.senders_of(b"get_peers", OTHER_TOPIC))
            await node.wait_until(
                lambda: len(node.senders_of(b"get_peers", OTHER_TOPIC)) > seen + 3
            )
            assert len(node.senders_of(b"announce_peer", TOPIC)) == before
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_all_topics_share_one_socket() -> None:
    async with UdpNode() as node, discover(node.address) as discovery:
        node.inner.peers = {TOPIC: [PEER], OTHER_TOPIC: [PEER]}
        async with join(discovery) as one, join(discovery, OTHER_TOPIC) as other:
            assert await first(one) == await first(other)
        assert len(set(node.senders_of(b"get_peers"))) == 1


async def test_silent_nodes_are_a_problem_until_one_responds() -> None:
    async with UdpNode(DeadNode) as dead, discover(dead.address) as discovery:
        async with join(discovery) as addresses:
            waiting = asyncio.create_task(first(addresses))
            problem = await wait_for_problem(discovery)
            assert problem.startswith("No DHT node answered (tried 1);")
            assert "dht_bootstrap=" in problem
            dead.inner = SimulatedNode(dead.inner.me)
            dead.inner.peers[TOPIC] = [PEER]
            assert await waiting == PEER
            await dead.wait_until(lambda: discovery.problem is None)


async def test_an_unusable_local_address_is_a_problem_but_raises_nothing() -> None:
    async with discover(PEER, bind="203.0.113.7") as discovery:
        async with join(discovery) as addresses:
            waiting = asyncio.create_task(first(addresses))
            assert "203.0.113.7" in await wait_for_problem(discovery)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_the_bootstrap_is_queried_again_when_all_known_nodes_have_gone() -> None:
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
            # One silent lookup is enough to drop the other known nodes.
            queried = [node for node in nodes if node.senders_of(b"get_peers", TOPIC)]
            assert len(queried) <= K + 1


async def learn_nodes(
    discovery: DhtDiscovery, nodes: Sequence[UdpNode], topic: bytes
) -> None:
    """Run one lookup of a topic, and wait until it has ended."""
    nearest = min(nodes, key=lambda node: distance(node.inner.me.id, topic))
    nearest.inner.peers[topic] = [PEER]
    async with join(discovery, topic) as addresses:
        await first(addresses)
        # Every lookup queries the nearest node.
        await nearest.wait_until(
            lambda: len(nearest.senders_of(b"get_peers", topic)) == 2
        )


class Impostor(SimulatedNode):
    """Have another address respond first, then respond correctly."""

    elsewhere: UdpNode

    def on_get_peers(
        self, tid: BencodeValue, topic: bytes, source: Address
    ) -> bytes | None:
        poison = [compact(Address("127.0.0.1", 6666))]
        assert isinstance(tid, bytes)
        self.elsewhere.send(build_response(tid, id=self.me.id, values=poison), source)
        self.elsewhere.send(b"d", source)
        return super().on_get_peers(tid, topic, source)


class Guesser(SimulatedNode):
    """Respond with the wrong transaction id."""

    def on_get_peers(
        self, tid: BencodeValue, topic: bytes, source: Address
    ) -> bytes | None:
        poison = [compact(Address("127.0.0.1", 6666))]
        return build_response(b"gues", id=self.me.id, values=poison)


async def test_a_response_from_another_address_is_ignored() -> None:
    async with UdpNode(Impostor) as node, UdpNode(seed=1) as elsewhere:
        assert isinstance(node.inner, Impostor)
        node.inner.elsewhere = elsewhere
        node.inner.peers[TOPIC] = [PEER]
        async with discover(node.address) as discovery, join(discovery) as addresses:
            assert await first(addresses) == PEER


async def test_a_response_to_another_transaction_is_ignored() -> None:
    async with UdpNode(Guesser) as node, UdpNode(seed=1) as honest:
        honest.inner.peers[TOPIC] = [PEER]
        discovery = discover(node.address, honest.address, timeout=0.1)
        async with discovery, join(discovery) as addresses:
            assert await first(addresses) == PEER
            assert await first(addresses) == PEER


class Curious(SimulatedNode):
    """Send queries before responding."""

    querier: UdpNode

    def on_get_peers(
        self, tid: BencodeValue, topic: bytes, source: Address
    ) -> bytes | None:
        me: dict[bytes, BencodeInput] = {b"id": self.me.id}
        for name, arguments in (
            (b"ping", me),
            (b"find_node", {**me, b"target": topic}),
            (b"get_peers", {**me, b"info_hash": topic}),
        ):
            query: dict[bytes, BencodeInput] = {
                b"t": b"qq",
                b"y": b"q",
                b"q": name,
                b"a": arguments,
            }
            self.querier.send(bencode(query), source)
        self.querier.send(b"garbage", source)
        return super().on_get_peers(tid, topic, source)


async def test_a_read_only_node_answers_no_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with UdpNode(Curious) as node, discover(node.address) as discovery:
        assert isinstance(node.inner, Curious)
        node.inner.querier = node
        node.inner.peers[TOPIC] = [PEER]
        async with join(discovery) as addresses:
            await first(addresses)
            await node.wait_until(lambda: len(node.senders_of(b"get_peers")) == 3)
        assert {message[b"y"] for message, _ in node.messages} == {b"q"}
        assert {message[b"ro"] for message, _ in node.messages} == {1}
    # Garbage raises no error in the loop either.
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_closing_ends_every_iterator_and_is_idempotent() -> None:
    async with UdpNode() as node:
        discovery = discover(node.address)
        endings = [
            asyncio.create_task(collect(discovery, topic, 4004))
            for topic in (TOPIC, OTHER_TOPIC)
        ]
        await node.wait_until(lambda: len(node.senders_of(b"announce_peer")) >= 2)
        async with asyncio.timeout(PATIENCE):
            await discovery.aclose()
            await discovery.aclose()
            for ending in endings:
                assert set(await ending) <= {Address("127.0.0.1", 4004)}
            assert await collect(discovery, TOPIC, None) == []


async def collect(
    discovery: DhtDiscovery, topic: bytes, port: int | None
) -> Sequence[Address]:
    """Return all addresses until the iterator ends."""
    return [each async for each in discovery.join(topic, port)]


@pytest.mark.parametrize(
    ("topic", "port"),
    [(b"short", None), (bytes(21), 1), (TOPIC, 0), (TOPIC, 65536), (TOPIC, -1)],
)
async def test_an_invalid_topic_or_port_is_refused_at_once(
    topic: bytes, port: int | None
) -> None:
    async with discover() as discovery:
        with pytest.raises(UsageError):
            discovery.join(topic, port)


async def test_a_refreshed_client_looks_up_at_once_and_from_the_new_address() -> None:
    async with UdpNode() as node:
        client = discover(node.address, interval=(3600, 7200), retry=(3600, 3600))
        async with client, join(client, port=4002) as addresses:
            waiting = asyncio.create_task(first(addresses))
            await node.wait_until(lambda: bool(node.senders_of(b"announce_peer")))
            client.refresh(["127.0.0.3"])
            await node.wait_until(lambda: len(node.senders_of(b"announce_peer")) == 2)
            hosts = [each.host for each in node.senders_of(b"announce_peer")]
            assert hosts == ["127.0.0.1", "127.0.0.3"]
            await waiting  # our own announcement


async def test_one_that_is_announced_hears_of_newcomers_before_its_next_lookup() -> (
    None
):
    rarely = {"retry": (300.0, 300.0), "seek": (0.05, 0.1)}
    async with UdpNode() as node, discover(node.address, **rarely) as discovery:
        async with join(discovery, port=4001) as addresses:
            assert await first(addresses) == PEER  # our own announcement
            newcomer = Address("127.0.0.1", 4009)
            node.inner.peers[TOPIC].append(newcomer)
            while (found := await first(addresses)) != newcomer:
                assert found == PEER
        assert len(node.senders_of(b"announce_peer")) == 1


async def test_one_that_is_not_announced_asks_for_no_newcomers() -> None:
    rarely = {"retry": (300.0, 300.0), "seek": (0.05, 0.1)}
    async with UdpNode() as node, discover(node.address, **rarely) as discovery:
        async with (
            join(discovery, TOPIC) as silent,
            join(discovery, OTHER_TOPIC, 4001) as clock,
        ):
            waiting = [asyncio.create_task(first(each)) for each in (silent, clock)]
            await node.wait_until(
                lambda: len(node.senders_of(b"get_peers", OTHER_TOPIC)) > 5
            )
            assert len(node.senders_of(b"get_peers", TOPIC)) <= 2
            for each in waiting:
                each.cancel()
            await asyncio.wait(waiting)


class Telling(SimulatedNode):
    """A node that tells each node that asks it what it sees (BEP 42)."""

    def answer(self, data: bytes, source: Address) -> bytes | None:
        answer = super().answer(data, source)
        assert answer is not None
        message = bdecode(answer)
        assert isinstance(message, dict)
        return bencode({**message, b"ip": compact(source)})


async def test_what_nodes_see_is_passed_on_with_the_port_that_we_have() -> None:
    told: asyncio.Queue[tuple[str, Address, int]] = asyncio.Queue()

    def on_seen(node: str, seen: Address, port: int) -> None:
        told.put_nowait((node, seen, port))

    async with (
        UdpNode(Telling) as node,
        discover(node.address, on_seen=on_seen) as discovery,
        join(discovery, port=4001) as addresses,
    ):
        await first(addresses)
        source = node.senders_of(b"get_peers")[0]
        assert await told.get() == ("127.0.0.1", source, source.port)
