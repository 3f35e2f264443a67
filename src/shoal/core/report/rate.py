"""How fast something went over the last seconds."""

from collections import deque

__all__ = ["RateMeter"]

SPAN = 3.0  # seconds that are averaged over


class RateMeter:
    """Average a growing count over the last `SPAN` seconds."""

    def __init__(self, now: float, count: int = 0) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now, count)])

    def rate(self, now: float, count: int) -> float:
        """Note the present count; return its growth per second."""
        self._samples.append((now, count))
        while len(self._samples) > 2 and self._samples[1][0] <= now - SPAN:
            self._samples.popleft()
        then, before = self._samples[0]
        return (count - before) / (now - then) if now > then else 0.0
