"""The hours of a schedule are read, and the limits follow from them."""

import pytest

from shoal.config.kinds import SCHEDULE
from shoal.config.schedule import LimitHours, Limits, limits_at

USUAL = Limits(7.0, None)
MONDAY, FRIDAY, SATURDAY, SUNDAY = 0, 4, 5, 6


def read(*texts: str) -> tuple[LimitHours, ...]:
    found: tuple[LimitHours, ...] = SCHEDULE.read(texts)
    return found


@pytest.mark.parametrize(
    ("day", "time", "expected"),
    [
        (MONDAY, "07:59", USUAL),
        (MONDAY, "08:00", Limits(1024.0, None)),
        (FRIDAY, "17:59", Limits(1024.0, None)),
        (FRIDAY, "18:00", USUAL),
        (SATURDAY, "12:00", USUAL),
        (SATURDAY, "23:00", Limits(None, 2048.0)),
        (SUNDAY, "05:59", Limits(None, 2048.0)),
        (SUNDAY, "06:00", USUAL),
        (SATURDAY, "05:00", USUAL),
    ],
)
def test_limits_hold_in_their_hours(day: int, time: str, expected: Limits) -> None:
    schedule = read("mon-fri,08:00-18:00,up=1K", "sat,23:00-06:00,up=none,down=2K")
    hour, minute = map(int, time.split(":"))
    assert limits_at(schedule, USUAL, day, hour * 60 + minute) == expected


def test_the_first_hours_that_fit_hold_for_each_direction() -> None:
    schedule = read("00:00-24:00,down=1K", "00:00-24:00,up=2K,down=3K")
    assert limits_at(schedule, USUAL, SUNDAY, 0) == Limits(2048.0, 1024.0)
    assert limits_at((), USUAL, SUNDAY, 0) == USUAL


def test_days_may_wrap_around_the_week() -> None:
    (hours,) = read("SAT-mon,08:00-09:00,up=1K")
    assert hours.days == {SATURDAY, SUNDAY, MONDAY}


@pytest.mark.parametrize(
    "text",
    [
        *("", "up=1M", "08:00-18:00", "8-18,up=1M", "25:00-26:00,up=1M"),
        *("08:60-09:00,up=1M", "24:01-25:00,up=1M", "moon,08:00-18:00,up=1M"),
        *("mon-,08:00-18:00,up=1M", "08:00-18:00,up=fast", "08:00-18:00,left=1M"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        read(text)
