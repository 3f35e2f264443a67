"""The table of one lookup: its order, its bound, and who has to wait."""

from shoal.core.names.address import Address
from shoal.discovery.dht.candidates import Candidates, State
from shoal.discovery.dht.krpc import Node

TOPIC = bytes(20)


def node(gap: int, host: str = "127.0.0.1", port: int = 0) -> Node:
    """Return a node this far from the topic."""
    return Node(gap.to_bytes(20, "big"), Address(host, port or 1000 + gap))


def gaps(table: Candidates, count: int = 8) -> list[int]:
    return [each.distance for each in table.closest(count, without=())]


def test_the_nearest_come_first() -> None:
    table = Candidates(TOPIC)
    for gap in (5, 1, 9, 3):
        table.add(node(gap))
    assert gaps(table) == [1, 3, 5, 9]
    assert gaps(table, 2) == [1, 3]


def test_the_first_word_about_an_address_counts() -> None:
    table = Candidates(TOPIC)
    table.add(node(5, port=7))
    table.add(node(1, port=7))
    assert gaps(table) == [5]


def test_a_second_node_of_one_global_subnet_waits_until_the_nearer_has_failed() -> None:
    table = Candidates(TOPIC)
    table.add(node(1, "8.8.8.1"))
    table.add(node(2, "8.8.8.2"))
    table.add(node(3, "8.8.9.1"))
    assert gaps(table) == [1, 3]
    table[node(1, "8.8.8.1").address].state = State.FAILED
    assert gaps(table) == [2, 3]


def test_one_id_at_many_addresses_is_one_node() -> None:
    table = Candidates(TOPIC)
    for port in (2001, 2002, 2003):
        table.add(node(1, port=port))
    assert gaps(table) == [1]


def test_the_table_is_bounded_and_keeps_the_nearest_and_those_asked() -> None:
    table = Candidates(TOPIC, limit=4)
    for gap in (10, 20, 30, 40):
        table.add(node(gap))
    table[node(40).address].state = State.ASKED
    for gap in (50, 5, 35):
        table.add(node(gap))
    assert gaps(table) == [5, 10, 20, 40]
    assert len(table) == 4


def test_a_bootstrap_node_takes_its_place_with_the_id_that_it_answers_with() -> None:
    table = Candidates(TOPIC)
    address = Address("127.0.0.1", 6881)
    table.add_bootstrap(address)
    table.add(node(5))
    assert gaps(table) == [5]
    (first,) = table.bootstrap()
    table.learn_id(first, node(3).id)
    assert gaps(table) == [3, 5]
    assert table.bootstrap() == []
