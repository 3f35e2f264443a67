"""Wait for conditions while the event loop changes the state, and limit waits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from shoal.core.report.stall_timer import MAX_CHECK_GAP

__all__ = ["Conditions", "time_limit"]


class Conditions:
    """Let any number of callers wait, each for a condition of its own.

    The owner of the state calls `check` after each change.
    """

    def __init__(self) -> None:
        self._waits: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self._error: BaseException | None = None

    @property
    def is_awaited(self) -> bool:
        """Return True if a caller waits."""
        return bool(self._waits)

    async def wait(self, is_met: Callable[[], bool]) -> None:
        """Wait until `is_met` returns True; raise the error of `end` or `fail`."""
        if self._error is not None:
            raise self._error
        if is_met():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits[waiter] = is_met
        try:
            await waiter
        finally:
            del self._waits[waiter]

    def check(self) -> None:
        """End every wait whose condition is met."""
        for waiter, is_met in self._waits.items():
            if not waiter.done() and is_met():
                waiter.set_result(None)

    def end(self, error: BaseException) -> None:
        """End every wait with an error; later waits can still succeed."""
        for waiter in self._waits:
            if not waiter.done():
                waiter.set_exception(error)

    def fail(self, error: BaseException) -> None:
        """End every wait, now and later, with an error; the first error counts."""
        self._error = self._error or error
        self.end(self._error)


@asynccontextmanager
async def time_limit(seconds: float | None) -> AsyncIterator[None]:
    """Raise `TimeoutError` if the block takes longer; None is no limit.

    Time in which this process was stopped does not count.
    """
    loop = asyncio.get_running_loop()
    left, checked = seconds or 0.0, loop.time()
    timer: asyncio.TimerHandle | None = None

    def check() -> None:
        nonlocal left, checked, timer
        now = loop.time()
        left, checked = left - min(now - checked, MAX_CHECK_GAP), now
        if left <= 0:
            limit.reschedule(now)
        else:
            timer = loop.call_later(min(left, MAX_CHECK_GAP / 2), check)

    try:
        async with asyncio.timeout(None) as limit:
            if seconds is not None:
                check()
            yield
    finally:
        if timer is not None:
            timer.cancel()
