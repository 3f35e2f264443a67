"""When a topic is looked up and announced again; pure.

Peers come and go most in a topic's first minutes: somebody asks before the other
has announced, two announce at once, an old entry points nowhere. So passes follow
each other quickly at first and settle at the pace that BEP 5 asks for. While nobody
else has been found they never become rarer than `retry` allows: a download that
waits for its sharer should not wait much longer than it has to.
"""

from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from shoal.core.names.address import Address

__all__ = ["INTERVAL", "RETRY", "Schedule", "Span"]


class Span(NamedTuple):
    """Bound a time from both sides."""

    shortest: float
    """Seconds."""
    longest: float
    """Seconds."""


INTERVAL = Span(600.0, 900.0)  # seconds; nodes forget a peer after 30 minutes or so
RETRY = Span(5.0, 60.0)  # seconds; the first wait, and the longest while alone


class Schedule:
    """Say after each pass over a topic how long to wait for the next."""

    def __init__(
        self,
        *,
        rng: Random,
        port: int | None = None,
        interval: Span = INTERVAL,
        retry: Span = RETRY,
    ) -> None:
        self._rng = rng
        self._port = port
        self._interval = interval
        self._retry = retry
        self._next_wait = retry.shortest
        self._is_alone = True
        self.was_alone = False
        """Whether the pass before has found nobody; not so before the first."""

    def on_peers(self, peers: Iterable[Address]) -> None:
        """Take in that a pass has found these."""
        # With our own port it is most likely our own announcement coming back;
        # which address others see us at is not known here.
        if any(peer.port != self._port for peer in peers):
            self._is_alone = False

    def next_wait(self, *, is_failure: bool) -> float:
        """Return the seconds until the next pass.

        `is_failure` says that nobody answered, or nobody took the announcement.
        """
        wait = self._next_wait
        self._next_wait = min(wait * 2, self._interval.longest)
        if self._is_alone or is_failure:
            wait = min(wait, self._retry.longest)
        elif wait >= self._interval.shortest:
            wait = self._rng.uniform(*self._interval)
        self.was_alone = self._is_alone
        self._is_alone = True
        return wait
