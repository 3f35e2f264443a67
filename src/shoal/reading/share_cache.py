"""What this node reads of one share, and where it comes from.

A `ShareCache` is in the swarm of one share for all of its readers, and keeps recently
read chunks and blocks in memory. What this node has on its disk is read from there.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

from shoal.core.manifest.blocks import BLOCK_SIZE, run_span
from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.manifest.manifest import Manifest, Missing
from shoal.core.names.link import Link
from shoal.core.schedule.readahead import (
    AHEAD_LIMIT,
    NOTHING,
    Wanted,
    wanted_for,
)
from shoal.errors import ShoalError, StoreError
from shoal.reading.read_requests import ReaderPosition, ReadRequests
from shoal.storage.chunk_cache import CACHE_SIZE, ChunkCache
from shoal.storage.disk.disk import Data
from shoal.storage.store import ChunkReader, Span
from shoal.swarm.copies import Holding, open_copy
from shoal.swarm.member import Member, Registry
from shoal.swarm.swarm import Swarm
from shoal.transfer.conditions import time_limit

__all__ = ["ShareCache"]

T = TypeVar("T")


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
        self._requests: ReadRequests | None = None  # None until something is fetched
        self._readers: set[ReaderPosition] = set()
        self._joining = asyncio.Lock()
        self._is_closed = False
        self._is_looked_up = False  # in the catalogue
        self._copy: Holding | None = None  # found there
        self._clock = asyncio.get_running_loop().time

    async def aclose(self) -> None:
        """Leave the swarm; idempotent. Pending reads raise `ShoalError`."""
        self._is_closed = True
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
                # A reader that is cancelled leaves the copy to the others.
                self._keep(await self._resources.in_thread(find, self._keep))

    def _keep(self, copy: Holding | None) -> None:
        """Read from this copy until the cache is closed, which may have happened."""
        if copy is not None and self._is_closed:
            copy.store.close()
        elif copy is not None:
            self._registry.copies[self.link.id] = self._copy = copy

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
        return self._requests.cache.have if self._requests is not None else None

    @property
    def ahead_limit(self) -> int:
        """Return how many bytes each reader may request, so that all fit in memory."""
        return min(AHEAD_LIMIT, CACHE_SIZE // 2 // max(len(self._readers), 1))

    @property
    def positions(self) -> frozenset[int]:
        """Return the chunks that readers wait for, or read last."""
        return frozenset(r.current for r in self._readers if r.current is not None)

    def add_reader(self, chunks: Chunks) -> ReaderPosition:
        """Return the position of a new reader."""
        reader = ReaderPosition(chunks)
        self._readers.add(reader)
        return reader

    def remove_reader(self, reader: ReaderPosition) -> None:
        """Forget a reader; cancel the requests that no other reader shares."""
        self._readers.discard(reader)
        wanted, reader.wanted = reader.wanted, NOTHING
        if self._requests is not None:
            self._requests.cancel(wanted.chunks)

    async def piece(
        self,
        reader: ReaderPosition,
        first: int,
        edge: int,
        timeout: float | None,
        *,
        leads: bool = False,
    ) -> tuple[int, Data]:
        """Return the offset and the bytes of the block or chunk that has byte `first`.

        The bytes up to `edge` are fetched, too; both are offsets in the share. They
        replace the reader's earlier requests. With `leads`, the first block arrives
        before the rest of its chunk. Raises `NotFoundError` or `VerificationError` when
        no peer sends it within `timeout` seconds.
        """
        chunks = reader.chunks
        index = first // chunks.chunk_size
        block = (first - chunks.offset(index)) // BLOCK_SIZE
        requests = self._requests
        is_in_parts = requests is not None and requests.is_in_parts(index)
        by_blocks = leads or is_in_parts
        wanted = wanted_for(chunks, first, edge, by_blocks=by_blocks)
        run = next((each for each in wanted.runs if each.index == index), None)

        def find(cache: ChunkCache) -> tuple[int, Data] | None:
            data = cache.look(index)
            if data is not None:
                return chunks.offset(index), data
            data = cache.look_block(index, block)
            if data is not None:
                return chunks.offset(index) + block * BLOCK_SIZE, data
            return None

        async def read_stored(store: ChunkReader) -> tuple[int, Data]:
            span = Span(index, 0, chunks.length(index))
            if run is not None:
                span = Span(index, *run_span(chunks, run))
            return chunks.offset(index) + span.first, await self._read(store, span)

        reader.current = index
        return await self._get(reader, wanted, find, read_stored, timeout)

    def peek(self, chunks: Chunks, offset: int) -> tuple[int, Data] | None:
        """Return the offset and bytes of what is in memory at an offset of the share.

        Thread-safe. What this node has on its disk is not found.
        """
        requests = self._requests
        if requests is None:
            return None
        index, place = divmod(offset, chunks.chunk_size)
        found = requests.cache.peek(index, place // BLOCK_SIZE)
        return (chunks.offset(index) + found[0], found[1]) if found else None

    def move(self, reader: ReaderPosition, first: int, edge: int) -> None:
        """Fetch bytes `first` to `edge - 1` for a reader, which does not wait.

        They replace its earlier requests.
        """
        requests, swarm = self._requests, self.swarm
        if requests is None or swarm is None or self._resources.is_stopped:
            return
        index = first // reader.chunks.chunk_size
        by_blocks = requests.is_in_parts(index)
        wanted = wanted_for(reader.chunks, first, edge, by_blocks=by_blocks)
        reader.current = index
        manifest = swarm.manifest
        if manifest is not None:
            indexes = range(index, wanted.last + 1)
            swarm.want_pages(manifest.missing_hashes(indexes))
        requests.move(reader, wanted)

    async def chunk(
        self, reader: ReaderPosition, index: int, timeout: float | None
    ) -> Data:
        """Return a whole chunk; raises as `piece` does."""

        async def read_stored(store: ChunkReader) -> Data:
            return await self._read(store, Span(index, 0, reader.chunks.length(index)))

        reader.current = index
        wanted = Wanted(range(index, index + 1), ())
        find = partial(ChunkCache.look, index=index)
        return await self._get(reader, wanted, find, read_stored, timeout)

    async def _get(
        self,
        reader: ReaderPosition,
        wanted: Wanted,
        find: Callable[[ChunkCache], T | None],
        read_stored: Callable[[ChunkReader], Awaitable[T]],
        timeout: float | None,
    ) -> T:
        """Request what is `wanted`; return what `find` finds as soon as it is there.

        What this node shares or fetches to the disk is read by `read_stored` instead.
        """
        index = reader.current
        assert index is not None
        requests = self._requests
        found = find(requests.cache) if requests is not None else None
        if requests is not None and found is not None:
            requests.move(reader, wanted)
            return found
        holding = self._holding
        if (
            holding is not None
            and index in holding.store.have
            # Otherwise it is of a file that was not selected.
            and holding.manifest.hash_table.has_digest(index)
        ):
            with suppress(KeyError, StoreError):
                return await read_stored(holding.store)
        begun = self._clock()
        swarm = self.swarm
        if requests is None or swarm is None or self._resources.is_stopped:
            requests, swarm = await self._open_requests(timeout)
        cache = requests.cache
        cache.pin(index)
        try:
            fetching = self._fetch(swarm, requests, reader, wanted, find)
            if timeout is None:
                await fetching
            else:
                async with _time_limit(swarm, timeout):
                    await fetching
            found = find(cache)
            assert found is not None
            self._resources.counters.waits.add(self._clock() - begun)
            return found
        finally:
            cache.unpin(index)

    async def _fetch(
        self,
        swarm: Swarm,
        requests: ReadRequests,
        reader: ReaderPosition,
        wanted: Wanted,
        find: Callable[[ChunkCache], T | None],
    ) -> None:
        """Request what is wanted; wait until `find` finds something."""
        index = reader.current
        manifest = swarm.manifest
        assert manifest is not None
        assert index is not None
        last = wanted.last
        if last > index or not manifest.hash_table.has_digest(index):
            await self._load_hashes(swarm, range(index, last + 1))
        requests.want_first(reader, index, wanted)
        await swarm.until(lambda: find(requests.cache) is not None)

    async def _read(self, store: ChunkReader, span: Span) -> Data:
        """Read from a store of this node, in a thread if that blocks."""
        data = store.get_span_now(span)
        if data is None:
            data = await self._resources.in_thread(partial(store.get_span, span))
        return data

    async def _open_requests(self, timeout: float | None) -> tuple[ReadRequests, Swarm]:
        """Return what requests for the readers, and the swarm that it requests from."""
        swarm = await self._join()
        if self._requests is None:
            async with _time_limit(swarm, timeout):
                manifest = await swarm.load(lambda m: ())
            # Another reader may have opened it meanwhile.
            if self._requests is None:
                self._requests = ReadRequests(swarm, manifest, self._readers)
        return self._requests, swarm

    async def _load_hashes(self, swarm: Swarm, indexes: range) -> None:
        """Request the hashes of `indexes`; wait for that of the first."""
        manifest = swarm.manifest
        assert manifest is not None
        swarm.want_pages(manifest.missing_hashes(indexes))
        await swarm.load(lambda m: m.missing_hashes(indexes[:1]))


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
