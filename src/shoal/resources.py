"""The resources of a node: threads, disk, networks, rate limits and counters.

`Resources` owns them. `aclose` also closes everything else that was registered with
it, the latest first. It knows nothing about shares.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, aclosing
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, TypeVar

from shoal.core.limits import RateLimit
from shoal.core.names.address import Address
from shoal.core.report.counters import Counters
from shoal.core.report.events import Notice
from shoal.core.wire.framing import BufferPool
from shoal.errors import ShoalError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from shoal.config.settings import Settings
    from shoal.discovery.base import Discovery
    from shoal.discovery.combined import Networks
    from shoal.storage.disk.disk import Disk
    from shoal.storage.shared.shared_files import SharedFiles

__all__ = ["Resources"]

T = TypeVar("T")

THREADS = 4  # for hashing, flushing and reads that are not in the page cache


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
        self.counters = Counters()
        """What this node has transferred, and how long it waited."""
        self.owned = AsyncExitStack()
        """Everything that ends with the node; what is opened is pushed here."""
        self._sources: list[SharedFiles] = []
        self._given_disk = disk
        self._is_stopped = threading.Event()
        self.owned.callback(self._end_threads)
        self.owned.push_async_callback(self._leave_networks)

    @cached_property
    def networks(self) -> "Networks":
        """Return the discovery networks, which are imported when first used."""
        from shoal.discovery.combined import Networks

        return Networks(self.settings)

    @cached_property
    def threads(self) -> "ThreadPoolExecutor":
        """Return the worker threads, which are imported when first used."""
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(THREADS, "shoal")

    @cached_property
    def disk(self) -> "Disk":
        """Return the disk, which is imported when first used."""
        from shoal.storage.disk.disk import Disk

        return self._given_disk or Disk()

    @cached_property
    def home(self) -> "Path | None":
        """Return the folder for the data that this user keeps between runs."""
        from platformdirs import user_data_path

        return user_data_path("shoal")

    @property
    def is_stopped(self) -> bool:
        """Return True if long work in a thread should end."""
        return self._is_stopped.is_set()

    def problems(self) -> tuple[str, ...]:
        """Return the current problems of networks and shared files, as sentences."""
        changed = (each.changed for each in self._sources)
        return (*self.networks.problems(), *(text for text in changed if text))

    def own_source(self, source: "SharedFiles") -> None:
        """Close shared files with the node, and report changes to them as problems."""
        self._sources.append(source)
        self.owned.callback(source.close)

    async def _leave_networks(self) -> None:
        if "networks" in vars(self):
            await self.networks.aclose()

    def _end_threads(self) -> None:
        if "threads" in vars(self):
            self.threads.shutdown()

    async def aclose(self) -> None:
        """Close everything; idempotent."""
        self._is_stopped.set()
        await self.owned.aclose()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Call a function that blocks in a worker thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, work)

    async def join(
        self, network: "Discovery", topic: bytes, port: int
    ) -> AsyncGenerator[tuple[Address, str], None]:
        """Announce `port` on one network; yield the addresses found and its name.

        If the network fails, the user is notified and the iteration ends.
        """
        try:
            async with aclosing(network.join(topic, port)) as addresses:
                async for address in addresses:
                    yield address, network.name
        except ShoalError as error:
            self.on_notice(Notice(str(error)))

    async def in_stoppable_thread(
        self,
        work: Callable[[Callable[[], bool]], T],
        undo: Callable[[T], None] = lambda result: None,
    ) -> T:
        """Call a function that takes long in a worker thread.

        `work` receives a function that returns True once it should stop. A caller that
        is cancelled waits until `work` has ended; `undo` gets the result, if any.
        """
        is_left = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(
            self.threads, work, lambda: self.is_stopped or is_left.is_set()
        )
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            is_left.set()
            await asyncio.wait([future])
            if not future.cancelled() and future.exception() is None:
                undo(future.result())
            raise

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

        self.owned.push_async_callback(end)
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
