"""When a topic is looked up again; pure."""

from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from shoal.core.names.address import Address

__all__ = ["INTERVAL", "RETRY", "LookupSchedule", "WaitRange"]


class WaitRange(NamedTuple):
    """Bound a wait from both sides."""

    shortest: float
    """Seconds."""
    longest: float
    """Seconds."""


# docs/protocol.md, "DHT discovery"; nodes forget a peer after about 30 minutes.
INTERVAL = WaitRange(600.0, 900.0)
RETRY = WaitRange(5.0, 60.0)  # the first wait, and the longest while we are alone
JITTER = 0.25  # of a wait shorter than the interval, by which it may be shortened


class LookupSchedule:
    """Decide after each lookup of a topic how long to wait before the next.

    Peers come and go most in a topic's first minutes: one node looks the topic up
    before another has announced it, two announce at once, an old entry is out of date.
    So lookups follow each other quickly at first and slow down to `interval`
    (docs/protocol.md, "DHT discovery"). While somebody waits and no other peer has been
    found, the wait stays within `retry`: a download should not wait much longer than
    necessary for its first source. All waits are random, so that the lookups of many
    shares do not come at once.
    """

    def __init__(
        self,
        *,
        rng: Random,
        port: int | None = None,
        interval: WaitRange = INTERVAL,
        retry: WaitRange = RETRY,
    ) -> None:
        self._rng = rng
        self._port = port
        self._interval = interval
        self._retry = retry
        self._next_wait = retry.shortest
        self._is_alone = True
        self.was_alone = False
        """Whether the previous lookup found no peer; False before the first lookup."""

    def on_peers(self, peers: Iterable[Address]) -> None:
        """Note the peers that the current lookup has found."""
        # A peer with our own port is most likely our own announcement: we do not know
        # the address at which others see us.
        if any(peer.port != self._port for peer in peers):
            self._is_alone = False

    def restart(self) -> None:
        """Let the next lookups follow each other quickly, as at first."""
        self._next_wait = self._retry.shortest

    def next_wait(self, *, is_failure: bool, is_awaited: bool = True) -> float:
        """Return the seconds until the next lookup.

        `is_failure` is True if no node responded, or none accepted the announcement;
        `is_awaited` is False if nobody waits for peers.
        """
        wait = self._next_wait
        self._next_wait = min(wait * 2, self._interval.longest)
        if is_failure or (self._is_alone and is_awaited):
            wait = min(wait, self._retry.longest)
        if wait >= self._interval.shortest:
            wait = self._rng.uniform(*self._interval)
        else:
            wait *= self._rng.uniform(1 - JITTER, 1)
        self.was_alone = self._is_alone
        self._is_alone = True
        return wait
