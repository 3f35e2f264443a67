"""What the readers of one share request: whole chunks, and blocks of others.

`ReadRequests` exists once the swarm of the share is joined and its sizes are known. It
owns what each reader wants, cancels what none of them wants any more, and decides
whether a chunk is fetched as a whole or in blocks. Its `MemoryWriter` verifies chunks.
"""

from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import TypeVar

from shoal.core.manifest.blocks import Run, block_count
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.manifest import Manifest
from shoal.core.schedule.readahead import NOTHING, Wanted
from shoal.storage.chunk_cache import ChunkCache
from shoal.swarm.coordinator import ChunkSource
from shoal.swarm.peer import Peer
from shoal.swarm.swarm import Swarm
from shoal.transfer.block_fetcher import BlockFetcher
from shoal.transfer.download import Download
from shoal.transfer.writer import Arrived, ChunkWriter, Opened, Outcome

__all__ = ["ReadRequests", "ReaderPosition"]

P = TypeVar("P")

ON_LOOP_SIZE = 256 * 1024  # bytes; verifying a longer chunk would delay the loop
LEAD = 2  # blocks that are requested by themselves, because a reader waits for them


class ReaderPosition:
    """Hold what one reader requests: what it waits for, and what is ahead of it."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks = chunks
        """How the share is divided."""
        self.wanted = NOTHING
        """The chunks and blocks that are fetched for it."""
        self.current: int | None = None
        """The chunk that the reader waits for, or read last; None at first."""


class MemoryWriter(ChunkWriter[P]):
    """Verify small chunks on the event loop; put them into a store in memory.

    A reader waits for each chunk, and passing a small one to a thread and back takes
    longer than hashing it. The store keeps the data in the buffer it was received into.
    """

    def put(self, arrived: Arrived[P]) -> None:
        """Take a chunk; a small one is verified before this returns."""
        if self._is_stopped:
            return
        if len(arrived.data) <= ON_LOOP_SIZE:
            self._report(self._open(arrived))
            return
        self.waiting += len(arrived.data)
        self._run(
            self._resources.threads, partial(self._open, arrived), self._on_opened
        )

    def _on_opened(self, opened: Opened[P]) -> None:
        self.waiting -= len(opened.arrived.data)
        if not self._is_stopped:
            self._report(opened)

    def _report(self, opened: Opened[P]) -> None:
        arrived, is_kept = opened.arrived, opened.outcome is Outcome.VERIFIED
        if is_kept:
            self._store.put(arrived.index, opened.data)
        if arrived.buffer is not None and (opened.plain is not None or not is_kept):
            self._resources.buffers.give(arrived.buffer)
        self._on_results([(arrived, opened.outcome)])


class ReadRequests:
    """Request what the readers of one share want."""

    def __init__(
        self, swarm: Swarm, manifest: Manifest, readers: set[ReaderPosition]
    ) -> None:
        """Start to fetch into a new cache; the owner of `readers` changes them."""
        self._manifest = manifest
        self._readers = readers
        self._cache = ChunkCache(manifest.chunks, self._on_forgotten)
        self._download: Download[ChunkSource] = swarm.begin(
            self._cache, (), serves=False, make_writer=MemoryWriter
        )
        self._blocks: BlockFetcher[Peer] = swarm.begin_blocks(
            self._cache, self._on_unavailable
        )
        self._instead: set[int] = set()  # chunks fetched because no peer has blocks

    @property
    def cache(self) -> ChunkCache:
        """Return the cache that everything is fetched into."""
        return self._cache

    def want_first(self, reader: ReaderPosition, index: int, wanted: Wanted) -> None:
        """Request what a reader wants, the chunk that it waits for before all else."""
        is_whole = index in wanted.chunks and not self.is_in_parts(index)
        if is_whole:
            self._download.want_first(index)
        self.move(reader, wanted, index if is_whole else None)
        if is_whole:
            self._cache.make_room(index)  # while the request is on its way

    def move(
        self, reader: ReaderPosition, wanted: Wanted, requested: int | None = None
    ) -> None:
        """Request what a reader wants, except the chunk that is `requested` already.

        Its earlier requests are cancelled, unless they are wanted still.
        """
        before, reader.wanted = reader.wanted, wanted
        if before == wanted:
            return
        have = self._cache.have
        dropped = [
            index for index in _minus(before.chunks, wanted.chunks) if index not in have
        ]
        if dropped or before.runs:
            self.cancel(dropped)
        fresh = [
            index
            for index in _minus(wanted.chunks, before.chunks)
            if index != requested and index not in have
        ]
        if fresh or wanted.runs:
            self._want(fresh, wanted.runs)

    def _want(self, indexes: Iterable[int], runs: Iterable[Run]) -> None:
        """Fetch chunks and runs; chunks of which we have parts are fetched as runs."""
        has_digest = self._manifest.hash_table.has_digest
        chunks = self._manifest.chunks
        known = [index for index in indexes if has_digest(index)]
        whole = [index for index in known if not self.is_in_parts(index)]
        if whole:
            self._download.want(whole)
        parts = [run for run in runs if has_digest(run.index)]
        parts += [
            Run(index, 0, block_count(chunks, index))
            for index in known
            if self.is_in_parts(index)
        ]
        if parts:
            self._blocks.want(sorted(parts), lead=LEAD)

    def is_in_parts(self, index: int) -> bool:
        """Return True if blocks of a chunk are here or are being fetched."""
        return self._cache.has_part_of(index) or self._blocks.is_fetching(index)

    def cancel(self, indexes: Iterable[int]) -> None:
        """Cancel requests for chunks and blocks that no reader wants any more."""
        cache = self._cache
        readers = [reader.wanted for reader in self._readers]
        self._blocks.keep_only(lambda run: any(each.has(run) for each in readers))
        instead = [
            index
            for index in self._instead
            if not any(each.has_part_of(index) for each in readers)
        ]
        self._instead.difference_update(instead)
        unused = [
            index
            for index in (*indexes, *instead)
            if index not in cache.have
            and index not in self._instead
            and not cache.is_pinned(index)
            and not any(index in each.chunks for each in readers)
        ]
        if unused:
            self._download.unwant(unused)

    def _on_unavailable(self, index: int) -> None:
        """Fetch a whole chunk, perhaps from an origin: no peer has its blocks."""
        self._instead.add(index)
        self._download.want((index,))

    def _on_forgotten(self, index: int) -> None:
        """Note that the cache has dropped a chunk, so that it can be fetched again."""
        self._instead.discard(index)
        self._download.forget(index)


def _minus(some: range, others: range) -> Iterable[int]:
    """Return the numbers in `some` that are not in `others`, ascending."""
    if some.stop <= others.start or others.stop <= some.start:
        return some
    before = range(some.start, min(others.start, some.stop))
    return chain(before, range(max(others.stop, some.start), some.stop))
