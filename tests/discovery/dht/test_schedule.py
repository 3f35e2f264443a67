"""When a topic is looked up again."""

from random import Random

from shoal.core.names.address import Address
from shoal.discovery.dht.schedule import JITTER, LookupSchedule

PEER = Address("8.8.8.8", 4001)


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
