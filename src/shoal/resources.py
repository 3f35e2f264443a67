"""What the shares of one node have in common: networks, threads, disk, limits.

`Services` owns all of it; closing it ends what was put under its care, the latest
first. It knows nothing of shares.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from shoal.config.settings import Settings
from shoal.core.limits import RateLimit
from shoal.core.names.address import Address
from shoal.core.report.counters import Tally
from shoal.core.report.events import Notice
from shoal.core.wire.framing import BufferPool
from shoal.discovery.base import Discovery
from shoal.discovery.combined import Networks
from shoal.errors import ShoalError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from shoal.core.report.status import Watchable
    from shoal.storage.disk.disk import Disk
    from shoal.storage.shared.shared_files import SharedFiles
    from shoal.storage.store import Holding
    from shoal.transport.sealed.port import Port

__all__ = ["Means", "Services"]

T = TypeVar("T")

THREADS = 4  # for hashing, writing, flushing and reading what is not cached


class Means(Struct, frozen=True, kw_only=True):
    """Hold what the parts of a swarm have in common."""

    node_id: bytes
    """What others tell this node from others by; a claim."""
    port: int
    """TCP port that others may dial."""
    threads: Executor
    """For hashing, writing, flushing and reading what is not cached."""
    rng: Random
    """For everything that is left to chance."""
    pool: BufferPool
    """Buffers of chunks."""
    up: RateLimit
    """What may be sent."""
    down: RateLimit
    """What may be asked for."""
    tally: Tally
    """Counts what was moved."""


class Services:
    """Hold what every share of a node uses."""

    def __init__(
        self,
        settings: Settings,
        *,
        disk: "Disk | None" = None,
        rng: Random | None = None,
        on_notice: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        self.settings = settings
        self.rng = rng or Random()
        self.on_notice = on_notice
        self.buffers = BufferPool()
        self.bucket = RateLimit(settings.limit_up)
        self.bucket_down = RateLimit(settings.limit_down)
        self.networks = Networks(settings)
        self.sealed_port: Port | None = None
        """Where sealed shares are reached; None while there is none."""
        self.holdings: dict[bytes, Holding] = {}
        """What is shared or being fetched, by the id of its share."""
        self.swarms: list[tuple[bytes, Watchable]] = []
        """Which swarms the node is in, each with the id of its share."""
        self.tally = Tally()
        """What was moved so far."""
        self._sources: list[SharedFiles] = []
        self.owned = AsyncExitStack()
        """What ends with the node; whatever is opened is put here."""
        self._given_disk = disk
        self._is_stopped = threading.Event()
        self.owned.callback(self._end_threads)
        self.owned.push_async_callback(self.networks.aclose)

    @cached_property
    def threads(self) -> "ThreadPoolExecutor":
        """Return the worker threads; only those who use some pay for importing them."""
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(THREADS, "shoal")

    @cached_property
    def disk(self) -> "Disk":
        """Return the disk; only those who touch one pay for importing it."""
        from shoal.storage.disk.osdisk import OsDisk

        return self._given_disk or OsDisk()

    @cached_property
    def home(self) -> "Path | None":
        """Return the folder for what this user keeps from run to run."""
        from platformdirs import user_data_path

        return user_data_path("shoal")

    @property
    def is_stopped(self) -> bool:
        """Say whether long work in a thread should end."""
        return self._is_stopped.is_set()

    def problems(self) -> tuple[str, ...]:
        """Return what does not work at the moment, in sentences for the user."""
        changed = (each.changed for each in self._sources)
        return (*self.networks.problems(), *(text for text in changed if text))

    def own_source(self, source: "SharedFiles") -> None:
        """Close files that are shared with the node, and tell when they change."""
        self._sources.append(source)
        self.owned.callback(source.close)

    def _end_threads(self) -> None:
        if "threads" in vars(self):
            self.threads.shutdown()

    async def aclose(self) -> None:
        """End everything; idempotent."""
        self._is_stopped.set()
        await self.owned.aclose()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run what blocks in a worker thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, work)

    async def join(
        self, network: Discovery, topic: bytes, port: int
    ) -> AsyncGenerator[tuple[Address, str], None]:
        """Be found on one network at `port`; yield whom it finds, and its name.

        When the network fails the user is told, and there is nobody more.
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
        """Run what takes long in a worker thread.

        `work` is given what says whether to stop. Whoever is cancelled waits until it
        has; should it have come to an end all the same, `undo` gets the result.
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
        """Run something until it ends or the node does."""
        task = asyncio.get_running_loop().create_task(work)

        async def end() -> None:
            task.cancel()
            await asyncio.wait([task])

        self.owned.push_async_callback(end)
        return task
