"""When the next pass is due."""

from random import Random

from shoal.core.names.address import Address
from shoal.discovery.dht.schedule import Schedule

OTHER = Address("8.8.8.8", 4001)


def waits(schedule: Schedule, count: int, *found: Address) -> list[float]:
    """Return the waits after this many passes that each found the same."""
    result = []
    for _ in range(count):
        schedule.on_peers(found)
        result.append(schedule.next_wait(is_failure=False))
    return result


def test_while_nobody_is_found_a_pass_comes_every_minute_at_least() -> None:
    assert waits(Schedule(rng=Random(1)), 7) == [5, 10, 20, 40, 60, 60, 60]


def test_once_somebody_is_found_passes_settle_at_ten_to_fifteen_minutes() -> None:
    found = waits(Schedule(rng=Random(1)), 30, OTHER)
    assert found[:7] == [5, 10, 20, 40, 80, 160, 320]
    assert all(600 <= wait <= 900 for wait in found[7:])
    assert len(set(found[7:])) > 20


def test_ones_own_announcement_is_nobody() -> None:
    schedule = Schedule(rng=Random(1), port=4001)
    assert waits(schedule, 7, OTHER)[-1] == 60
    assert schedule.was_alone
    assert waits(schedule, 1, OTHER, Address("8.8.8.8", 4002))[0] > 60
    assert not schedule.was_alone


def test_a_pass_that_failed_is_made_up_for_soon() -> None:
    schedule = Schedule(rng=Random(1))
    waits(schedule, 10, OTHER)
    schedule.on_peers([OTHER])
    assert schedule.next_wait(is_failure=True) == 60
