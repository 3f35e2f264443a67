"""A rate in bytes per second, kept over time: a token bucket."""

__all__ = ["TokenBucket"]

BURST = 0.1  # seconds of the rate that may be sent at once after a pause


class TokenBucket:
    """Say when the next bytes may go, so that `rate` is kept on average."""

    def __init__(self, rate: float | None = None) -> None:
        """Allow `rate` bytes per second; None is no limit."""
        self._rate = rate
        self._tokens = rate * BURST if rate else 0.0
        self._filled_at: float | None = None

    @property
    def is_limited(self) -> bool:
        """Say whether there is a rate to keep."""
        return self._rate is not None

    def wait(self, now: float) -> float:
        """Return the seconds until something may be sent; 0 is now."""
        if self._rate is None:
            return 0.0
        self._fill(now)
        return 0.0 if self._tokens >= 0 else -self._tokens / self._rate

    def take(self, size: int, now: float) -> None:
        """Note `size` bytes as sent; what is over the rate is waited for after."""
        if self._rate is not None:
            self._fill(now)
            self._tokens -= size

    def _fill(self, now: float) -> None:
        assert self._rate is not None
        if self._filled_at is not None:
            self._tokens += (now - self._filled_at) * self._rate
            self._tokens = min(self._tokens, self._rate * BURST)
        self._filled_at = now
