"""The simulated clock, which runs actions in the order of their times."""

import heapq
from collections.abc import Callable
from typing import Any

__all__ = ["Clock"]


class Clock:
    """Run actions at their times, those with equal times in the order of scheduling."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the start."""
        self.done = 0
        """The number of actions that have run."""
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, action: Callable[..., None], *args: Any) -> None:
        """Schedule an action for a time in the future."""
        self._count += 1
        heapq.heappush(self._due, (when, self._count, action, args))

    def later(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        """Schedule an action that runs after this many seconds."""
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, action, args))

    def run(self, is_over: Callable[[], bool], until: float) -> None:
        """Run actions until `is_over`, until none is left or until the time `until`."""
        due, pop = self._due, heapq.heappop
        while due and not is_over():
            when, _, action, args = pop(due)
            if when > until:
                return
            self.now = when
            self.done += 1
            action(*args)
