"""What somebody waits for while a swarm goes about its business."""

import asyncio
from collections.abc import Callable

__all__ = ["Goal"]


class Goal:
    """Wait for one thing at a time; whoever changes something calls `check`."""

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._is_reached: Callable[[], bool] = lambda: False

    @property
    def is_set(self) -> bool:
        """Say whether somebody waits."""
        return self._waiter is not None

    async def reach(self, is_reached: Callable[[], bool]) -> None:
        """Wait until `is_reached` holds; raise what `fail` is given, or was."""
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        self._is_reached = is_reached
        self.check()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def check(self) -> None:
        """End the wait if it is over."""
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self._is_reached():
            waiter.set_result(None)

    def fail(self, error: BaseException) -> None:
        """End the wait with an error, and every one after it."""
        self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
