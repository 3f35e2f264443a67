"""What is remembered from one pass to the next."""

from shoal.core.names.address import Address
from shoal.discovery.dht.known import KnownNodes
from shoal.discovery.dht.krpc import Node


def node(number: int, host: str = "127.0.0.1") -> Node:
    return Node(number.to_bytes(20, "big"), Address(host, 2000 + number))


def test_those_that_answered_are_kept_and_those_that_failed_forgotten() -> None:
    known = KnownNodes()
    known.on_pass([node(3), node(1), node(2)], [])
    known.on_pass([], [node(1).address])
    assert known.closest(bytes(20), 8) == [node(2), node(3)]
    assert known.closest(bytes(20), 1) == [node(2)]


def test_their_number_is_bounded_and_the_longest_unheard_goes() -> None:
    known = KnownNodes(limit=3)
    known.on_pass([node(1), node(2), node(3)], [])
    known.on_pass([node(1), node(4)], [])
    assert known.closest(bytes(20), 8) == [node(1), node(3), node(4)]


def test_on_the_internet_one_of_each_subnet_is_kept() -> None:
    known = KnownNodes()
    known.on_pass([node(1, "8.8.8.1"), node(2, "8.8.8.2"), node(3, "8.8.9.1")], [])
    known.on_pass([node(4, "8.8.9.4")], [])
    assert known.closest(bytes(20), 8) == [node(1, "8.8.8.1"), node(3, "8.8.9.1")]
