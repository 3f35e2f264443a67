"""The simulated time: what is due is done in order, and nothing else takes time."""

import heapq
from collections.abc import Callable
from typing import Any

__all__ = ["Clock"]


class Clock:
    """Do things at their time, and of equals in the order they were put off."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the beginning."""
        self.done = 0
        """How many things were done so far."""
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, action: Callable[..., None], *args: Any) -> None:
        """Do something at a time that is not over."""
        self._count += 1
        heapq.heappush(self._due, (when, self._count, action, args))

    def later(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        """Do something after some seconds."""
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, action, args))

    def run(self, is_over: Callable[[], bool], until: float) -> None:
        """Let time pass until `is_over`, nothing is due, or it is `until`."""
        due, pop = self._due, heapq.heappop
        while due and not is_over():
            when, _, action, args = pop(due)
            if when > until:
                return
            self.now = when
            self.done += 1
            action(*args)
