"""An event loop whose clock jumps to the next timer instead of waiting for it.

A test of an event after a minute takes no real time and does not depend on the speed of
the machine. While a worker thread is busy, the clock does not move: the work of threads
takes no virtual time. The loop waits only for threads and timers, so sockets cannot be
used in virtual time.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, Unpack

__all__ = ["STEP", "VirtualLoop", "now", "virtual_time"]

STEP = 1e-6  # virtual seconds that each round of the loop takes
PATIENCE = 20.0  # real seconds for the work of a thread, after which the test fails

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _JumpingSelector(selectors.DefaultSelector):
    """Advance the clock when there is nothing to do before the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.threads = 0
        """The number of calls that run in worker threads."""

    def select(self, timeout: float | None = None) -> Any:
        # Every round takes some time: otherwise a timer that is due in less than the
        # resolution of the clock would never fire.
        self.now += STEP
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if timeout is None or self.threads:
            events = super().select(PATIENCE)
            assert events, "the test waits for an event that cannot happen"
            return events
        self.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

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
        """Wait for the threads without a timeout in virtual time."""
        await super().shutdown_default_executor()

    def _on_thread_done(self, future: "asyncio.Future[Any]") -> None:
        self._jumping.threads -= 1


def virtual_time(
    test: Callable[P, Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Run a test on its own event loop in virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(debug=True, loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now() -> float:
    """Return the virtual time in seconds."""
    return asyncio.get_running_loop().time()
