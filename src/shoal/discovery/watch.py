"""Notice that this machine's addresses have changed, or that it was asleep.

A laptop that wakes up, or moves to another network, has to listen and to announce
itself anew: its peers know an address that it no longer has. Asking the system every
two seconds works everywhere and takes less than a tenth of a millisecond.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from shoal.net.interfaces import Interface, list_interfaces

__all__ = ["ASLEEP", "WATCH_EVERY", "NetworkWatch", "watch_network"]

WATCH_EVERY = 2.0  # seconds
ASLEEP = 10.0  # seconds that a check is late, after which we were asleep or stopped


class NetworkWatch:
    """Compare the interfaces and the time with those of the last check; pure."""

    def __init__(self, interfaces: Sequence[Interface], now: float) -> None:
        """Start with these interfaces; `now` is the time of day in seconds."""
        self._interfaces = frozenset(interfaces)
        self._checked_at = now

    def has_changed(self, interfaces: Sequence[Interface], now: float) -> bool:
        """Return True if an address came or went, or if the last check is long ago.

        The time of day advances while a machine sleeps, unlike the monotonic clock. If
        a user sets it, that does no harm.
        """
        before, self._interfaces = self._interfaces, frozenset(interfaces)
        checked_at, self._checked_at = self._checked_at, now
        was_asleep = now - checked_at > WATCH_EVERY + ASLEEP
        return was_asleep or self._interfaces != before


async def watch_network(
    allowed: Sequence[str],
    on_change: Callable[[Sequence[Interface]], None],
    *,
    clock: Callable[[], float] = time.time,
) -> None:
    """Call `on_change` with the allowed interfaces after each change, until cancelled.

    While the system does not list them, they count as unchanged.
    """
    watch = NetworkWatch(_interfaces(allowed) or (), clock())
    while True:
        await asyncio.sleep(WATCH_EVERY)
        found = _interfaces(allowed)
        if found is not None and watch.has_changed(found, clock()):
            on_change(found)


def _interfaces(allowed: Sequence[str]) -> list[Interface] | None:
    try:
        return list_interfaces(allowed, must_exist=False)
    except OSError:
        return None
