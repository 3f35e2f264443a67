"""The packets that a node may be sent, and when lookups run."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.address import Address
from shoal.discovery.dht.pace import (
    JITTER,
    MAX_IN_WINDOW,
    PACKETS,
    PLACES,
    SPACING,
    WINDOW,
    LookupQueue,
    LookupSchedule,
    Pace,
    Priority,
)

NODE = Address("5.0.0.1", 6881)
PEER = Address("8.8.8.8", 4001)
ENOUGH = 1e-9  # seconds; a sum of floats is that exact


@given(st.lists(st.tuples(st.sampled_from(Priority), st.floats(0, 5)), max_size=200))
def test_a_node_is_sent_no_more_than_it_tolerates(
    packets: list[tuple[Priority, float]],
) -> None:
    pace, sent, now = Pace(), [], 0.0
    for priority, wait in packets:
        now = max(now + wait / 20, pace.ready_at(NODE, priority))
        pace.on_packet(NODE, now)
        sent.append(now)
    gaps = [later - earlier for earlier, later in zip(sent, sent[1:], strict=False)]
    assert all(gap >= SPACING - ENOUGH for gap in gaps)
    for start in sent:
        within = [each for each in sent if start <= each < start + WINDOW - ENOUGH]
        assert len(within) <= MAX_IN_WINDOW


@pytest.mark.parametrize(
    ("last", "first"),
    [
        (Priority.SEEKING, Priority.REPEATED),
        (Priority.REPEATED, Priority.AWAITED),
        (Priority.FIRST, Priority.AWAITED),
    ],
)
def test_what_is_less_urgent_leaves_packets_to_the_others(
    last: Priority, first: Priority
) -> None:
    pace, now = Pace(), 0.0
    for _ in range(PACKETS[last]):
        now = max(now, pace.ready_at(NODE, last))
        pace.on_packet(NODE, now)
    assert pace.ready_at(NODE, last) == WINDOW
    assert pace.ready_at(NODE, first) == now + SPACING < WINDOW


def test_nodes_that_were_sent_nothing_lately_are_forgotten() -> None:
    pace = Pace()
    for number in range(1000):
        pace.on_packet(Address("5.0.0.1", number + 1), number * 1.0)
    assert len(pace) == WINDOW


def test_lookups_wait_for_a_place_and_those_awaited_go_first() -> None:
    queue = LookupQueue({Priority.AWAITED: 3, Priority.FIRST: 2, Priority.REPEATED: 2})
    kinds = [Priority.REPEATED] * 4 + [Priority.FIRST, Priority.AWAITED]
    numbers = [queue.add(kind) for kind in kinds]
    running = [queue.is_running(number) for number in numbers]
    # The third place is for lookups that a caller waits for.
    assert running == [True, True, False, False, False, True]
    assert queue.remove(numbers[5]) == []
    assert queue.remove(numbers[0]) == [numbers[4]]
    assert queue.remove(numbers[1]) == [numbers[2]]


@given(st.randoms(use_true_random=False))
def test_the_queue_starts_each_lookup_and_keeps_its_limits(rng: Random) -> None:
    queue, kinds, waiting = LookupQueue(), {}, set[int]()
    running: set[int] = set()
    for _ in range(300):
        if rng.random() < 0.5:
            kind = rng.choice(list(PLACES))
            number = queue.add(kind)
            kinds[number] = kind
            (running if queue.is_running(number) else waiting).add(number)
        elif running or waiting:
            number = rng.choice(sorted(running | waiting))
            running.discard(number)
            waiting.discard(number)
            started = queue.remove(number)
            running.update(started)
            waiting.difference_update(started)
        assert all(map(queue.is_running, running))
        for kind, places in PLACES.items():
            same = [each for each in running if kinds[each] is kind]
            assert len(same) <= places
            if len(running) < places:
                assert not any(kinds[each] is kind for each in waiting)
    while running:
        started = queue.remove(running.pop())
        running.update(started)
        waiting.difference_update(started)
    assert not waiting


def waits(schedule: LookupSchedule, count: int, *found: Address) -> list[float]:
    """Return the waits after this many lookups that each found the same."""
    result = []
    for _ in range(count):
        schedule.on_peers(found)
        result.append(schedule.next_wait(is_failure=False))
    return result


def test_while_no_peer_is_found_lookups_repeat_at_least_every_minute() -> None:
    found = waits(LookupSchedule(rng=Random(1)), 7)
    assert all(map(is_about, found, [5, 10, 20, 40, 60, 60, 60]))


def test_lookups_that_nobody_waits_for_slow_down_without_a_peer_too() -> None:
    schedule = LookupSchedule(rng=Random(1), port=4001)
    found = [schedule.next_wait(is_failure=False, is_awaited=False) for _ in range(20)]
    assert all(map(is_about, found, [5, 10, 20, 40, 80, 160, 320]))
    assert all(600 <= wait <= 900 for wait in found[7:])
    assert len(set(found)) == 20


def test_the_first_lookups_are_early_and_so_are_those_after_a_restart() -> None:
    schedule = LookupSchedule(rng=Random(1))
    for _ in range(2):
        early = []
        for _ in range(7):
            early.append(schedule.is_early)
            schedule.next_wait(is_failure=False)
        assert early == [True] * 5 + [False] * 2
        schedule.restart()


def is_about(wait: float, expected: float) -> bool:
    """Return True for a wait that is the expected one, or shorter by the jitter."""
    return (1 - JITTER) * expected <= wait <= expected


def test_once_a_peer_is_found_lookups_slow_down_to_ten_to_fifteen_minutes() -> None:
    found = waits(LookupSchedule(rng=Random(1)), 30, PEER)
    assert all(map(is_about, found, [5, 10, 20, 40, 80, 160, 320]))
    assert all(600 <= wait <= 900 for wait in found[7:])
    assert len(set(found[7:])) > 20


def test_our_own_announcement_does_not_count_as_a_peer() -> None:
    schedule = LookupSchedule(rng=Random(1), port=4001)
    assert is_about(waits(schedule, 7, PEER)[-1], 60)
    assert schedule.was_alone
    assert waits(schedule, 1, PEER, Address("8.8.8.8", 4002))[0] > 60
    assert not schedule.was_alone


def test_a_failed_lookup_is_repeated_within_a_minute() -> None:
    schedule = LookupSchedule(rng=Random(1))
    waits(schedule, 10, PEER)
    schedule.on_peers([PEER])
    assert is_about(schedule.next_wait(is_failure=True), 60)
    assert is_about(schedule.next_wait(is_failure=True, is_awaited=False), 60)
