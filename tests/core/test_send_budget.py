"""What waits for the sockets of all peers has one limit, on a fake clock."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.core.send_budget import (
    BUDGET,
    FREE,
    LARGE_PART,
    SLOW_SIZE,
    SLOW_TIME,
    SLOWEST,
    SMALL_PART,
    WATCH_PERIOD,
    SendBudget,
    Sending,
)
from shoal.core.wire.noise_messages import MAX_PAYLOAD

PLACES = 192  # connections of one share


class Peer:
    """A peer that takes what the test lets it take."""

    def __init__(self) -> None:
        self.queued = 0
        self.accepted = 0

    def hang_up(self) -> None:
        raise AssertionError

    def fill(self, budget: SendBudget, now: float) -> int:
        """Queue what there is room for, as soon as half of the last part is taken."""
        size = budget.room(now)
        self.queued += size
        budget.made(size)
        return size

    def take(self, size: int) -> None:
        size = min(size, self.queued)
        self.queued -= size
        self.accepted += size


def watched(budget: SendBudget, number: int) -> list[Peer]:
    peers = [Peer() for _ in range(number)]
    for peer in peers:
        budget.add(peer, 0.0)
    return peers


def test_peers_that_read_nothing_leave_room_for_one_that_does() -> None:
    budget = SendBudget()
    idle, now = watched(budget, PLACES - 1), 0.0
    for peer in idle:
        now += 0.02
        assert peer.fill(budget, now)
        peer.take(peer.queued // 2)
        peer.fill(budget, now)
    late = watched(budget, 1)[0]
    for _ in range(100):
        now += 0.02
        assert late.fill(budget, now) == SMALL_PART
        late.take(late.queued)
    assert sum(each.queued for each in idle) <= BUDGET


def test_few_peers_get_large_parts_which_hold_a_whole_batch() -> None:
    budget, now = SendBudget(), 0.0
    peers = watched(budget, 4)
    for _ in range(100):
        for peer in peers:
            now += 0.001
            assert peer.fill(budget, now) == LARGE_PART
            peer.take(peer.queued)
    assert LARGE_PART >= 2 << 20
    assert 4 * LARGE_PART < FREE


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1 << 22)), max_size=600))
def test_the_budget_is_never_exceeded(steps: list[tuple[int, int]]) -> None:
    budget, now = SendBudget(), 0.0
    peers = watched(budget, 301)
    for number, taken in steps:
        now += 0.001
        peers[number].fill(budget, now)
        peers[number - 1].take(taken)
        assert sum(peer.queued for peer in peers) <= BUDGET


def test_a_peer_that_takes_too_little_is_slow() -> None:
    budget, now = SendBudget(), 0.0
    slow, steady, idle = watched(budget, 3)
    slow.fill(budget, now)
    found: list[Sending] = []
    while not found:
        now += WATCH_PERIOD
        slow.take(SLOW_SIZE // 20)
        steady.fill(budget, now)
        steady.take(SLOW_SIZE // 5)
        found = budget.slow_peers(now)
    assert found == [slow]
    assert SLOW_TIME <= now <= SLOW_TIME + 2 * WATCH_PERIOD
    assert not idle.queued


def test_a_peer_has_its_time_from_when_something_is_queued() -> None:
    budget = SendBudget()
    peer = watched(budget, 1)[0]
    assert budget.slow_peers(100.0) == []
    peer.fill(budget, 100.0)
    assert budget.slow_peers(100.0 + SLOW_TIME - 1) == []
    assert budget.slow_peers(100.0 + SLOW_TIME) == [peer]
    budget.remove(peer)
    budget.remove(peer)
    assert budget.slow_peers(200.0) == []
    assert not budget.is_in_use


def test_where_others_wait_for_room_the_slowest_are_found_at_once() -> None:
    budget, now = SendBudget(), 0.0
    peers = watched(budget, 1000)
    for peer in peers:
        now += 0.02
        if not peer.fill(budget, now):
            break
    full = [peer for peer in peers if peer.queued]
    for peer in full[10:]:
        peer.take(1)
    found = budget.slow_peers(now)
    assert len(found) == -(-len(full) // SLOWEST)
    assert set(full[:10]) <= set(found)
    assert budget.slow_peers(now + WATCH_PERIOD) == [], "no one has waited since"


def test_bytes_that_threads_read_count_until_they_are_queued_or_dropped() -> None:
    budget, now = SendBudget(), 0.0
    coming = 0
    while size := budget.room(now):
        now += 0.02
        coming += size
    assert BUDGET - SMALL_PART < coming <= BUDGET
    budget.made(coming)
    assert budget.room(now + 0.02), "no peer has anything queued"


def test_the_end_of_much_use_is_reported_once() -> None:
    budget, now = SendBudget(), 0.0
    peers = watched(budget, 20)
    assert not budget.is_over()
    for peer in peers:
        peer.fill(budget, now)
    assert not budget.is_over()
    for peer in peers:
        peer.take(peer.queued)
    assert budget.is_over()
    assert not budget.is_over()


def test_a_small_part_is_one_full_message() -> None:
    assert SMALL_PART == MAX_PAYLOAD
