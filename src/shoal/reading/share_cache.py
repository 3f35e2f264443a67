"""The chunks that this node reads of shares, and the swarms they come from.

A `ShareCache` is in the swarm of one share for all of its readers, and keeps recently
read chunks in memory. `ShareCaches` has one for each link, and keeps it for a while
after its last reader is closed: a program that lists files often opens one next.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest, Missing
from shoal.core.names.link import Link
from shoal.errors import ShoalError, StoreError
from shoal.reading.file import AHEAD_LIMIT
from shoal.reading.memory_writer import MemoryWriter
from shoal.storage.chunk_cache import CACHE_SIZE, ChunkCache
from shoal.storage.disk.disk import Data
from shoal.swarm.copies import Holding, open_copy
from shoal.swarm.member import Member, Registry
from shoal.swarm.swarm import ChunkSource, Swarm
from shoal.transfer.conditions import time_limit
from shoal.transfer.download import Download

__all__ = ["ReaderPosition", "ShareCache", "ShareCaches"]

LINGER = 30.0  # seconds in the swarm after the last reader is closed


class ReaderPosition:
    """Hold which chunks one reader requests: that at its position, and those ahead."""

    def __init__(self) -> None:
        self.requested = range(0)
        """Indexes of chunks."""
        self.current: int | None = None
        """The chunk that the reader waits for, or read last; None at first."""


class ShareCache:
    """Read one share: join its swarm, request chunks, keep those read recently."""

    def __init__(self, registry: Registry, link: Link) -> None:
        """Prepare a cache; it joins the swarm when something is first requested."""
        self.link = link
        self.users = 0
        """Number of `ShareCaches.enter` calls that were not left again."""
        self._registry = registry
        self._resources = registry.resources
        self._member: Member | None = None
        self._cache: ChunkCache | None = None
        self._download: Download[ChunkSource] | None = None  # into the cache
        self._readers: set[ReaderPosition] = set()
        self._joining = asyncio.Lock()
        self._is_looked_up = False  # in the catalogue
        self._copy: Holding | None = None  # found there
        self._clock = asyncio.get_running_loop().time

    async def aclose(self) -> None:
        """Leave the swarm; idempotent. Pending reads raise `ShoalError`."""
        if self._member is not None:
            self._member.swarm.on_error(_closed())
            try:
                await self._member.swarm.stop()
            finally:
                await self._member.aclose()
        if self._copy is not None:
            if self._registry.copies.get(self.link.id) is self._copy:
                del self._registry.copies[self.link.id]
            self._copy.store.close()  # at the exit of a program there are no threads

    # The manifest.

    async def load(self, missing: Missing, timeout: float | None) -> Manifest:
        """Return the manifest once `missing` returns no more pages of it to load.

        Raises `NotFoundError` when that takes more than `timeout` seconds.
        """
        await self._look_up()
        holding = self._holding
        if holding is not None and not any(True for _ in missing(holding.manifest)):
            return holding.manifest
        swarm = await self._join()
        async with _time_limit(swarm, timeout):
            return await swarm.load(missing)

    @property
    def _holding(self) -> Holding | None:
        """Return what this node shares or fetches, or else the copy on the disk."""
        return self._registry.holdings.get(self.link.id) or self._copy

    async def _look_up(self) -> None:
        """Open the copy that the user has fetched or shared before, if there is one."""
        if self._is_looked_up or self._holding is not None:
            return
        async with self._joining:
            if not self._is_looked_up and not self._resources.is_stopped:
                self._is_looked_up = True
                find = partial(open_copy, self._resources, self.link.id)
                self._copy = await self._resources.in_thread(find)
                if self._copy is not None:
                    self._registry.copies[self.link.id] = self._copy

    async def _join(self) -> Swarm:
        async with self._joining:
            if self._resources.is_stopped:
                raise _closed()
            if self._member is None:
                port = await self._registry.port()
                member = Member(self._registry, self.link, port, yields=True)
                if self._copy is not None:
                    member.swarm.know(self._copy.manifest)
                self._member = await member.__aenter__()
            return self._member.swarm

    @property
    def manifest(self) -> Manifest | None:
        """Return the manifest with the pages loaded so far; None before the root."""
        holding = self._holding
        if holding is not None:
            return holding.manifest
        return self.swarm.manifest if self.swarm is not None else None

    @property
    def swarm(self) -> Swarm | None:
        """Return the swarm of the share; None before it is joined."""
        return self._member.swarm if self._member is not None else None

    # The chunks.

    @property
    def have(self) -> Bitfield | None:
        """Return which chunks are in memory; None before the first is requested."""
        return self._cache.have if self._cache is not None else None

    @property
    def ahead_limit(self) -> int:
        """Return how many bytes each reader may request, so that all fit in memory."""
        return min(AHEAD_LIMIT, CACHE_SIZE // 2 // max(len(self._readers), 1))

    @property
    def positions(self) -> frozenset[int]:
        """Return the chunks that readers wait for, or read last."""
        return frozenset(r.current for r in self._readers if r.current is not None)

    def add_reader(self) -> ReaderPosition:
        """Return the position of a new reader."""
        reader = ReaderPosition()
        self._readers.add(reader)
        return reader

    def remove_reader(self, reader: ReaderPosition) -> None:
        """Forget a reader; cancel the requests that no other reader shares."""
        self._readers.discard(reader)
        requested, reader.requested = reader.requested, range(0)
        self._cancel(requested)

    async def chunk(
        self, reader: ReaderPosition, indexes: range, timeout: float | None
    ) -> Data:
        """Return the first of the chunks that a reader requests; fetch all of them.

        `indexes` replaces the reader's earlier requests. Raises `NotFoundError` or
        `VerificationError` when no peer sends the first chunk within `timeout` seconds.
        """
        index = reader.current = indexes.start
        if self._cache is not None:
            data = self._cache.look(index)
            if data is not None:
                self._move(reader, indexes)
                return data
        if self._holding is not None:
            data = await self._stored(index)
            if data is not None:
                return data
        begun = self._clock()
        cache, swarm = self._cache, self.swarm
        if cache is None or swarm is None or self._resources.is_stopped:
            cache, swarm = await self._open_cache(timeout)
        cache.pin(index)
        try:
            fetching = self._fetch(swarm, cache, reader, indexes)
            if timeout is None:
                await fetching
            else:
                async with _time_limit(swarm, timeout):
                    await fetching
            data = cache.look(index)
            assert data is not None
            self._resources.counters.waits.add(self._clock() - begun)
            return data
        finally:
            cache.unpin(index)

    async def _fetch(
        self,
        swarm: Swarm,
        cache: ChunkCache,
        reader: ReaderPosition,
        indexes: range,
    ) -> None:
        """Request all of `indexes`; wait for the first."""
        index = indexes.start
        manifest = swarm.manifest
        assert manifest is not None
        if len(indexes) > 1 or not manifest.hash_table.has_digest(index):
            await self._load_hashes(swarm, indexes)
        assert self._download is not None
        self._download.want_first(index)
        self._move(reader, indexes, index)
        cache.make_room(index)  # while the request is on its way
        await swarm.until_verified(index)

    async def _stored(self, index: int) -> Data | None:
        """Return a chunk that is on this node's disk; None if it must be fetched."""
        holding = self._holding
        if holding is None or index not in holding.store.have:
            return None
        if not holding.manifest.hash_table.has_digest(index):
            return None  # of a file that was not selected
        try:
            data = holding.store.get_now(index)
            if data is None:
                read = partial(holding.store.get, index)
                data = await self._resources.in_thread(read)
        except (KeyError, StoreError):
            return None
        return data

    async def _open_cache(self, timeout: float | None) -> tuple[ChunkCache, Swarm]:
        """Return the cache and the swarm that fills it."""
        swarm = await self._join()
        if self._cache is None:
            async with _time_limit(swarm, timeout):
                manifest = await swarm.load(lambda m: ())
            # Another reader may have opened it meanwhile.
            if self._cache is None:
                self._cache = ChunkCache(manifest.chunks, self._on_forgotten)
                self._download = swarm.begin(
                    self._cache, (), serves=False, make_writer=MemoryWriter
                )
        return self._cache, swarm

    async def _load_hashes(self, swarm: Swarm, indexes: range) -> None:
        """Request the hashes of `indexes`; wait for that of the first."""
        manifest = swarm.manifest
        assert manifest is not None
        swarm.want_pages(manifest.missing_hashes(indexes))
        await swarm.load(lambda m: m.missing_hashes(indexes[:1]))

    def _move(
        self, reader: ReaderPosition, indexes: range, requested: int | None = None
    ) -> None:
        """Request the chunks of a reader, except the one already `requested`.

        Its earlier requests are cancelled, unless they are among these.
        """
        before, reader.requested = reader.requested, indexes
        if before == indexes or self._download is None or self._cache is None:
            return
        have = self._cache.have
        dropped = [index for index in _minus(before, indexes) if index not in have]
        if dropped:
            self._cancel(dropped)
        fresh = [
            index
            for index in _minus(indexes, before)
            if index != requested and index not in have
        ]
        if fresh:
            assert self.swarm is not None
            manifest = self.swarm.manifest
            assert manifest is not None
            known = [index for index in fresh if manifest.hash_table.has_digest(index)]
            if known:
                self._download.want(known)

    def _cancel(self, indexes: Iterable[int]) -> None:
        """Cancel requests for chunks, except those that a reader still requests."""
        cache = self._cache
        if cache is None or self._download is None:
            return
        unused = [
            index
            for index in indexes
            if index not in cache.have
            and not cache.is_pinned(index)
            and not any(index in reader.requested for reader in self._readers)
        ]
        if unused:
            self._download.unwant(unused)

    def _on_forgotten(self, index: int) -> None:
        """Note that the cache has dropped a chunk, so that it can be fetched again."""
        assert self._download is not None
        self._download.forget(index)


class ShareCaches:
    """Keep one `ShareCache` for each link that is read."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._open: dict[Link, ShareCache] = {}
        self._idle: dict[Link, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def enter(self, link: Link) -> ShareCache:
        """Return the cache of a share; call `leave` when done."""
        timer = self._idle.pop(link, None)
        if timer is not None:
            timer.cancel()
        cache = self._open.get(link)
        if cache is None:
            cache = self._open[link] = ShareCache(self._registry, link)
        cache.users += 1
        return cache

    def positions(self, share_id: bytes) -> frozenset[int]:
        """Return the chunks of a share that readers wait for, or read last."""
        found = [c.positions for c in self._open.values() if c.link.id == share_id]
        return frozenset().union(*found)

    def leave(self, cache: ShareCache) -> None:
        """Undo one `enter`; after the last, the cache is closed in `LINGER` seconds."""
        cache.users -= 1
        if not cache.users and self._open.get(cache.link) is cache:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(LINGER, self._close, cache.link)
            self._idle[cache.link] = timer

    async def aclose(self) -> None:
        """Leave every swarm; idempotent.

        Raises what went wrong while leaving one, then or earlier.
        """
        for timer in self._idle.values():
            timer.cancel()
        for link in list(self._open):
            self._close(link)
        closing, self._closing = self._closing, set()
        if closing:
            await asyncio.wait(closing)
        for task in closing:
            task.result()

    def _close(self, link: Link) -> None:
        self._idle.pop(link, None)
        task = asyncio.get_running_loop().create_task(self._open.pop(link).aclose())
        self._closing.add(task)
        task.add_done_callback(self._on_closed)

    def _on_closed(self, task: asyncio.Task[None]) -> None:
        """Forget a task that ended well; keep one that failed, for `aclose`."""
        if not task.cancelled() and task.exception() is None:
            self._closing.discard(task)


@asynccontextmanager
async def _time_limit(swarm: Swarm, timeout: float | None) -> AsyncIterator[None]:
    """Raise the swarm's reason if the block takes more than `timeout` seconds."""
    try:
        async with time_limit(timeout):
            yield
    except TimeoutError:
        assert timeout is not None
        raise swarm.why_nothing_came(timeout) from None


def _closed() -> ShoalError:
    return ShoalError("The node that reads this share is closed; open another one.")


def _minus(some: range, others: range) -> Iterable[int]:
    """Return the numbers in `some` that are not in `others`, ascending."""
    if some.stop <= others.start or others.stop <= some.start:
        return some
    before = range(some.start, min(others.start, some.stop))
    return chain(before, range(max(others.stop, some.start), some.stop))
