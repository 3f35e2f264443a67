"""What callers wait for while a swarm goes about its business."""

import asyncio
from collections.abc import Callable

__all__ = ["Goal"]


class Goal:
    """Let any number wait, each for something of its own.

    Whoever changes something calls `check`.
    """

    def __init__(self) -> None:
        self._waits: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self._error: BaseException | None = None

    @property
    def is_set(self) -> bool:
        """Say whether somebody waits."""
        return bool(self._waits)

    async def reach(self, is_reached: Callable[[], bool]) -> None:
        """Wait until `is_reached` holds; raise what `end` is given, or `fail` was."""
        if self._error is not None:
            raise self._error
        if is_reached():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits[waiter] = is_reached
        try:
            await waiter
        finally:
            del self._waits[waiter]

    def check(self) -> None:
        """End every wait that is over."""
        for waiter, is_reached in self._waits.items():
            if not waiter.done() and is_reached():
                waiter.set_result(None)

    def end(self, error: BaseException) -> None:
        """End every wait with an error; later ones may do better."""
        for waiter in self._waits:
            if not waiter.done():
                waiter.set_exception(error)

    def fail(self, error: BaseException) -> None:
        """End every wait with an error, and every later one."""
        self._error = error
        self.end(error)
