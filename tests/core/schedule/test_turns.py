"""Check who is served next, and to how many receivers a node sends at once."""

from collections import deque

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.turns import (
    FADING,
    FIRST_LIMIT,
    HELD_TIME,
    IN_ORDER,
    MAX_COMPARED,
    PERIOD,
    ROUNDS,
    Contributions,
    SendingLimit,
    Turns,
)


def downloading() -> Contributions[str]:
    return Contributions(lambda: False)


def complete() -> Contributions[str]:
    return Contributions(lambda: True)


def test_while_it_downloads_a_node_prefers_peers_that_sent_it_verified_chunks() -> None:
    contributions = downloading()
    contributions.on_verified("a")
    for _ in range(2):
        contributions.on_verified("b")
    assert sorted("cab", key=contributions.rank) == ["c", "a", "b"]


def test_what_a_peer_sent_long_ago_counts_less() -> None:
    contributions = downloading()
    for _ in range(FADING):
        contributions.on_verified("early")
    for _ in range(FADING * 3 // 4):
        contributions.on_verified("late")
    assert contributions.rank("late") > contributions.rank("early")


def test_a_peer_that_says_it_has_much_gains_nothing() -> None:
    contributions = downloading()
    for index in range(100):
        contributions.on_have("liar", index)
    assert contributions.rank("liar") == contributions.rank("other") == 0


def test_a_complete_node_prefers_peers_whose_chunks_others_have_too() -> None:
    contributions = complete()
    for index in range(3):
        contributions.on_sent("fast", index, is_first=True)
        contributions.on_sent("slow", 10 + index, is_first=True)
        contributions.on_have("other", index)
    contributions.on_have("other", 10)
    assert contributions.rank("fast") == 0
    assert contributions.rank("slow") == -2


def test_a_peer_cannot_pass_a_chunk_on_to_itself() -> None:
    contributions = complete()
    contributions.on_sent("a", 0, is_first=True)
    contributions.on_have("a", 0)
    assert contributions.rank("a") == -1


def test_a_chunk_that_others_are_given_or_join_with_does_not_count() -> None:
    contributions = complete()
    for index in range(3):
        contributions.on_sent("a", index, is_first=True)
    contributions.on_sent("b", 0, is_first=False)
    have = Bitfield(3)
    have.add(1)
    contributions.on_peer_joined("c", have)
    assert contributions.rank("a") == -1


def test_a_peer_that_returns_starts_anew() -> None:
    for contributions in (downloading(), complete()):
        contributions.on_verified("a")
        contributions.on_sent("a", 0, is_first=True)
        contributions.remove("a")
        assert contributions.rank("a") == 0
        contributions.on_have("b", 0)
        assert contributions.rank("a") == 0


def test_one_turn_of_a_few_is_in_order_and_the_others_go_to_the_best() -> None:
    turns: Turns[int] = Turns(float)
    waiting = deque(range(2 * IN_ORDER))
    taken = [turns.take(waiting) for _ in range(2 * IN_ORDER)]
    best = list(reversed(range(2, 2 * IN_ORDER)))
    assert taken == [0, *best[: IN_ORDER - 1], 1, *best[IN_ORDER - 1 :]]


def test_of_equals_the_first_has_its_turn_so_nobody_starves() -> None:
    turns: Turns[int] = Turns(lambda _: 0.0)
    waiting = deque(range(10))
    assert [turns.take(waiting) for _ in range(10)] == list(range(10))


def test_the_best_does_not_take_the_turns_in_order() -> None:
    turns: Turns[str] = Turns(lambda peer: float(peer == "best"))
    waiting = deque(["a", "b", "best", "c"])
    taken = []
    for _ in range(300):
        taken.append(turns.take(waiting))
        waiting.append(taken[-1])
    for peer in "abc":
        assert taken.count(peer) >= 300 // IN_ORDER // 4


def test_of_very_many_waiting_peers_only_some_are_compared() -> None:
    asked: list[int] = []

    def rank(peer: int) -> float:
        asked.append(peer)
        return float(peer)

    turns = Turns(rank)
    waiting = deque(range(100_000))
    turns.take(waiting)
    assert turns.take(waiting) == MAX_COMPARED
    assert len(asked) <= MAX_COMPARED + 1


class Uplink:
    """Send batches to ever more receivers that wait, at rates that share a link."""

    def __init__(self, rate: float, each: float) -> None:
        """Send `rate` bytes per second in all, and at most `each` to one receiver."""
        self.rate = rate
        self.each = each
        self.limit: SendingLimit[int] = SendingLimit()
        self.now = 0.0
        self.count = 0

    def run(self, seconds: float) -> list[int]:
        """Return the limits during these seconds."""
        limits: list[int] = []
        until = self.now + seconds
        size = 10_000
        while self.now < until:
            while self.limit.has_room(self.now):
                self.count += 1
                self.limit.on_started(self.count, self.now)
            sending = len(self.limit.receivers)
            self.now += size / min(self.rate, self.each * sending)
            self.limit.on_finished(self.limit.receivers[0])
            self.limit.on_sent(size, self.now)
            limits.append(self.limit.limit)
        return limits


def test_where_our_link_is_slow_few_are_sent_to_at_the_same_time() -> None:
    limits = Uplink(rate=1e6, each=1e9).run(300)
    assert max(limits) == 2 * FIRST_LIMIT, "more is tried"
    assert sum(limit == FIRST_LIMIT for limit in limits) > 0.8 * len(limits)


def test_where_the_receivers_are_slow_as_many_are_sent_to_as_fill_our_link() -> None:
    uplink = Uplink(rate=1e7, each=1e5)
    uplink.run(60)
    limits = uplink.run(300)
    enough = sum(limit >= 64 for limit in limits)
    assert enough > 0.8 * len(limits)
    assert max(limits) <= 256


def test_the_limit_falls_again_when_receivers_become_faster() -> None:
    uplink = Uplink(rate=1e7, each=1e5)
    uplink.run(60)
    assert uplink.limit.limit >= 64
    uplink.each = 1e9
    uplink.run(400)
    limits = uplink.run(100)
    assert min(limits) == FIRST_LIMIT


def test_receivers_that_take_nothing_do_not_hold_up_others() -> None:
    limit: SendingLimit[str] = SendingLimit()
    for receiver in "abcdefgh"[:FIRST_LIMIT]:
        assert limit.has_room(5.0)
        limit.on_started(receiver, 5.0)
    assert not limit.has_room(5.0)
    assert limit.room_at == 5.0 + HELD_TIME
    assert limit.has_room(limit.room_at)


def rounds_until_all_started(limit: SendingLimit[int], waiting: int) -> list[float]:
    """Start receivers of one host that take nothing; return when there was room."""
    now, times = 0.0, []
    for receiver in range(waiting):
        while not limit.has_room(now):
            now = limit.room_at
        limit.on_started(receiver, now, "host")
        times.append(now)
    return times


def test_as_many_more_are_sent_to_as_take_nothing() -> None:
    times = rounds_until_all_started(SendingLimit(), 500)
    assert len(set(times)) < 10
    assert max(times) <= 2 * HELD_TIME


def test_receivers_that_take_data_again_count_as_before() -> None:
    limit: SendingLimit[int] = SendingLimit()
    rounds_until_all_started(limit, 60)
    for receiver in range(60):
        limit.on_finished(receiver)
    times = rounds_until_all_started(limit, FIRST_LIMIT + 1)
    assert times == [0.0] * FIRST_LIMIT + [HELD_TIME]


def test_other_hosts_have_their_time_beside_one_that_takes_nothing() -> None:
    limit: SendingLimit[object] = SendingLimit()
    now = 0.0
    for receiver in range(4 * FIRST_LIMIT):
        while not limit.has_room(now):
            now = limit.room_at
        limit.on_started(receiver, now, "host")
    while not limit.has_room(now):
        now = limit.room_at
    limit.on_started("slow", now, "other")
    limit.has_room(now + HELD_TIME / 2)
    assert "slow" in limit.receivers


def test_nothing_is_tried_while_no_receiver_has_to_wait() -> None:
    limit: SendingLimit[str] = SendingLimit()
    for step in range(100 * ROUNDS * FIRST_LIMIT):
        assert limit.has_room(step * PERIOD)
        limit.on_sent(1000, step * PERIOD)
        assert limit.limit == FIRST_LIMIT
