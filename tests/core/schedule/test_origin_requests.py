"""Check how long the announced fetches of other peers count."""

from shoal.core.limits import MAX_ORIGIN_FETCHES
from shoal.core.schedule.origin_requests import (
    ANSWERING_FETCH_TIME,
    FETCH_TIME,
    MAX_FETCH_TIME,
    MAX_REPEATED,
    OriginFetches,
)


def test_a_fetch_counts_until_the_peer_has_the_chunk() -> None:
    fetches: OriginFetches[str] = OriginFetches()
    fetches.add("ann", [1, 2, 3], 10.0)
    assert [fetches.peer_of(i, 10.0, 0.0) for i in range(5)] == [
        None,
        "ann",
        "ann",
        "ann",
        None,
    ]
    fetches.on_have("ann", [2, 4])
    fetches.on_have("bob", [3])
    assert [fetches.peer_of(i, 10.0, 0.0) for i in range(5)] == [
        None,
        "ann",
        None,
        "ann",
        None,
    ]


def test_the_fetches_of_a_peer_end_when_it_leaves() -> None:
    fetches: OriginFetches[str] = OriginFetches()
    fetches.add("ann", [1], 10.0)
    fetches.add("bob", [1, 2], 10.0)
    fetches.remove("ann")
    assert not fetches.peer_of(1, 10.0, 0.0)
    assert fetches.peer_of(2, 10.0, 0.0)
    fetches.add("ann", [1], 11.0)
    assert fetches.peer_of(1, 11.0, 0.0)


def test_announcements_of_a_peer_that_was_late_are_ignored() -> None:
    fetches: OriginFetches[str] = OriginFetches()
    fetches.add("ann", [1, 2], 10.0)
    assert fetches.peer_of(1, 10.0 + FETCH_TIME, 0.0)
    late = 10.1 + FETCH_TIME
    assert not fetches.peer_of(1, late, 0.0)
    fetches.add("ann", [1, 2, 3], late)
    assert not any(fetches.peer_of(i, late, 0.0) for i in range(4))


def test_a_peer_has_longer_if_chunks_take_long() -> None:
    fetches: OriginFetches[str] = OriginFetches()
    fetches.add("ann", [1], 10.0)
    assert fetches.peer_of(1, 10.0 + 3 * 60, 60.0)
    assert not fetches.peer_of(1, 10.1 + 3 * 60, 60.0)


def test_a_peer_can_announce_only_so_many_fetches() -> None:
    fetches: OriginFetches[str] = OriginFetches()
    fetches.add("ann", range(10 * MAX_ORIGIN_FETCHES), 10.0)
    expected = [fetches.peer_of(i, 10.0, 0.0) for i in range(10 * MAX_ORIGIN_FETCHES)]
    assert sum(map(bool, expected)) == MAX_ORIGIN_FETCHES


def repeat(fetches: OriginFetches[str], indexes: range, until: float) -> None:
    now = 0.0
    while now <= until:
        fetches.add("ann", indexes, now)
        now += FETCH_TIME / 2


def test_a_few_chunks_that_are_announced_again_are_waited_for() -> None:
    fetches: OriginFetches[str] = OriginFetches()
    repeat(fetches, range(3), MAX_FETCH_TIME)
    assert fetches.peer_of(1, MAX_FETCH_TIME, 0.0) == "ann"
    assert fetches.peers(MAX_FETCH_TIME, 0.0) == {"ann": 0.0}
    assert not fetches.peer_of(1, MAX_FETCH_TIME + 0.1, 0.0)
    assert not fetches.peers(MAX_FETCH_TIME + 0.1, 0.0)


def test_they_are_waited_for_less_long_once_an_origin_has_answered() -> None:
    fetches: OriginFetches[str] = OriginFetches()
    fetches.is_answering = True
    repeat(fetches, range(3), MAX_FETCH_TIME)
    assert fetches.peer_of(1, ANSWERING_FETCH_TIME, 0.0) == "ann"
    late = ANSWERING_FETCH_TIME + 0.1
    assert fetches.peer_of(1, late, ANSWERING_FETCH_TIME / 2) == "ann"
    assert not fetches.peer_of(1, late, 0.0)


def test_a_peer_cannot_keep_us_from_many_chunks_by_announcing_them_again() -> None:
    fetches: OriginFetches[str] = OriginFetches()
    repeat(fetches, range(MAX_REPEATED + 1), FETCH_TIME)
    assert fetches.peer_of(1, FETCH_TIME, 0.0) == "ann"
    assert not fetches.peer_of(1, FETCH_TIME + 0.1, 0.0)
