"""Rate limits for some hours of the day: `mon-fri,08:00-18:00,up=1M`; pure."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

__all__ = ["LimitHours", "Limits", "limits_at", "parse_hours"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = 24 * 60  # minutes
_TIMES = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", re.ASCII)
_NONE = "none"
UNLIMITED = 0.0  # a rate in `LimitHours`


class Limits(NamedTuple):
    """Bytes per second; None is no limit."""

    up: float | None
    down: float | None


class LimitHours(NamedTuple):
    """Some hours on some days, and the limits that hold then."""

    days: frozenset[int]
    """The days on which they begin; 0 is Monday."""
    start: int
    """In minutes since midnight."""
    end: int
    """In minutes since midnight; not above `start` if it is on the next day."""
    up: float | None
    """Bytes per second; `UNLIMITED` for no limit, None for the usual one."""
    down: float | None

    def hold(self, day: int, minute: int) -> bool:
        """Return True if a minute of a day of the week is in these hours."""
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        if minute >= self.start:
            return day in self.days
        return (day - 1) % len(DAYS) in self.days and minute < self.end


def parse_hours(text: str, parse_rate: Callable[[str], float]) -> LimitHours:
    """Read hours: days (all if left out), times, and `up=`, `down=` or both.

    `parse_rate` reads a rate. Raises `ValueError` or what it raises.
    """
    rates: dict[str, float] = {}
    days, times = frozenset(range(len(DAYS))), None
    for part in text.lower().split(","):
        name, equals, value = part.partition("=")
        if equals and name in ("up", "down"):
            rates[name] = UNLIMITED if value == _NONE else parse_rate(value)
        elif match := _TIMES.fullmatch(part):
            times = match
        else:
            days = _parse_days(text, part)
    if times is None or not rates:
        raise _not_hours(text)
    minutes = [int(each) for each in times.groups()]
    if max(minutes[::2]) > 24 or max(minutes[1::2]) > 59:
        raise _not_hours(text)
    start, end = minutes[0] * 60 + minutes[1], minutes[2] * 60 + minutes[3]
    if max(start, end) > DAY:
        raise _not_hours(text)
    return LimitHours(days, start % DAY, end, rates.get("up"), rates.get("down"))


def _parse_days(text: str, part: str) -> frozenset[int]:
    first, dash, last = part.partition("-")
    if first not in DAYS or (last if dash else first) not in DAYS:
        raise _not_hours(text)
    start, end = DAYS.index(first), DAYS.index(last or first)
    count = (end - start) % len(DAYS) + 1
    return frozenset((start + each) % len(DAYS) for each in range(count))


def _not_hours(text: str) -> ValueError:
    return ValueError(
        f"{text[:60]!r} is not a schedule; write days, times and limits, as in "
        "mon-fri,08:00-18:00,up=1M,down=none."
    )


def limits_at(
    schedule: Iterable[LimitHours], usual: Limits, day: int, minute: int
) -> Limits:
    """Return the limits at a minute of a day; of several hours, the first ones hold."""
    found: dict[str, float] = {}
    for hours in schedule:
        if hours.hold(day, minute):
            for name, rate in (("up", hours.up), ("down", hours.down)):
                if rate is not None:
                    found.setdefault(name, rate)
    rates = (found.get("up", usual.up), found.get("down", usual.down))
    return Limits(*(rate or None for rate in rates))
