"""Measure the rate of a growing count over the last seconds; pure."""

from collections import deque

__all__ = ["RateMeter"]

AVERAGED = 3.0  # seconds


class RateMeter:
    """Average the growth of a count over the last `AVERAGED` seconds."""

    def __init__(self, now: float, count: int = 0) -> None:
        """Begin with a count."""
        self._samples: deque[tuple[float, int]] = deque([(now, count)])

    def rate(self, now: float, count: int) -> float:
        """Note the present count; return its growth per second."""
        self._samples.append((now, count))
        while len(self._samples) > 2 and self._samples[1][0] <= now - AVERAGED:
            self._samples.popleft()
        then, before = self._samples[0]
        return (count - before) / (now - then) if now > then else 0.0
