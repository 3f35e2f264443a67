"""An event loop for many simulated processes, which can be stopped and killed.

A callback belongs to the `Process` that its context names. While a process is stopped,
its callbacks are held; once it is killed, they are dropped. Work for threads runs on
the loop itself, after a delay, so one seed always gives one order of all steps.
"""

import asyncio
import contextvars
import heapq
from collections.abc import Callable
from concurrent.futures import Executor, Future
from random import Random
from typing import Any

from tests.helpers.virtual_time import STEP, VirtualLoop

__all__ = ["Killed", "Process", "SimExecutor", "SimLoop", "current_process"]

_PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar(
    "process", default=None
)
DEFAULT_WORKERS = 4  # threads of an executor that names no number
FAST_WORK = 0.002  # seconds that a call in a thread takes at most, mostly
SLOW_WORK = 0.2  # seconds that one in twenty calls takes at most


class Killed(BaseException):
    """Ends work in the middle of a call of the disk; shoal must not catch it."""


def current_process() -> "Process":
    """Return the simulated process that calls this."""
    process = _PROCESS.get()
    assert process is not None
    return process


class Process:
    """Hold the callbacks of one simulated process."""

    def __init__(self, loop: "SimLoop", name: str) -> None:
        self.name = name
        self.is_dead = False
        self.is_stopped = False
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)
        self.tasks: dict[asyncio.Task[Any], None] = {}
        """Its tasks that have not ended, in the order of their start."""
        self._loop = loop
        self._held: list[asyncio.Handle] = []

    def spawn(self, work: Any, name: str) -> asyncio.Task[Any]:
        """Run a coroutine as a task of this process, in a context of its own."""
        return self._loop.create_task(work, name=name, context=self.context.copy())

    def call(self, callback: Callable[..., object], *args: Any) -> None:
        """Call a function in this process, one round of the loop later."""
        self._loop.call_soon(callback, *args, context=self.context)

    def stop(self) -> None:
        """Hold every callback until `resume`, as SIGSTOP does."""
        self.is_stopped = True

    def resume(self) -> None:
        """Run the held callbacks, as after SIGCONT."""
        self.is_stopped = False
        held, self._held = self._held, []
        for handle in held:
            if not handle.cancelled():
                self._loop.run_soon(handle)

    def kill(self) -> None:
        """Drop every callback, now and later, as SIGKILL does."""
        self.is_dead = True
        self._loop.graves.append(self)

    def bury(self, handle: asyncio.Handle) -> None:
        """Keep a handle that does not run: its coroutine must not be closed."""
        self._held.append(handle)

    def forget(self) -> None:
        """Free the callbacks of a dead process, after the run."""
        for task in list(self.tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._held.clear()


class _Handle(asyncio.Handle):
    """A handle that runs only while its process does."""

    __slots__ = ("process",)
    process: Process | None

    def _run(self) -> None:
        if _may_run(self):
            super()._run()


class _TimerHandle(asyncio.TimerHandle):
    """A timer that runs only while its process does."""

    __slots__ = ("process",)
    process: Process | None

    def _run(self) -> None:
        if _may_run(self):
            super()._run()


def _may_run(handle: _Handle | _TimerHandle) -> bool:
    """Tell whether the process of ``handle`` runs; bury the handle with it if not."""
    process = handle.process
    if process is None or not (process.is_stopped or process.is_dead):
        return True
    process.bury(handle)
    return False


class SimExecutor(Executor):
    """Run work at once; it takes the place of every pool of threads."""

    def __init__(self, max_workers: int | None = None, *_: Any, **__: Any) -> None:
        self.workers = max_workers or DEFAULT_WORKERS

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Killed:
            raise
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop.finish_work(self)


class _Work:
    """A call that waits for its thread."""

    def __init__(self, future: "asyncio.Future[Any]", call: Callable[[], Any]) -> None:
        self.future = future
        self.begins_at = 0.0
        self.call: Callable[[], Any] | None = call

    def run(self, now: float) -> None:
        """Call the function, unless it was cancelled before a thread was free."""
        call, self.call = self.call, None
        if call is None or (self.future.cancelled() and now < self.begins_at):
            return
        try:
            result = call()
        except Killed:
            return
        except BaseException as error:
            if not self.future.done():
                self.future.set_exception(error)
        else:
            if not self.future.done():
                self.future.set_result(result)


class SimLoop(VirtualLoop):
    """A loop in virtual time whose random delays come from one generator."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self._rng = rng
        self._free_at: dict[Executor | None, list[float]] = {}
        self._working: dict[Executor | None, list[_Work]] = {}
        self.wall_offset = 0.0
        """Seconds that the clock of all machines is wrong."""
        self.graves: list[Process] = []
        """Processes that were killed."""
        self.errors: list[str] = []
        """What the loop reported to its exception handler for processes that run."""
        self.set_exception_handler(self._note_error)
        self._selector.select = self._jump  # type: ignore[attr-defined]

    def _jump(self, timeout: float | None = None) -> list[Any]:
        self._jumping.now += STEP
        assert timeout is not None, "the simulation waits for something that never is"
        if timeout > 0:
            self._jumping.now += timeout
        return []

    def _note_error(self, _: asyncio.AbstractEventLoop, context: Any) -> None:
        process = _PROCESS.get()
        if process is None or not process.is_dead:
            error = context.get("exception")
            self.errors.append(f"{context.get('message')}: {error!r}")

    def forget_all(self) -> None:
        """Free everything that is left after the run."""
        self.set_exception_handler(lambda *_: None)
        for process in self.graves:
            process.forget()
        self.graves.clear()
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        self._working.clear()

    def run_soon(self, handle: asyncio.Handle) -> None:
        """Run a handle that was held."""
        self._ready.append(handle)  # type: ignore[attr-defined]

    def _call_soon(self, callback: Any, args: Any, context: Any) -> asyncio.Handle:
        if context is None:
            context = contextvars.copy_context()
        handle = _Handle(callback, args, self, context)
        handle.process = context.get(_PROCESS)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        return self._call_soon(callback, args, context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        if context is None:
            context = contextvars.copy_context()
        timer = _TimerHandle(when, callback, args, self, context)
        timer.process = context.get(_PROCESS)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        task = super().create_task(coro, **kwargs)
        process = (kwargs.get("context") or contextvars.copy_context()).get(_PROCESS)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(process.tasks.pop)
        return task

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], Any], *, sock: Any
    ) -> tuple[Any, Any]:
        """Give a connected socket of the simulated network its protocol."""
        protocol = protocol_factory()
        protocol.connection_made(sock)
        return sock, protocol

    # Threads.

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Any, *args: Any
    ) -> "asyncio.Future[Any]":
        """Call a function after a delay, in the order that its threads allow."""
        future = self.create_future()

        def call() -> Any:
            if executor is None:
                return func(*args)
            return executor.submit(func, *args).result()

        work = _Work(future, call)
        workers = getattr(executor, "workers", 1 if executor else DEFAULT_WORKERS)
        free = self._free_at.setdefault(executor, [0.0] * workers)
        work.begins_at = max(self.time(), heapq.heappop(free))
        is_slow = self._rng.random() < 0.05
        ends_at = work.begins_at + self._rng.random() * (
            SLOW_WORK if is_slow else FAST_WORK
        )
        heapq.heappush(free, ends_at)
        waiting = self._working.setdefault(executor, [])
        waiting.append(work)

        def end() -> None:
            if work.call is not None:
                waiting.remove(work)
                work.run(self.time())

        self.call_at(ends_at, end)
        return future

    def finish_work(self, executor: Executor) -> None:
        """Do at once what this executor still has to do."""
        for work in self._working.pop(executor, []):
            work.run(self.time())
        self._working[executor] = []

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        pass
