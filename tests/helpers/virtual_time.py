"""An event loop whose clock jumps to the next timer instead of waiting for it.

Seconds pass at once, so a test of what happens after a minute takes no time and
depends on none. While a worker thread is at something the clock stands still: what
a thread does takes no time. Nothing but threads and timers is waited for; a socket
has no place in virtual time.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack

__all__ = ["STEP", "virtual_time"]

STEP = 1e-6  # virtual seconds that each round of the loop takes
PATIENCE = 20.0  # real seconds that a thread has; after that the test hangs

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _JumpingSelector(selectors.DefaultSelector):
    """Move the clock on when there is nothing to do until a timer is due."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.threads = 0
        """Calls that worker threads are at."""

    def select(self, timeout: float | None = None) -> Any:
        # Nothing takes no time at all, or a timer that is due in less than the
        # clock can tell would be due for ever.
        self.now += STEP
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if timeout is None or self.threads:
            events = super().select(PATIENCE)
            assert events, "nothing will ever happen any more"
            return events
        self.now += timeout
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[Ts]], T],
        *args: *Ts,
    ) -> "asyncio.Future[T]":
        future = super().run_in_executor(executor, func, *args)
        self._jumping.threads += 1
        future.add_done_callback(self._on_thread_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads, however little virtual time that may take."""
        await super().shutdown_default_executor()

    def _on_thread_done(self, future: "asyncio.Future[Any]") -> None:
        self._jumping.threads -= 1


def virtual_time(
    test: Callable[P, Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Run a test on a loop of its own, in virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(debug=True, loop_factory=_VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
