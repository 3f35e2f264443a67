"""The nodes of one lookup, in order and limited, and those kept between lookups."""

from shoal.core.names.address import Address
from shoal.discovery.dht.krpc import DhtNode
from shoal.discovery.dht.nodes import Candidates, KnownNodes, NodeState

TOPIC = bytes(20)


def node(gap: int, host: str = "127.0.0.1", port: int = 0) -> DhtNode:
    """Return a node this far from the topic."""
    return DhtNode(gap.to_bytes(20, "big"), Address(host, port or 1000 + gap))


def gaps(table: Candidates, count: int = 8) -> list[int]:
    return [each.distance for each in table.closest(count, without=())]


def test_the_nearest_nodes_come_first() -> None:
    table = Candidates(TOPIC)
    for gap in (5, 1, 9, 3):
        table.add(node(gap))
    assert gaps(table) == [1, 3, 5, 9]
    assert gaps(table, 2) == [1, 3]


def test_the_first_id_given_for_an_address_is_kept() -> None:
    table = Candidates(TOPIC)
    table.add(node(5, port=7))
    table.add(node(1, port=7))
    assert gaps(table) == [5]


def test_one_node_per_global_subnet_until_the_nearer_has_failed() -> None:
    table = Candidates(TOPIC)
    table.add(node(1, "8.8.8.1"))
    table.add(node(2, "8.8.8.2"))
    table.add(node(3, "8.8.9.1"))
    assert gaps(table) == [1, 3]
    table[node(1, "8.8.8.1").address].state = NodeState.FAILED
    assert gaps(table) == [2, 3]


def test_one_id_at_many_addresses_counts_as_one_node() -> None:
    table = Candidates(TOPIC)
    for port in (2001, 2002, 2003):
        table.add(node(1, port=port))
    assert gaps(table) == [1]


def test_a_full_table_keeps_the_nearest_and_the_queried_nodes() -> None:
    table = Candidates(TOPIC, limit=4)
    for gap in (10, 20, 30, 40):
        table.add(node(gap))
    table[node(40).address].state = NodeState.QUERIED
    for gap in (50, 5, 35):
        table.add(node(gap))
    assert gaps(table) == [5, 10, 20, 40]
    assert len(table) == 4


def test_a_bootstrap_node_is_sorted_by_the_id_it_responds_with() -> None:
    table = Candidates(TOPIC)
    address = Address("127.0.0.1", 6881)
    table.add_bootstrap(address)
    table.add(node(5))
    assert gaps(table) == [5]
    (first,) = table.bootstrap()
    table.learn_id(first, node(3).id)
    assert gaps(table) == [3, 5]
    assert table.bootstrap() == []


def known_node(number: int, host: str = "127.0.0.1") -> DhtNode:
    return DhtNode(number.to_bytes(20, "big"), Address(host, 2000 + number))


def test_nodes_that_answered_are_kept_and_failed_ones_dropped() -> None:
    known = KnownNodes()
    known.on_lookup([known_node(3), known_node(1), known_node(2)], [])
    known.on_lookup([], [known_node(1).address])
    assert known.closest(bytes(20), 8) == [known_node(2), known_node(3)]
    assert known.closest(bytes(20), 1) == [known_node(2)]


def test_known_nodes_are_limited_and_the_longest_silent_goes_first() -> None:
    known = KnownNodes(limit=3)
    known.on_lookup([known_node(1), known_node(2), known_node(3)], [])
    known.on_lookup([known_node(1), known_node(4)], [])
    assert known.closest(bytes(20), 8) == [known_node(1), known_node(3), known_node(4)]


def test_one_known_node_is_kept_per_global_subnet() -> None:
    known = KnownNodes()
    known.on_lookup(
        [known_node(1, "8.8.8.1"), known_node(2, "8.8.8.2"), known_node(3, "8.8.9.1")],
        [],
    )
    known.on_lookup([known_node(4, "8.8.9.4")], [])
    assert known.closest(bytes(20), 8) == [
        known_node(1, "8.8.8.1"),
        known_node(3, "8.8.9.1"),
    ]
