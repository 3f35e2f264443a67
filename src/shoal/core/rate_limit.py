"""Limit how fast a node sends and receives, as its user wants; pure."""

from shoal.core.limits import LeakyBucket

__all__ = ["MAX_WAIT", "RateLimit"]

MAX_WAIT = 1.0  # seconds until a rate limit is asked again
RATE_BURST = 0.1  # seconds of a rate limit that may be moved at once after a pause


class RateLimit(LeakyBucket):
    """Keep the bytes that are sent or received at a rate, on average."""

    def __init__(self, rate: float | None = None) -> None:
        """Allow `rate` bytes per second; None is no limit."""
        super().__init__(rate or 1.0)
        self.is_limited = rate is not None
        """Whether there is a rate to keep."""

    def change(self, rate: float | None, now: float) -> None:
        """Allow another rate from now on; those that wait ask again soon."""
        self.leak(now)
        self._rate = rate or 1.0
        self.is_limited = rate is not None
        # What the former rate allowed must not take an hour at the new one.
        self.level = min(self.level, self._rate * RATE_BURST)

    def wait(self, now: float) -> float:
        """Return the seconds until the next bytes may be moved, or until to ask again.

        That is `MAX_WAIT` at most, because the rate may change meanwhile.
        """
        if not self.is_limited:
            return 0.0
        self.leak(now)
        return min(self.seconds_above(self._rate * RATE_BURST), MAX_WAIT)

    def take(self, size: int, now: float) -> None:
        """Count `size` bytes as moved; the next ones wait for any excess."""
        if self.is_limited:
            self.leak(now)
            self.level += size
