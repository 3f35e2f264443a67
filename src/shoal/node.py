"""A running shoal: its shares, its listeners and the networks it looks at.

`Node` owns discovery, worker threads and everything that serves; closing it ends
all of them, the latest first. A download ends with the call that started it.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self, TypeVar

from shoal.core.framing import BufferPool
from shoal.core.handshake import (
    DEFAULT_CHUNK_SIZE,
    DIGEST_SIZE,
    Offer,
    check_fits,
    encode_handshake,
)
from shoal.core.link import Channel, hash_channel
from shoal.discovery.base import Discovery
from shoal.errors import ShoalError
from shoal.networks import Networks
from shoal.progress import DownloadEvent, Notice
from shoal.query import ChunkQuery
from shoal.settings import Settings
from shoal.storage.disk import Disk
from shoal.storage.hashing import hash_chunks
from shoal.storage.osdisk import OsDisk
from shoal.storage.source import SourceStore
from shoal.swarm import Fetched, Swarm
from shoal.target import Target
from shoal.transport.listen import Listener
from shoal.uploads import Uploads

__all__ = ["Node", "OpenShare"]

T = TypeVar("T")

THREADS = 4  # for hashing, writing, flushing and reading what is not cached


class OpenShare:
    """An open channel that a node serves until the node is closed."""

    def __init__(self, channel: Channel, port: int, uploads: Uploads) -> None:
        self.channel = channel
        """Its `id` is what others pass to `get`."""
        self.port = port
        """TCP port that it is served on."""
        self.uploads = uploads
        """Who is connected and what was sent."""


class Node:
    """Share and fetch; an async context manager."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        disk: Disk | None = None,
        rng: Random | None = None,
        on_notice: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        """Prepare a node; without `settings` the `SHOAL_…` variables count."""
        self.settings = settings or Settings.from_environ()
        self._disk = disk or OsDisk()
        self._rng = rng or Random()
        self._on_notice = on_notice
        self._buffers = BufferPool()
        self._is_stopped = threading.Event()
        self._threads = ThreadPoolExecutor(THREADS, "shoal")
        self._networks = Networks(self.settings)
        self._owned = AsyncExitStack()
        self._owned.callback(self._threads.shutdown)
        self._owned.push_async_callback(self._networks.aclose)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End everything that serves and looks for peers; idempotent."""
        self._is_stopped.set()
        await self._owned.aclose()

    def problems(self) -> tuple[str, ...]:
        """Return what does not work at the moment, in sentences for the user."""
        return self._networks.problems()

    # Sharing.

    async def share_open(
        self,
        path: Path,
        channel: Channel | None = None,
        *,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        on_hashed: Callable[[int, int], None] = lambda done, size: None,
    ) -> OpenShare:
        """Serve a file over an open channel: the one named, or a hash channel.

        `on_hashed` hears, from a thread, how many bytes of how many are hashed.
        Raises `UsageError`, `StoreError` or `NetworkError` when it cannot be.
        """
        source = await self._open_source(path, chunk_size)
        if channel is not None:
            return await self._serve(source, channel, None)
        check_fits(source.chunks)
        digests = await self._in_thread(
            partial(
                hash_chunks,
                source,
                _digest,
                progress=lambda done: on_hashed(done, source.chunks.size),
                stopped=self._is_stopped.is_set,
            )
        )
        return await self._serve_hashed(source, digests)

    async def _open_source(self, path: Path, chunk_size: int) -> SourceStore:
        source = await self._in_thread(
            partial(SourceStore.open, [path], chunk_size, disk=self._disk)
        )
        self._owned.callback(source.close)
        return source

    async def _serve_hashed(self, source: SourceStore, digests: bytes) -> OpenShare:
        chunks = source.chunks
        source.verify = Offer(digests, chunks.chunk_size, chunks.size).verifies
        starts = range(0, len(digests), DIGEST_SIZE)
        channel = hash_channel(digests[i : i + DIGEST_SIZE] for i in starts)
        return await self._serve(source, channel, encode_handshake(digests, chunks))

    async def _serve(
        self, source: SourceStore, channel: Channel, handshake: bytes | None
    ) -> OpenShare:
        """Listen, then announce: whoever finds us is answered."""
        uploads = Uploads(
            source,
            handshake,
            self._threads,
            pool=self._buffers,
            on_problem=lambda problem: self._on_notice(Notice(str(problem))),
        )
        listener = await Listener.open(
            uploads.accept, hosts=self._networks.hosts(), port=self.settings.port
        )
        self._owned.push_async_callback(uploads.aclose)
        self._owned.push_async_callback(listener.aclose)
        for network in self._networks.discovery():
            self._own_task(self._announce(network, channel.topic, listener.port))
        return OpenShare(channel, listener.port, uploads)

    async def _announce(self, network: Discovery, topic: bytes, port: int) -> None:
        """Be found on one network; what it reports is of no interest."""
        try:
            async with aclosing(network.join(topic, port)) as addresses:
                async for _ in addresses:
                    pass
        except ShoalError as error:
            self._on_notice(Notice(str(error)))

    def _own_task(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)

        async def end() -> None:
            task.cancel()
            await asyncio.wait([task])

        self._owned.push_async_callback(end)

    # Fetching.

    async def fetch_open(
        self,
        channel: Channel,
        target: Path,
        *,
        overwrite: bool = False,
        seed: bool = False,
        timeout: float | None = None,
        on_event: Callable[[DownloadEvent], None] = lambda event: None,
    ) -> OpenShare | None:
        """Fetch an open channel to `target`, from all who serve it.

        `timeout` is the longest wait for a new chunk, in seconds. With `seed` the
        share is served afterwards and returned, and a target that exists is
        verified instead of refused.
        Raises `TargetExistsError`, `NotFoundError`, `UnfinishedError`,
        `VerificationError` or another `ShoalError`.
        """
        place = await self._in_thread(
            partial(Target, target, channel, self._disk, overwrite=overwrite, seed=seed)
        )
        swarm = Swarm(
            channel,
            place.open_store,
            self._threads,
            rng=self._rng,
            pool=self._buffers,
            timeout=timeout,
            on_event=on_event,
            problems=self._networks.problems,
        )
        fetched = await swarm.run(self._networks.find(channel.topic))
        return await self._seed(target, channel, fetched) if seed else None

    async def _seed(
        self, target: Path, channel: Channel, fetched: Fetched
    ) -> OpenShare:
        source = await self._open_source(target, fetched.chunks.chunk_size)
        if fetched.offer is None:
            return await self._serve(source, channel, None)
        return await self._serve_hashed(source, fetched.offer.digests)

    async def fetch_chunk(
        self, channel: Channel, index: int, *, timeout: float | None = None
    ) -> bytes:
        """Fetch one chunk of an open channel; a hash channel's is verified.

        Raises `UsageError` when there is no such chunk and a server says so,
        `NotFoundError` or `VerificationError` when nobody gives it in time.
        """
        query = ChunkQuery(
            channel,
            index,
            rng=self._rng,
            timeout=timeout,
            problems=self._networks.problems,
        )
        return await query.run(self._networks.find(channel.topic))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, work)


def _digest(data: bytes | bytearray | memoryview) -> bytes:
    return sha256(data).digest()
