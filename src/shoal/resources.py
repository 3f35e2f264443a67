"""The resources of a node: threads, disk, networks, rate limits and counters.

`Resources` owns them. `aclose` also closes everything else that was registered with
it, the latest first. It knows nothing about shares.
"""

import asyncio
import os
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
)
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from shoal.core.dials import DialPace
from shoal.core.names.address import Address
from shoal.core.rate_limit import RateLimit
from shoal.core.report.counters import Counters
from shoal.core.report.events import Notice, Reachable
from shoal.core.send_budget import SendBudget
from shoal.core.wire.framing import BufferPool
from shoal.errors import ShoalError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from shoal.config.settings import Settings
    from shoal.core.crypto.keys import Keys
    from shoal.core.report.status import PortMapping
    from shoal.discovery.base import Discovery
    from shoal.discovery.combined import Networks
    from shoal.storage.catalogue import Catalogue
    from shoal.storage.disk.disk import Disk
    from shoal.storage.shared.shared_files import SharedFiles

__all__ = ["Resources", "closed_error", "trim_memory"]

T = TypeVar("T")

Close: TypeAlias = Callable[[], Awaitable[object] | None]
"""Close something; a coroutine function or one that does not wait."""

LAN = "lan"  # the network that has a topic of its own

THREADS = 4  # for writing, flushing and reads that are not in the page cache
LONG_THREADS = 4  # for opening and verifying the targets of downloads
HASHING_THREADS = 4  # for hashing what is shared


class _Call:
    """One running call of the node's user."""

    def __init__(self, task: "asyncio.Task[object]") -> None:
        self.task = task
        self.is_ended = False  # by the node, which is closing
        self.over: asyncio.Future[None] = task.get_loop().create_future()


class Resources:
    """Hold the resources that all shares of a node use."""

    def __init__(
        self,
        settings: "Settings",
        *,
        disk: "Disk | None" = None,
        rng: Random | None = None,
        on_notice: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        self.settings = settings
        self.rng = rng or Random()
        """For every random choice."""
        self.on_notice = on_notice
        """Shows a message to the user."""
        self.buffers = BufferPool()
        """Buffers that chunks are received into."""
        self.up = RateLimit(settings.limit_up)
        """The upload rate of all shares together."""
        self.down = RateLimit(settings.limit_down)
        """The download rate of all shares together."""
        self.sending = SendBudget()
        """What all shares together have queued for their peers."""
        self.dials = DialPace()
        """How fast all shares together dial."""
        self.counters = Counters()
        """What this node has transferred, and how long it waited."""
        self._owned: dict[object, Close] = {}  # in the order of opening
        self._sources: dict[object, SharedFiles] = {}
        self._calls: dict[object, _Call] = {}
        self._given_disk = disk
        self._is_stopped = threading.Event()

    @cached_property
    def networks(self) -> "Networks":
        """Return the discovery networks, which are imported when first used."""
        from shoal.discovery.combined import Networks

        return Networks(self.settings, on_mapped=self._on_mapped)

    def _on_mapped(self, mapping: "PortMapping") -> None:
        if mapping.is_global:
            where, how = mapping.outside, mapping.method
            text = f"Reachable from the internet at {where} ({how})."
            self.on_notice(Reachable(text, where, how))

    @cached_property
    def threads(self) -> "ThreadPoolExecutor":
        """Return the worker threads, which are imported when first used."""
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(THREADS, "shoal")

    @cached_property
    def long_threads(self) -> "ThreadPoolExecutor":
        """Return the threads for work that takes long, as verifying a target does.

        They are apart from `threads`, so that it does not delay reads and commits.
        """
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(LONG_THREADS, "shoal-long")

    @cached_property
    def hashing_threads(self) -> "ThreadPoolExecutor":
        """Return the threads that hash what is shared, which may take hours.

        They are apart from `long_threads`, so that a download can begin meanwhile.
        """
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(HASHING_THREADS, "shoal-hash")

    @cached_property
    def disk(self) -> "Disk":
        """Return the disk, which is imported when first used."""
        from shoal.storage.disk.disk import Disk

        return self._given_disk or Disk()

    @cached_property
    def home(self) -> "Path | None":
        """Return the folder for the data that this user keeps between runs."""
        from shoal.storage.home import user_home

        return user_home()

    @cached_property
    def catalogue(self) -> "Catalogue | None":
        """Return what this user has shared and fetched; None without a home."""
        from shoal.storage.catalogue import Catalogue

        if self.home is None:
            return None
        catalogue = Catalogue.of_home(self.home, self.disk)
        self.own(catalogue.close)
        return catalogue

    @property
    def is_stopped(self) -> bool:
        """Return True if long work in a thread should end."""
        return self._is_stopped.is_set()

    def problems(self) -> tuple[str, ...]:
        """Return the current problems of networks and shared files, as sentences."""
        changed = (each.changed for each in self._sources.values())
        return (*self.networks.problems(), *(text for text in changed if text))

    def own(self, close: Close) -> Callable[[], None]:
        """Call `close` when the node closes; return a function that undoes this."""
        key = object()
        self._owned[key] = close
        return lambda: self._forget(key)

    def own_source(self, source: "SharedFiles") -> Callable[[], None]:
        """Close shared files with the node, and report changes to them as problems.

        Returns a function that closes them at once instead.
        """
        key = object()
        self._owned[key] = source.close
        self._sources[key] = source

        def release() -> None:
            self._forget(key)
            source.close()

        return release

    def _forget(self, key: object) -> None:
        self._owned.pop(key, None)
        self._sources.pop(key, None)

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Run one call of the node's user; it ends with an error when the node closes.

        Raises `ShoalError` if the node is closed before or meanwhile.
        """
        if self.is_stopped:
            raise closed_error()
        task = asyncio.current_task()
        assert task is not None
        key, call = object(), _Call(task)
        self._calls[key] = call
        try:
            yield
        except asyncio.CancelledError:
            # Cancelled by `aclose`, not by the caller: then it is the node's error.
            if call.is_ended and task.uncancel() == 0:
                raise closed_error() from None
            raise
        finally:
            del self._calls[key]
            call.over.set_result(None)

    async def aclose(self) -> None:
        """End every running call with an error, then close everything; idempotent."""
        self._is_stopped.set()
        me = asyncio.current_task()
        calls = [call for call in self._calls.values() if call.task is not me]
        for call in calls:
            if not call.is_ended:
                call.is_ended = True
                call.task.cancel()
        if calls:
            await asyncio.wait([call.over for call in calls])
        async with AsyncExitStack() as stack:
            if "threads" in vars(self):
                stack.callback(self.threads.shutdown)
            if "long_threads" in vars(self):
                stack.callback(self.long_threads.shutdown)
            if "hashing_threads" in vars(self):
                stack.callback(self.hashing_threads.shutdown)
            if "networks" in vars(self):
                stack.push_async_callback(self.networks.aclose)
            owned, self._owned = self._owned, {}
            self._sources.clear()
            for close in owned.values():
                stack.push_async_callback(_finish, close)

    async def in_thread(
        self, work: Callable[[], T], undo: Callable[[T], None] = lambda result: None
    ) -> T:
        """Call a function that blocks in a worker thread.

        A caller that is cancelled, even repeatedly, waits until `work` has ended: it
        may use files that the caller closes next. `undo` gets the result, if any.
        """
        loop = asyncio.get_running_loop()
        return await _end_of(loop.run_in_executor(self.threads, work), undo)

    def join_all(
        self,
        keys: "Keys",
        port: int | None,
        is_awaited: Callable[[], bool],
        *,
        is_quiet: bool = False,
    ) -> list[AsyncGenerator[tuple[Address, str], None]]:
        """Return an iterator as of `join` for each network, with its own topic.

        With `is_quiet`, nothing is announced on the LAN, where any node can be dialled.
        """
        return [
            self.join(
                network,
                keys.lan_topic if network.name == LAN else keys.dht_topic,
                None if is_quiet and network.name == LAN else port,
                is_awaited,
            )
            for network in self.networks.discovery()
        ]

    async def join(
        self,
        network: "Discovery",
        topic: bytes,
        port: int | None,
        is_awaited: Callable[[], bool],
    ) -> AsyncGenerator[tuple[Address, str], None]:
        """Announce `port`, if any; yield the peers' addresses and the network's name.

        `is_awaited` tells whether a caller waits for them. If the network fails, the
        user is notified and the iteration ends.
        """
        try:
            found = network.join(topic, port, is_awaited=is_awaited)
            async with aclosing(found) as addresses:
                async for address in addresses:
                    if port is None or not self.networks.is_own(address, port):
                        yield address, network.name
        except ShoalError as error:
            self.on_notice(Notice(str(error)))

    async def in_stoppable_thread(
        self,
        work: Callable[[Callable[[], bool]], T],
        undo: Callable[[T], None] = lambda result: None,
        *,
        is_hashing: bool = False,
    ) -> T:
        """Call a function that takes long in a worker thread.

        `work` receives a function that returns True once it should stop. A caller that
        is cancelled waits for it, as that of `in_thread` does. With `is_hashing` it
        waits for other hashing only, and delays nothing else.
        """
        is_left = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(
            self.hashing_threads if is_hashing else self.long_threads,
            work,
            lambda: self.is_stopped or is_left.is_set(),
        )
        return await _end_of(future, undo, is_left.set)

    def own_task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run a coroutine as a task that is cancelled when the node closes.

        If it fails, the user is notified at once, and `aclose` raises its error.
        """
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._on_task_done)

        async def end() -> None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

        self.own(end)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.on_notice(
                Notice(
                    f"A background task failed ({type(error).__name__}: {error}). "
                    "Restart shoal; if it happens again, report it."
                )
            )


async def _end_of(
    work: asyncio.Future[T],
    undo: Callable[[T], None],
    stop: Callable[[], None] = lambda: None,
) -> T:
    """Return what a thread returns; if cancelled, `stop` it, wait, and `undo` it."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop()
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled() and work.exception() is None:
            undo(work.result())
        raise


async def _finish(close: Close) -> None:
    waiting = close()
    if waiting is not None:
        await waiting


def closed_error() -> ShoalError:
    """Return the error of a call on a node that is closed."""
    return ShoalError("This node is closed; open another one.")


def trim_memory() -> None:
    """Give memory that is not used any more back to the system; may take milliseconds.

    The allocator of glibc keeps what threads have freed; others do not need this.
    """
    import ctypes

    trim = (
        getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    )
    if trim is not None:
        trim(0)
