"""Check which chunks are requested from an origin, and when."""

from random import Random

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.schedule.origin_requests import (
    ANSWERING_FETCH_TIME,
    FETCH_TIME,
    LATE_TIME,
    ORIGIN_RUNS,
)
from shoal.core.schedule.scheduler import Scheduler
from shoal.core.schedule.window import STALL_TIME

SIZE = 1 << 20
COUNT = 64
ORIGIN = "origin"


def scheduler(wanted: list[int] | None = None) -> Scheduler[str]:
    """Return the scheduler of a node without chunks and with an origin."""
    chunks = Chunks(COUNT * SIZE, SIZE)
    made: Scheduler[str] = Scheduler(chunks, Bitfield(COUNT), Random(1), wanted=wanted)
    made.add_origin(ORIGIN)
    return made


def having(*indexes: int) -> Bitfield:
    field = Bitfield(COUNT)
    for index in indexes:
        field.add(index)
    return field


def fetch(one: Scheduler[str], now: float) -> list[int]:
    """Request from the origin as much as its window has room for, once."""
    limit = one.room(ORIGIN, 0)
    return one.next_requests(ORIGIN, limit, now)[1] if limit else []


def answer(one: Scheduler[str], source: str, indexes: list[int], now: float) -> None:
    for index in indexes:
        one.on_heard(source, now)
        if one.on_answer(source, index, now, was_any=False):
            one.on_verified(index, source)


def test_an_origin_gets_one_request_first_and_then_runs() -> None:
    one, now, longest = scheduler(), 0.0, 0
    assert len(fetch(one, now)) == 1
    assert fetch(one, now) == []
    one = scheduler()
    while not one.is_complete:
        requested: list[int] = []
        while run := fetch(one, now):
            assert run == list(range(run[0], run[0] + len(run)))
            longest = max(longest, len(run))
            requested += run
        now += 0.01
        answer(one, ORIGIN, requested, now)
    assert longest >= COUNT // 4 // ORIGIN_RUNS


def test_a_slow_origin_gets_one_request_at_a_time() -> None:
    one, now = scheduler(), 0.0
    for _ in range(10):
        requested = fetch(one, now)
        assert len(requested) == 1
        now += 2.0
        answer(one, ORIGIN, requested, now)


def test_a_chunk_that_a_peer_has_is_not_fetched_from_an_origin() -> None:
    one = scheduler()
    one.add("ann", having(*range(COUNT - 1)))
    assert fetch(one, 0.0) == [COUNT - 1]
    answer(one, ORIGIN, [COUNT - 1], 0.1)
    assert fetch(one, 0.1) == []


def test_no_chunk_is_fetched_from_an_origin_while_a_peer_is_complete() -> None:
    one = scheduler()
    one.add("ann")
    assert fetch(one, 0.0) == []
    one.remove("ann")
    assert len(fetch(one, 0.0)) == 1


MANY = 2000
STEP = 0.1  # seconds


def sent_by_origin(alone: int, together: int) -> int:
    """Return how many chunks of a minute come from an origin beside a full peer.

    In each step, `alone` chunks arrive from the peer, or `together` from both, half of
    them from the origin.
    """
    chunks = Chunks(MANY * SIZE, SIZE)
    one: Scheduler[str] = Scheduler(chunks, Bitfield(MANY), Random(1))
    one.add_origin(ORIGIN)
    one.add("ann")
    requested: dict[str, list[int]] = {"ann": [], ORIGIN: []}
    now, count = 0.0, 0
    while now < 60:
        for source, indexes in requested.items():
            while room := one.room(source, 0):
                more = one.next_requests(source, room, now)[1]
                indexes += more
                if not more:
                    break
        half = together // 2 if requested[ORIGIN] else 0
        number = {ORIGIN: half, "ann": together - half if half else alone}
        now += STEP
        for source, indexes in requested.items():
            arrived, indexes[:] = indexes[: number[source]], indexes[number[source] :]
            count += len(arrived) if source == ORIGIN else 0
            answer(one, source, arrived, now)
        one.on_tick(now)
    return count


def test_an_origin_is_used_beside_a_full_peer_only_if_that_is_faster() -> None:
    assert sent_by_origin(alone=2, together=4) > 900
    assert sent_by_origin(alone=2, together=2) < 100


def test_a_chunk_that_a_peer_fetches_is_not_fetched() -> None:
    one = scheduler()
    one.add("ann", having())
    one.on_origin_fetch("ann", range(COUNT - 1), 0.0)
    assert fetch(one, 0.0) == [COUNT - 1]


def test_no_chunk_is_left_to_a_peer_that_is_late() -> None:
    one = scheduler()
    one.add("ann", having())
    one.on_origin_fetch("ann", range(COUNT), 0.0)
    assert one.for_origins.fetcher_of(3, ORIGIN, FETCH_TIME) == "ann"
    assert one.for_origins.fetcher_of(3, ORIGIN, FETCH_TIME + 1) is None
    assert len(fetch(one, FETCH_TIME + 1)) == 1, "it is not believed any more"


def test_a_chunk_is_fetched_after_its_fetcher_left() -> None:
    one = scheduler()
    one.add("ann", having())
    one.on_origin_fetch("ann", range(COUNT), 0.0)
    assert fetch(one, 0.0) == []
    one.remove("ann")
    assert len(fetch(one, 0.0)) == 1


def test_the_fetches_of_an_unknown_peer_do_not_count() -> None:
    one = scheduler()
    one.on_origin_fetch("stranger", range(COUNT), 0.0)
    assert len(fetch(one, 0.0)) == 1


def test_an_origin_is_used_while_peers_send_nothing() -> None:
    one = scheduler()
    one.add("ann", having(*range(COUNT)[:-1]))
    one.add("bob", having(*range(COUNT)[-1:]))
    assert fetch(one, 0.0) == []
    assert fetch(one, LATE_TIME - 0.1) == []
    late = fetch(one, LATE_TIME)
    assert late
    answer(one, ORIGIN, late, LATE_TIME + 0.1)
    assert fetch(one, LATE_TIME + 0.2)
    requested = one.next_requests("ann", 1, LATE_TIME + 0.3)[1]
    answer(one, "ann", requested, LATE_TIME + 0.4)
    assert fetch(one, LATE_TIME + 0.5) == []


def test_a_chunk_on_its_way_from_a_peer_is_fetched_only_if_late() -> None:
    one = scheduler()
    one.add("ann", having(*range(COUNT)[:-1]))
    one.add("bob", having(COUNT - 1))
    now = 0.0
    while requested := one.next_requests("ann", 8, now)[1]:
        answer(one, "ann", requested, now)
    assert one.next_requests("bob", 8, now)[1] == [COUNT - 1]
    assert fetch(one, now) == []
    # The chunk arrives slowly.
    for _ in range(5):
        now += STALL_TIME / 2
        one.on_heard("bob", now)
        assert one.on_tick(now) == []
        assert fetch(one, now) == []
    now += LATE_TIME
    assert one.on_tick(now) == ["bob"]
    assert fetch(one, now) == [COUNT - 1]


def test_a_readers_chunks_are_fetched_from_the_origin_in_order() -> None:
    one = scheduler(wanted=[])
    one.add_wanted([9, 10, 11])
    one.add_wanted([5], before=True)
    assert fetch(one, 0.0) == [5]
    answer(one, ORIGIN, [5], 0.1)
    assert [fetch(one, 0.1), fetch(one, 0.1)] == [[9], [10]]


def test_after_a_pause_a_reader_requests_from_peers_first() -> None:
    one = scheduler(wanted=[])
    one.add("ann")
    assert fetch(one, 0.0) == []
    one.add_wanted([3])
    assert fetch(one, 100.0) == []
    assert fetch(one, 100.0 + LATE_TIME) == [3]


def test_many_nodes_fetch_each_chunk_from_an_origin_once() -> None:
    """Each node hears at once what the others fetch, so nothing is fetched twice."""
    nodes = {f"n{n}": scheduler() for n in range(8)}
    for name, node in nodes.items():
        for other in nodes:
            if other != name:
                node.add(other, having())
    times = [0] * COUNT
    now = 0.0
    while sum(map(bool, times)) < COUNT:
        requested: dict[str, list[int]] = {}
        for name, node in nodes.items():
            requested[name] = fetch(node, now)
            for index in requested[name]:
                times[index] += 1
            for other in nodes.keys() - {name}:
                nodes[other].on_origin_fetch(name, requested[name], now)
        now += 0.1
        for name, indexes in requested.items():
            answer(nodes[name], ORIGIN, indexes, now)
            for other in nodes.keys() - {name}:
                nodes[other].on_have(name, indexes)
    assert times == [1] * COUNT


def test_a_repeated_announcement_counts_for_less_long_once_an_origin_answers() -> None:
    for answers in (False, True):
        one, now = scheduler(), 0.0
        one.add("ann", having())
        one.on_origin_fetch("ann", range(3), now)
        if answers:
            answer(one, ORIGIN, fetch(one, now), 0.1)
        while now <= ANSWERING_FETCH_TIME:
            now += FETCH_TIME / 2
            one.on_origin_fetch("ann", range(3), now)
        late = one.for_origins.fetcher_of(1, ORIGIN, now)
        assert late == (None if answers else "ann")
