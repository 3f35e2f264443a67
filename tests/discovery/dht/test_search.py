"""How often a joined topic is asked for, and which nodes are asked."""

from random import Random

import pytest

from shoal.core.names.address import Address
from shoal.discovery.dht.krpc import DhtNode
from shoal.discovery.dht.pace import INTERVAL, PLACES, RETRY, Priority, spacing
from shoal.discovery.dht.search import (
    SEEK,
    SEEK_NEAREST,
    SEEK_NODES,
    SEEK_TOPICS,
    Search,
)

NODES = [DhtNode(bytes([n] * 20), Address("10.0.0.1", 2000 + n)) for n in range(8)]


def search(port: int | None = 4001, *, is_awaited: bool = True) -> Search:
    return Search(
        *(bytes(20), port, lambda: is_awaited, Random(1)),
        interval=INTERVAL,
        retry=RETRY,
    )


def test_one_that_is_asked_alone_is_one_of_the_nearest_in_turn() -> None:
    """A newcomer may have found other nodes as the last ones of eight."""
    made = search()
    made.on_lookup(NODES)
    asked = [made.next_asked(1) for _ in range(2 * SEEK_NEAREST)]
    assert asked == [[node] for node in NODES[:SEEK_NEAREST]] * 2


@pytest.mark.parametrize("count", [2, SEEK_NODES + 1])
def test_the_nearest_nodes_are_always_asked_and_the_others_in_turn(count: int) -> None:
    made = search()
    made.on_lookup(NODES)
    others = len(NODES) - (count - 1)
    asked = [made.next_asked(count) for _ in range(others)]
    assert {len(each) for each in asked} == {count}
    counts = [sum(node in each for each in asked) for node in NODES]
    assert counts == [others] * (count - 1) + [1] * others


def test_fewer_nodes_are_each_asked_once() -> None:
    made = search()
    made.on_lookup(NODES[:2])
    assert sorted(made.next_asked()) == NODES[:2]


def test_nothing_is_asked_without_a_port_or_before_a_lookup() -> None:
    silent = search(None)
    silent.on_lookup(NODES)
    assert silent.seek_wait(1) is None
    assert not search().next_asked()


def test_only_the_first_lookups_are_urgent() -> None:
    """Two of a share once it is announced, some more of one that is not or a caller."""
    made, shared, unknown = search(), *(search(is_awaited=False) for _ in range(2))
    found = []
    for _ in range(7):
        found.append([each.priority for each in (made, shared, unknown)])
        made.was_announced = shared.was_announced = True
        for each in (made, shared, unknown):
            each.schedule.next_wait(is_failure=False)
    awaited, first, later = Priority.AWAITED, Priority.FIRST, Priority.REPEATED
    assert [each[0] for each in found] == [awaited] * 5 + [later] * 2
    assert [each[1] for each in found] == [first] * 2 + [later] * 5
    assert [each[2] for each in found] == [first] * 5 + [later] * 2
    shared.restart()
    assert shared.priority is first
    assert shared.is_due.is_set()


@pytest.mark.parametrize("topics", [1, 8, 9, 60, 1000])
@pytest.mark.parametrize("networks", [1, 2])
def test_lookups_and_questions_are_20_packets_a_minute_for_each_topic(
    topics: int, networks: int
) -> None:
    running = min(topics, PLACES[Priority.REPEATED])
    gap = spacing(topics, networks, RETRY)
    per_minute = running * 60 / gap
    questions = networks * topics * 60 / SEEK.shortest
    assert per_minute + questions / max(1, topics / SEEK_TOPICS) <= 20 * topics


def test_many_topics_are_asked_for_less_often() -> None:
    made = search()
    made.on_lookup(NODES)
    for topics in (1, SEEK_TOPICS):
        wait = made.seek_wait(topics)
        assert wait is not None
        assert SEEK.shortest <= wait <= SEEK.longest
    wait = made.seek_wait(50 * SEEK_TOPICS)
    assert wait is not None
    assert wait >= 50 * SEEK.shortest
