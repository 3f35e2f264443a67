"""The packets that a node may be sent, and the lookups that run at once."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.address import Address
from shoal.discovery.dht.pace import (
    MAX_IN_WINDOW,
    MAX_LOOKUPS,
    RESERVED_LOOKUPS,
    RESERVED_PACKETS,
    SPACING,
    WINDOW,
    LookupQueue,
    Pace,
    Priority,
)

NODE = Address("5.0.0.1", 6881)
ENOUGH = 1e-9  # seconds; a sum of floats is that exact


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=200))
def test_a_node_is_sent_no_more_than_it_tolerates(
    packets: list[tuple[bool, float]],
) -> None:
    pace, sent, now = Pace(), [], 0.0
    for is_awaited, wait in packets:
        now = max(now + wait / 20, pace.ready_at(NODE, is_awaited=is_awaited))
        pace.on_packet(NODE, now)
        sent.append(now)
    gaps = [later - earlier for earlier, later in zip(sent, sent[1:], strict=False)]
    assert all(gap >= SPACING - ENOUGH for gap in gaps)
    for start in sent:
        within = [each for each in sent if start <= each < start + WINDOW - ENOUGH]
        assert len(within) <= MAX_IN_WINDOW


def test_lookups_that_nobody_waits_for_leave_packets_to_the_others() -> None:
    pace, now = Pace(), 0.0
    for _ in range(MAX_IN_WINDOW - RESERVED_PACKETS):
        now = max(now, pace.ready_at(NODE, is_awaited=False))
        pace.on_packet(NODE, now)
    assert pace.ready_at(NODE, is_awaited=False) == WINDOW
    assert pace.ready_at(NODE, is_awaited=True) == now + SPACING < WINDOW


def test_nodes_that_were_sent_nothing_lately_are_forgotten() -> None:
    pace = Pace()
    for number in range(1000):
        pace.on_packet(Address("5.0.0.1", number + 1), number * 1.0)
    assert len(pace) == WINDOW


def test_lookups_wait_for_a_place_and_those_awaited_go_first() -> None:
    queue = LookupQueue(limit=3, reserved=1)
    kinds = [Priority.REPEATED] * 4 + [Priority.FIRST, Priority.AWAITED]
    numbers = [queue.add(kind) for kind in kinds]
    running = [queue.is_running(number) for number in numbers]
    # The third place is for lookups that somebody waits for.
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
            kind = rng.choice(list(Priority))
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
        counts = Counter(kinds[each] is Priority.AWAITED for each in running)
        assert len(running) <= MAX_LOOKUPS
        may_start = len(running) < MAX_LOOKUPS - RESERVED_LOOKUPS
        assert not (may_start and waiting), counts
    while running:
        started = queue.remove(running.pop())
        running.update(started)
        waiting.difference_update(started)
    assert not waiting
