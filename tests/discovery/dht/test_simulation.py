"""Lookups through hundreds of simulated nodes, many of them dead or lying."""

from collections.abc import Iterable
from random import Random

import pytest
from tests.discovery.dht.simulation import (
    DeadNode,
    SimulatedNode,
    Simulation,
    compact,
    compact_node,
    reply,
)

from shoal.core.names.address import Address
from shoal.discovery.dht.bencode import Value, encode
from shoal.discovery.dht.krpc import Node
from shoal.discovery.dht.lookup import MAX_PEERS, MAX_QUERIES, QUERY_TIMEOUT, K, Lookup

TOPIC = bytes(range(20))
PEER = Address("8.8.8.8", 4001)
SEEDS = range(5)


def look_up(
    simulation: Simulation,
    *,
    port: int | None = None,
    start: Iterable[SimulatedNode] | None = None,
    topic: bytes = TOPIC,
) -> Lookup:
    """Return a lookup that begins at three honest nodes."""
    if start is None:
        everyone = simulation.nodes.values()
        start = [node for node in everyone if type(node) is SimulatedNode][:3]
    return Lookup(
        topic,
        node_id=simulation.rng.randbytes(20),
        rng=simulation.rng,
        bootstrap=[node.me.address for node in start],
        port=port,
    )


def store(simulation: Simulation, nodes: Iterable[SimulatedNode]) -> None:
    """Let these nodes know the peer, as if it had been announced to them."""
    for node in nodes:
        node.peers[TOPIC] = [PEER]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dead", [0.0, 0.3, 0.5])
def test_what_one_announces_the_other_finds(seed: int, dead: float) -> None:
    simulation = Simulation(Random(seed))
    simulation.add(SimulatedNode, 240 - int(240 * dead))
    simulation.add(DeadNode, int(240 * dead))
    simulation.connect()
    announcing = look_up(simulation, port=4001)
    announced = simulation.run(announcing)
    assert announcing.announced == K
    found = simulation.run(look_up(simulation))
    assert found.peers == [Address("9.9.9.9", 4001)]
    assert found.first_peer_at is not None
    assert found.first_peer_at < 3.0
    assert max(announced.lasted, found.lasted) < 4 * QUERY_TIMEOUT


@pytest.mark.parametrize("seed", SEEDS)
def test_an_announcement_reaches_the_nodes_that_the_topic_belongs_to(seed: int) -> None:
    simulation = Simulation(Random(seed))
    simulation.add(SimulatedNode, 300)
    simulation.connect()
    simulation.run(look_up(simulation, port=4001))
    holders = {each.me for each in simulation.nodes.values() if each.peers}
    assert holders == {each.me for each in simulation.closest(TOPIC, K)}


def test_a_lookup_in_a_healthy_network_asks_few_nodes_and_each_once() -> None:
    simulation = Simulation(Random(1))
    simulation.add(SimulatedNode, 300)
    simulation.connect()
    outcome = simulation.run(look_up(simulation))
    assert len(outcome.sent) < 40
    assert set(outcome.sent.values()) == {1}
    assert outcome.lasted < 1.5


def test_many_nodes_on_one_loopback_address_are_many_nodes() -> None:
    simulation = Simulation(Random(2), me="127.0.0.1")
    simulation.add(SimulatedNode, 60, on_loopback=True)
    simulation.connect()
    lookup = look_up(simulation, port=4001)
    simulation.run(lookup)
    assert lookup.announced == K
    assert simulation.run(look_up(simulation)).peers == [Address("127.0.0.1", 4001)]


def test_a_network_of_dead_nodes_costs_one_time_out() -> None:
    simulation = Simulation(Random(3))
    dead = simulation.add(DeadNode, 3)
    lookup = look_up(simulation, start=dead, port=4001)
    outcome = simulation.run(lookup)
    assert outcome.lasted == QUERY_TIMEOUT
    assert set(outcome.sent.values()) == {1}
    assert (outcome.peers, lookup.announced, lookup.answered()) == ([], 0, [])


def test_without_any_node_to_begin_with_it_is_done_at_once() -> None:
    lookup = look_up(Simulation(Random(4)), start=[], port=4001)
    assert lookup.next_queries(0.0) == []
    assert lookup.is_done


class WrongTransaction(SimulatedNode):
    """Answer well, and to a question nobody asked."""

    def on_get_peers(self, tid: Value, topic: bytes, source: Address) -> bytes | None:
        assert isinstance(tid, bytes)
        poison = [compact(Address("6.6.6.6", 6666))]
        return reply(tid[:-1] + bytes([tid[-1] ^ 1]), id=self.me.id, values=poison)


class WrongId(SimulatedNode):
    """Answer as another node than the one that was asked."""

    def on_get_peers(self, tid: Value, topic: bytes, source: Address) -> bytes | None:
        poison = [compact(Address("6.6.6.6", 6666))]
        return reply(tid, id=topic, token=b"t", values=poison)


class Nested(SimulatedNode):
    """Answer with lists inside lists, ten thousand deep or as many as fit."""

    depth = 10_000

    def on_get_peers(self, tid: Value, topic: bytes, source: Address) -> bytes | None:
        deep = b"l" * self.depth + b"e" * self.depth
        return b"d1:rd2:id20:" + self.me.id + b"6:values" + deep + b"e1:t4:abcd1:y1:re"


class NestedToFit(Nested):
    """Stay within the size of a datagram that is read at all."""

    depth = 2_000


class Refusing(SimulatedNode):
    """Answer with an error."""

    def on_get_peers(self, tid: Value, topic: bytes, source: Address) -> bytes | None:
        assert isinstance(tid, bytes)
        return encode({b"t": tid, b"y": b"e", b"e": [202, b"no"]})


class Misdirecting(SimulatedNode):
    """Name victims, in our own network too, as nodes next to the topic."""

    def on_get_peers(self, tid: Value, topic: bytes, source: Address) -> bytes | None:
        nodes = [
            Node(topic[:19] + bytes([last]), Address(host, port))
            for last in range(5)
            for host, port in (
                ("127.0.0.1", 2222),
                ("10.0.0.1", 2222),
                ("224.0.0.1", 2222),
                ("169.254.169.254", 8080),
                (f"7.{last}.{self.me.id[0]}.1", 53),
                (f"7.{last}.{self.me.id[0]}.1", 5353),
            )
        ]
        body = b"".join(map(compact_node, nodes))
        return reply(tid, id=self.me.id, token=b"t", nodes=body)


LIARS = [WrongTransaction, WrongId, Nested, NestedToFit, Refusing, Misdirecting]


@pytest.mark.parametrize("liar", LIARS)
@pytest.mark.parametrize("seed", SEEDS)
def test_two_liars_in_five_slow_a_lookup_down_and_no_more(
    liar: type[SimulatedNode], seed: int
) -> None:
    simulation = Simulation(Random(seed))
    honest = simulation.add(SimulatedNode, 150)
    simulation.add(liar, 100)
    simulation.connect()
    store(simulation, simulation.closest(TOPIC, K, among=honest))
    outcome = simulation.run(look_up(simulation))
    assert outcome.peers == [PEER]
    assert outcome.lasted < 60.0
    assert sum(outcome.sent.values()) <= MAX_QUERIES
    for victim in outcome.sent.keys() - simulation.nodes.keys():
        assert victim.host.startswith("7.")
        assert victim.port == 5353


class Flooding(SimulatedNode):
    """Answer with as many peers as a datagram holds."""

    count = 10_000
    first = 0

    def on_get_peers(self, tid: Value, topic: bytes, source: Address) -> bytes | None:
        Flooding.first += self.count
        values = [
            compact(Address(f"11.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", 2000))
            for n in range(self.first, self.first + self.count)
        ]
        return reply(tid, id=self.me.id, token=b"t", values=values)


class FloodingToFit(Flooding):
    """Stay within the size of a datagram that is read at all."""

    count = 900


def test_ten_thousand_values_are_no_reply() -> None:
    simulation = Simulation(Random(5))
    flooding = simulation.add(Flooding, 3)
    assert simulation.run(look_up(simulation, start=flooding)).peers == []


def test_of_one_reply_a_hundred_values_are_used_and_of_a_pass_a_thousand() -> None:
    simulation = Simulation(Random(6))
    flooding = simulation.add(FloodingToFit, 20)
    one = simulation.run(look_up(simulation, start=flooding[:1]))
    assert len(one.peers) == 100
    everyone = simulation.run(look_up(simulation, start=flooding))
    assert len(everyone.peers) == MAX_PEERS


class Colluding(SimulatedNode):
    """Name only others of its kind, whose ids surround the topic."""

    def __init__(self, me: Node) -> None:
        super().__init__(Node(TOPIC[:15] + me.id[15:], me.address))


def conspire(simulation: Simulation) -> None:
    """Let the colluding nodes know each other and nobody else."""
    everyone = [each for each in simulation.nodes.values() if type(each) is Colluding]
    for each in everyone:
        each.known = [other.me for other in everyone if other is not each]


def test_an_eclipse_by_950_of_1000_ends_within_bounds_and_says_nothing_wrong() -> None:
    simulation = Simulation(Random(7))
    honest = simulation.add(SimulatedNode, 50)
    simulation.add(Colluding, 950)
    simulation.connect()
    conspire(simulation)
    store(simulation, simulation.closest(TOPIC, K, among=honest))
    outcome = simulation.run(look_up(simulation))
    assert sum(outcome.sent.values()) <= MAX_QUERIES
    assert set(outcome.peers) <= {PEER}
    assert outcome.lasted < 60.0


def test_an_eclipse_from_a_few_networks_fails() -> None:
    rng = Random(8)
    simulation = Simulation(rng)
    honest = simulation.add(SimulatedNode, 100)
    for number in range(400):
        address = Address(f"6.6.{number % 4}.{number // 4}", 7000)
        near = Node(rng.randbytes(20), address)
        simulation.nodes[address] = Colluding(near)
    simulation.connect()
    conspire(simulation)
    store(simulation, simulation.closest(TOPIC, K, among=honest))
    assert simulation.run(look_up(simulation)).peers == [PEER]
