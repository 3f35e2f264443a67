"""A node on an event loop in a thread of its own, for code that has no loop.

`Background` starts the thread when it is first needed and ends it when it is closed,
when it is not used any more or when the program ends. A process that was forked has
none of its parent's threads: there the first call starts a new one, and what the
parent's loop had open is closed, so that a connection ends when the parent ends it.
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

__all__ = ["Background", "ForgetsParent", "on_fork"]

T = TypeVar("T")

END_TIME = 5.0  # seconds that the thread has to end in


class ForgetsParent(Protocol):
    """Be there before a fork and of use after it."""

    def forget_parent(self) -> None:
        """Get ready to work in the new process, which has no other thread."""

    def __hash__(self) -> int: ...


class _Running(NamedTuple):
    """Hold what one process has started."""

    loop: asyncio.AbstractEventLoop
    selector: selectors.BaseSelector
    thread: threading.Thread
    node: Node
    calls: set[asyncio.Task[Any]]
    """What somebody waits for."""

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run something on the loop."""

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
        """Close the node and end the thread."""
        with suppress(Exception):
            ending = asyncio.run_coroutine_threadsafe(self._end(), self.loop)
            ending.result(END_TIME)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(END_TIME)

    async def _end(self) -> None:
        try:
            # Calls first: a fetch puts down what it has while the node still stands.
            await _cancel(set(self.calls))
            await self.node.aclose()
        finally:
            await _cancel(asyncio.all_tasks() - {asyncio.current_task()})
            await self.loop.shutdown_asyncgens()


class Background:
    """Run what a node does for callers that block."""

    def __init__(self, settings: Settings) -> None:
        """Start nothing yet; the node is to have these settings."""
        self.settings = settings
        """How the network is used."""
        self.generation = 0
        """Goes up when what was opened before is gone: after a fork."""
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._is_closed = False
        _all.add(self)
        on_fork(self)

    def begin(self, work: Callable[[Node], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run `work` with the node; return what its result is waited for with.

        Raises `ValueError` once it is closed.
        """
        running = self._start()
        if running.thread is threading.current_thread():
            raise UsageError(
                "This would wait for itself; use shoal.Node where there is a loop."
            )
        return running.begin(work(running.node))

    def call(self, work: Callable[[Node], Coroutine[Any, Any, T]]) -> T:
        """Run `work` with the node and wait for what it returns or raises.

        Raises `ValueError` once it is closed, be it meanwhile.
        """
        future = self.begin(work)
        try:
            return future.result()
        except CancelledError:
            raise _closed() from None
        except BaseException:
            # Ctrl-C: what nobody waits for any more is not to go on.
            future.cancel()
            raise

    def post(self, work: Callable[[], None]) -> None:
        """Have something done on the loop, unless that has ended."""
        running = self._running
        if running is not None:
            with suppress(RuntimeError):
                running.loop.call_soon_threadsafe(work)

    def close(self) -> None:
        """End the node and the thread; idempotent."""
        with self._lock:
            self._is_closed = True
            running, self._running = self._running, None
        if running is None:
            return
        if running.thread is threading.current_thread():
            # The last reference went while the loop ran: it cannot wait for itself.
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

    def forget_parent(self) -> None:
        """Let go, in a process that was forked, of what its parent had started."""
        self._lock = threading.Lock()
        self.generation += 1
        running, self._running = self._running, None
        if running is not None:
            _parents.append(running)
            with suppress(OSError, RuntimeError):
                _part_with(running.selector)

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
    return _Running(loop, selector, thread, node, set())


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
    return ValueError("I/O operation on what is closed")


# What happens to all of them.

_all: WeakSet[Background] = WeakSet()
_forked: WeakSet[ForgetsParent] = WeakSet()
# Never to be collected: they would close what is not theirs any more.
_parents: list[_Running] = []


def on_fork(thing: ForgetsParent) -> None:
    """Have something told in every process that is forked from this one."""
    _forked.add(thing)


def _part_with(selector: selectors.BaseSelector) -> None:
    """Put nothing in the place of what a loop had open.

    The numbers stay taken, since objects that know them are still here.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        for key in list(selector.get_map().values()):
            os.dup2(nothing, key.fd, inheritable=False)
        fileno = getattr(selector, "fileno", None)
        if fileno is not None:
            os.dup2(nothing, fileno(), inheritable=False)
    finally:
        os.close(nothing)


def _after_fork() -> None:
    for thing in list(_forked):
        thing.forget_parent()


def _at_exit() -> None:
    for background in list(_all):
        background.close()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
