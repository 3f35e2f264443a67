"""Lookups through hundreds of simulated nodes, many of them dead or malicious."""

from collections.abc import Iterable
from random import Random

import pytest

from shoal.core.names.address import Address
from shoal.discovery.dht.krpc import BencodeValue, DhtNode, bencode
from shoal.discovery.dht.lookup import MAX_PEERS, MAX_QUERIES, QUERY_TIMEOUT, K, Lookup
from tests.discovery.dht.simulation import (
    DeadNode,
    SimulatedNode,
    Simulation,
    build_response,
    compact,
    compact_node,
)

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
    """Return a lookup that starts at three honest nodes."""
    if start is None:
        nodes = simulation.nodes.values()
        start = [node for node in nodes if type(node) is SimulatedNode][:3]
    return Lookup(
        topic,
        node_id=simulation.rng.randbytes(20),
        rng=simulation.rng,
        bootstrap=[node.me.address for node in start],
        port=port,
    )


def store(simulation: Simulation, nodes: Iterable[SimulatedNode]) -> None:
    """Store the peer at these nodes, as if it had been announced to them."""
    for node in nodes:
        node.peers[TOPIC] = [PEER]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dead", [0.0, 0.3, 0.5])
def test_a_lookup_finds_the_announced_peer(seed: int, dead: float) -> None:
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
def test_an_announcement_reaches_the_nodes_nearest_to_the_topic(seed: int) -> None:
    simulation = Simulation(Random(seed))
    simulation.add(SimulatedNode, 300)
    simulation.connect()
    simulation.run(look_up(simulation, port=4001))
    holders = {each.me for each in simulation.nodes.values() if each.peers}
    assert holders == {each.me for each in simulation.closest(TOPIC, K)}


def test_a_lookup_in_a_healthy_network_queries_few_nodes_once_each() -> None:
    simulation = Simulation(Random(1))
    simulation.add(SimulatedNode, 300)
    simulation.connect()
    outcome = simulation.run(look_up(simulation))
    assert len(outcome.sent) < 40
    assert set(outcome.sent.values()) == {1}
    assert outcome.lasted < 1.5


def test_many_nodes_on_one_loopback_address_count_as_many() -> None:
    simulation = Simulation(Random(2), me="127.0.0.1")
    simulation.add(SimulatedNode, 60, on_loopback=True)
    simulation.connect()
    lookup = look_up(simulation, port=4001)
    simulation.run(lookup)
    assert lookup.announced == K
    assert simulation.run(look_up(simulation)).peers == [Address("127.0.0.1", 4001)]


def test_a_network_of_dead_nodes_costs_one_timeout() -> None:
    simulation = Simulation(Random(3))
    dead = simulation.add(DeadNode, 3)
    lookup = look_up(simulation, start=dead, port=4001)
    outcome = simulation.run(lookup)
    assert outcome.lasted == QUERY_TIMEOUT
    assert set(outcome.sent.values()) == {1}
    assert (outcome.peers, lookup.announced, lookup.answered()) == ([], 0, [])


def test_a_lookup_without_any_node_is_done_at_once() -> None:
    lookup = look_up(Simulation(Random(4)), start=[], port=4001)
    assert lookup.next_queries(0.0) == []
    assert lookup.is_done


class WrongTransaction(SimulatedNode):
    """Respond with the wrong transaction id."""

    def on_get_peers(
        self, tid: BencodeValue, topic: bytes, source: Address
    ) -> bytes | None:
        assert isinstance(tid, bytes)
        poison = [compact(Address("6.6.6.6", 6666))]
        return build_response(
            tid[:-1] + bytes([tid[-1] ^ 1]), id=self.me.id, values=poison
        )


class WrongId(SimulatedNode):
    """Respond with another node's id."""

    def on_get_peers(
        self, tid: BencodeValue, topic: bytes, source: Address
    ) -> bytes | None:
        poison = [compact(Address("6.6.6.6", 6666))]
        return build_response(tid, id=topic, token=b"t", values=poison)


class Nested(SimulatedNode):
    """Respond with lists nested ten thousand deep."""

    depth = 10_000

    def on_get_peers(
        self, tid: BencodeValue, topic: bytes, source: Address
    ) -> bytes | None:
        deep = b"l" * self.depth + b"e" * self.depth
        return b"d1:rd2:id20:" + self.me.id + b"6:values" + deep + b"e1:t4:abcd1:y1:re"


class NestedToFit(Nested):
    """Stay within the largest datagram that is parsed."""

    depth = 2_000


class Refusing(SimulatedNode):
    """Respond with an error."""

    def on_get_peers(
        self, tid: BencodeValue, topic: bytes, source: Address
    ) -> bytes | None:
        assert isinstance(tid, bytes)
        return bencode({b"t": tid, b"y": b"e", b"e": [202, b"no"]})


class Misdirecting(SimulatedNode):
    """Name victims, some in our own network, as nodes next to the topic."""

    def on_get_peers(
        self, tid: BencodeValue, topic: bytes, source: Address
    ) -> bytes | None:
        nodes = [
            DhtNode(topic[:19] + bytes([last]), Address(host, port))
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
        return build_response(tid, id=self.me.id, token=b"t", nodes=body)


MALICIOUS = [WrongTransaction, WrongId, Nested, NestedToFit, Refusing, Misdirecting]


@pytest.mark.parametrize("kind", MALICIOUS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_lookup_succeeds_with_two_malicious_nodes_in_five(
    kind: type[SimulatedNode], seed: int
) -> None:
    simulation = Simulation(Random(seed))
    honest = simulation.add(SimulatedNode, 150)
    simulation.add(kind, 100)
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
    """Respond with as many peers as a datagram holds."""

    count = 10_000
    first = 0

    def on_get_peers(
        self, tid: BencodeValue, topic: bytes, source: Address
    ) -> bytes | None:
        Flooding.first += self.count
        values = [
            compact(Address(f"11.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", 2000))
            for n in range(self.first, self.first + self.count)
        ]
        return build_response(tid, id=self.me.id, token=b"t", values=values)


class FloodingToFit(Flooding):
    """Stay within the largest datagram that is parsed."""

    count = 900


def test_a_response_with_ten_thousand_peers_is_ignored() -> None:
    simulation = Simulation(Random(5))
    flooding = simulation.add(Flooding, 3)
    assert simulation.run(look_up(simulation, start=flooding)).peers == []


def test_at_most_a_hundred_peers_per_response_and_a_thousand_per_lookup() -> None:
    simulation = Simulation(Random(6))
    flooding = simulation.add(FloodingToFit, 20)
    one = simulation.run(look_up(simulation, start=flooding[:1]))
    assert len(one.peers) == 100
    all_of_them = simulation.run(look_up(simulation, start=flooding))
    assert len(all_of_them.peers) == MAX_PEERS


class Colluding(SimulatedNode):
    """Name only other colluding nodes, whose ids surround the topic."""

    def __init__(self, me: DhtNode) -> None:
        super().__init__(DhtNode(TOPIC[:15] + me.id[15:], me.address))


def conspire(simulation: Simulation) -> None:
    """Let the colluding nodes know each other and no other node."""
    nodes = [each for each in simulation.nodes.values() if type(each) is Colluding]
    for each in nodes:
        each.known = [other.me for other in nodes if other is not each]


def test_an_eclipse_by_950_of_1000_nodes_ends_within_limits_and_invents_no_peer() -> (
    None
):
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


def test_an_eclipse_from_four_networks_fails() -> None:
    rng = Random(8)
    simulation = Simulation(rng)
    honest = simulation.add(SimulatedNode, 100)
    for number in range(400):
        address = Address(f"6.6.{number % 4}.{number // 4}", 7000)
        near = DhtNode(rng.randbytes(20), address)
        simulation.nodes[address] = Colluding(near)
    simulation.connect()
    conspire(simulation)
    store(simulation, simulation.closest(TOPIC, K, among=honest))
    assert simulation.run(look_up(simulation)).peers == [PEER]


VICTIM = "6.6.6.6"


class Pointing(SimulatedNode):
    """Name thousands of ports of one victim, with ids that surround the topic."""

    def nearest(self, topic: bytes, *, is_ipv6: bool = False) -> bytes:
        rng = Random(self.me.id)
        ports = rng.sample(range(1024, 65_536), K)
        ids = [topic[:15] + rng.randbytes(5) for _ in ports]
        named = [
            DhtNode(each, Address(VICTIM, port))
            for each, port in zip(ids, ports, strict=True)
        ]
        return b"".join(map(compact_node, named))


def test_thousands_of_liars_cannot_have_a_victim_sent_many_packets() -> None:
    simulation = Simulation(Random(9))
    pointing = simulation.add(Pointing, 2000)
    outcome = simulation.run(look_up(simulation, start=pointing))
    at_victim = [n for address, n in outcome.sent.items() if address.host == VICTIM]
    # The liars were sent one packet each, and made us send a few others in all.
    assert sum(at_victim) <= K
    assert sum(outcome.sent.values()) <= MAX_QUERIES
