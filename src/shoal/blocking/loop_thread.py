"""A node on an event loop in its own thread, for callers that block.

`LoopThread` starts the thread on the first call. The thread ends when the `LoopThread`
is closed or garbage-collected, or when the program exits. A forked process has none of
its parent's threads: its first call starts a new one, and it never waits for the old
one. The sockets of the parent's loop are closed in the child, so that a connection ends
when the parent closes it.
"""

import asyncio
import atexit
import os
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

from shoal.config.settings import Settings
from shoal.errors import UsageError
from shoal.node.node import Node

__all__ = ["ForkAware", "LoopThread", "on_fork"]

T = TypeVar("T")

END_TIME = 5.0  # seconds to wait for the node to close, and for the thread to end


class ForkAware(Protocol):
    """An object that exists before a fork and is used after it."""

    def after_fork(self) -> None:
        """Adapt to the child process, in which no other thread runs."""

    def __hash__(self) -> int: ...


class _Running(NamedTuple):
    """The thread that one process started, and what runs in it."""

    loop: asyncio.AbstractEventLoop
    selector: selectors.BaseSelector
    thread: threading.Thread
    node: Node
    calls: set[asyncio.Task[Any]]
    """Tasks whose result a caller waits for."""
    process: int
    """The process that has the thread; a fork of it has only the memory."""

    @property
    def is_parents(self) -> bool:
        """Return True in a forked process, in which the thread does not run."""
        return self.process != os.getpid()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop."""

        async def call() -> T:
            task = asyncio.current_task()
            assert task is not None
            self.calls.add(task)
            try:
                return await work
            finally:
                self.calls.discard(task)

        return asyncio.run_coroutine_threadsafe(call(), self.loop)

    def end(self) -> None:
        """Close the node and end the thread; raise what closing the node raises."""
        ending = asyncio.run_coroutine_threadsafe(self._end(), self.loop)
        try:
            with suppress(TimeoutError):
                ending.result(END_TIME)
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(END_TIME)

    async def _end(self) -> None:
        try:
            # Calls first: a fetch saves its chunks while the node is still open.
            await _cancel(set(self.calls))
            await self.node.aclose()
        finally:
            await _cancel(asyncio.all_tasks() - {asyncio.current_task()})
            await self.loop.shutdown_asyncgens()


class LoopThread:
    """Run coroutines with a node, for callers that block."""

    def __init__(self, settings: Settings) -> None:
        """Prepare a node with these settings; the first call starts the thread."""
        self.settings = settings
        """How the network is used."""
        self.generation = 0
        """Number of forks so far; objects of an earlier generation cannot be used."""
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._is_closed = False
        _all.add(self)
        on_fork(self)

    def begin(self, work: Callable[[Node], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run `work` with the node; return a future of its result.

        Raises `ValueError` after `close`.
        """
        running = self._start()
        if running.thread is threading.current_thread():
            raise UsageError(
                "A blocking call from this thread would wait for itself; "
                "use shoal.Node in asyncio code."
            )
        return running.begin(work(running.node))

    def call(self, work: Callable[[Node], Coroutine[Any, Any, T]]) -> T:
        """Run `work` with the node; return or raise its result.

        Raises `ValueError` after `close`, also if that is called meanwhile.
        """
        future = self.begin(work)
        try:
            return future.result()
        except CancelledError:
            raise _closed() from None
        except BaseException:
            # Ctrl-C: the caller no longer waits, so the work must end.
            future.cancel()
            raise

    def post(self, work: Callable[[], None]) -> None:
        """Call `work` on the loop soon, unless the thread has ended."""
        running = self._running
        if running is not None and not running.is_parents:
            with suppress(RuntimeError):
                running.loop.call_soon_threadsafe(work)

    def close(self) -> None:
        """Close the node and end the thread; idempotent.

        Raises what closing the node raises.
        """
        running = self._running
        if running is not None and running.is_parents:
            # Other libraries drop objects in a forked process before it calls us.
            self.after_fork()
        with self._lock:
            self._is_closed = True
            running, self._running = self._running, None
        if running is None:
            return
        if running.thread is threading.current_thread():
            # Garbage collection ran on the loop, whose thread cannot join itself.
            threading.Thread(target=running.end, daemon=True).start()
        else:
            running.end()

    def _start(self) -> _Running:
        with self._lock:
            if self._is_closed:
                raise _closed()
            if self._running is None:
                self._running = _start(self.settings)
            return self._running

    def after_fork(self) -> None:
        """Drop the parent's thread and close its sockets in this process."""
        self._lock = threading.Lock()
        self.generation += 1
        running, self._running = self._running, None
        if running is not None and running.is_parents:
            _parents.append(running)
            with suppress(OSError, RuntimeError):
                _close_sockets(running)

    def __del__(self) -> None:
        self.close()


def _start(settings: Settings) -> _Running:
    selector = selectors.DefaultSelector()
    loop = asyncio.SelectorEventLoop(selector)
    thread = threading.Thread(target=_run, args=(loop,), name="shoal", daemon=True)
    thread.start()

    async def make() -> Node:
        return Node(settings)

    try:
        node = asyncio.run_coroutine_threadsafe(make(), loop).result()
    except BaseException:
        loop.call_soon_threadsafe(loop.stop)
        raise
    return _Running(loop, selector, thread, node, set(), os.getpid())


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _closed() -> ValueError:
    return ValueError("I/O operation on a closed file or node")


_all: WeakSet[LoopThread] = WeakSet()
_forked: WeakSet[ForkAware] = WeakSet()
# Never collected: their finalizers would close file descriptors of this process.
_parents: list[_Running] = []


def on_fork(thing: ForkAware) -> None:
    """Call `thing.after_fork` in every child process that this process forks."""
    _forked.add(thing)


def _close_sockets(running: _Running) -> None:
    """Close the descriptors of a loop, and open `/dev/null` under their numbers.

    The numbers must stay taken, since the objects of the loop still refer to them.
    """
    numbers = {key.fd for key in running.selector.get_map().values()}
    # The selector does not have connections from which reading is paused.
    for number, transport in list(getattr(running.loop, "_transports", {}).items()):
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.fileno() == number:
            numbers.add(number)
    fileno = getattr(running.selector, "fileno", None)
    if fileno is not None:
        numbers.add(fileno())
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for number in numbers:
            os.dup2(null, number, inheritable=False)
    finally:
        os.close(null)


def _after_fork() -> None:
    for thing in list(_forked):
        thing.after_fork()


def _at_exit() -> None:
    for loop_thread in list(_all):
        loop_thread.close()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
