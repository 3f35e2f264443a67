"""Fetch blocks of chunks for readers, verify them, and put them into the cache.

A small read costs one round trip: the blocks come together with the hashes of all
blocks of their chunk, which give the chunk's hash. A `BlockFetcher` fetches from peers
only: an origin cannot prove a part of a chunk. Blocks that no connected peer has are
given back to the caller, who fetches the whole chunk.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Generic, Protocol, TypeVar

from shoal.core.manifest.blocks import (
    BLOCK_SIZE,
    Run,
    are_block_hashes,
    are_blocks,
    split_run,
)
from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.hash_table import HashTable
from shoal.core.schedule.block_requests import BlockScheduler
from shoal.core.session.events import BlocksReceived
from shoal.resources import Resources
from shoal.storage.chunk_cache import ChunkCache

__all__ = ["BlockFetcher", "BlockSource"]

MAX_RUN = 16  # blocks in one request, so that long runs arrive in parts
ON_LOOP_SIZE = 256 * 1024  # bytes; verifying a longer run would delay the loop


class BlockSource(Protocol):
    """Send blocks to us: a peer, told from others by identity."""

    def __hash__(self) -> int: ...

    def request_blocks(self, run: Run, *, hashes: bool) -> int:
        """Send a request for blocks; return its number."""

    def cancel_blocks(self, read: int) -> None:
        """Cancel a request for blocks."""


S = TypeVar("S", bound=BlockSource)


class BlockFetcher(Generic[S]):
    """Fetch the blocks that readers of one share wait for."""

    def __init__(
        self,
        cache: ChunkCache,
        hash_table: HashTable,
        resources: Resources,
        *,
        on_verified: Callable[[S, Run], None],
        on_wrong: Callable[[S, int], None],
        on_unavailable: Callable[[int], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Put blocks into `cache`; requests stay within the download rate.

        `on_verified` is called with the peer that sent a run, and `on_wrong` with the
        one whose blocks or hashes of a chunk are wrong. `on_unavailable` is called with
        a chunk whose blocks no peer has; they are wanted no more.
        """
        self._cache = cache
        self._hash_table = hash_table
        self._tell_verified = on_verified
        self._tell_wrong = on_wrong
        self._tell_unavailable = on_unavailable
        self._tell_error = on_error
        self._bucket = resources.down
        self._threads = resources.threads
        self._scheduler: BlockScheduler[S] = BlockScheduler()
        self._resume: asyncio.TimerHandle | None = None
        self._verifying: set[asyncio.Future[bool]] = set()
        self._is_stopped = False
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        """Accept no more blocks and wait for the threads; idempotent."""
        self._is_stopped = True
        if self._resume is not None:
            self._resume.cancel()
        if self._verifying:
            await asyncio.wait(self._verifying)

    # What readers want.

    def is_fetching(self, index: int) -> bool:
        """Return True if blocks of a chunk are being fetched."""
        return any(run.index == index for run in self._scheduler.wanted)

    def want(self, runs: Iterable[Run], *, lead: int = 0) -> None:
        """Fetch these runs, in this order, except what is here or being fetched.

        The hashes of their chunks must be known. The first `lead` blocks are requested
        by themselves, because a reader waits for them.
        """
        for run in runs:
            for missing in self._missing_in(run):
                head = Run(missing.index, missing.first, min(lead, missing.count))
                if head.count:
                    lead = 0
                    self._scheduler.want(head)
                rest = Run(
                    missing.index,
                    missing.first + head.count,
                    missing.count - head.count,
                )
                for part in split_run(rest, MAX_RUN):
                    self._scheduler.want(part)
        self._request()

    def _missing_in(self, run: Run) -> list[Run]:
        """Return the parts of a run that are neither here nor being fetched."""
        fetched = [each for each in self._scheduler.wanted if each.index == run.index]
        left = list(self._cache.missing_in(run))
        for each in fetched:
            left = [part for whole in left for part in _minus(whole, each)]
        return left

    def keep_only(self, is_wanted: Callable[[Run], bool]) -> None:
        """Cancel the requests for runs that are not wanted any more."""
        for run in self._scheduler.wanted:
            if not is_wanted(run):
                self._cancel(self._scheduler.unwant(run))

    def _cancel(self, requests: Iterable[tuple[S, int]]) -> None:
        for source, read in requests:
            source.cancel_blocks(read)

    # Peers.

    def add(self, source: S, have: Bitfield) -> None:
        """Fetch from a peer, too; its owner adds to `have` and calls `on_have`."""
        self._scheduler.add(source, have, self._loop.time())
        self._request()

    def remove(self, source: S) -> None:
        """Request from other peers what this one was asked for."""
        self._scheduler.remove(source)
        self._request()

    def on_have(self) -> None:
        """Note that a peer has more chunks."""
        if not self._scheduler.is_idle:
            self._request()

    def on_heard(self, source: S) -> None:
        """Note that bytes of any kind arrived from a peer."""
        self._scheduler.on_heard(source, self._loop.time())

    def on_refused(self, source: S, read: int, *, is_busy: bool) -> None:
        """Request refused blocks from other peers."""
        self._scheduler.on_refused(source, read, self._loop.time(), is_busy=is_busy)
        self._request()

    def on_tick(self, now: float) -> list[S]:
        """Request late blocks from other peers; return the peers that stall now."""
        stalled = self._scheduler.on_tick(now)
        self._request()
        return stalled

    # Blocks that arrive.

    def on_blocks(self, source: S, blocks: BlocksReceived) -> None:
        """Verify blocks that were requested; small ones before this returns."""
        if self._is_stopped or source not in self._scheduler:
            return
        self._scheduler.on_answer(source, blocks.read, self._loop.time())
        if not any(self._cache.missing_in(blocks.run)):
            self._scheduler.on_failed(source, blocks.run, is_lacking=False)
            return
        run, hashes = blocks.run, blocks.hashes
        if hashes is None:
            hashes = self._cache.block_hashes.find(run.index)
        if hashes is None:
            # They were forgotten meanwhile; next time they are requested, too.
            self._scheduler.on_failed(source, run, is_lacking=False)
            self._request()
            return
        verify = partial(self._verify, blocks, hashes)
        if len(blocks.data) <= ON_LOOP_SIZE:
            self._on_verified(source, blocks, verify())
            return
        job = self._loop.run_in_executor(self._threads, verify)
        self._verifying.add(job)
        job.add_done_callback(partial(self._on_job_done, source, blocks))

    def _verify(self, blocks: BlocksReceived, hashes: bytes) -> bool:
        """Return True if blocks are right; may run in a thread."""
        index = blocks.run.index
        if blocks.hashes is not None:
            length = self._cache.chunks.length(index)
            digest = self._hash_table.digest(index)
            if not are_block_hashes(hashes, length, digest):
                return False
        return are_blocks(blocks.data, blocks.run.first, hashes)

    def _on_job_done(
        self, source: S, blocks: BlocksReceived, job: asyncio.Future[bool]
    ) -> None:
        self._verifying.discard(job)
        if self._is_stopped:
            return
        try:
            self._on_verified(source, blocks, job.result())
        except BaseException as error:
            self._tell_error(error)

    def _on_verified(self, source: S, blocks: BlocksReceived, is_right: bool) -> None:
        run = blocks.run
        if not is_right:
            self._scheduler.on_failed(source, run)
            self._tell_wrong(source, run.index)
            self._request()
            return
        if blocks.hashes is not None:
            self._cache.block_hashes.add(run.index, blocks.hashes)
        self._cancel(self._scheduler.on_verified(source, run))
        self._cache.put_blocks(run, blocks.data)
        self._tell_verified(source, run)
        self._request()

    # Requesting.

    def _request(self) -> None:
        """Send the requests that may be sent now."""
        if self._is_stopped:
            return
        for index in dict.fromkeys(
            run.index for run in self._scheduler.take_unavailable()
        ):
            self._tell_unavailable(index)
        now = self._loop.time()
        while self._may_request(now):
            request = self._scheduler.next_request(now)
            if request is None:
                return
            source, run = request
            is_unknown = run.index not in self._cache.block_hashes
            read = source.request_blocks(run, hashes=is_unknown)
            self._scheduler.on_sent(source, run, read, now)
            self._bucket.take(run.count * BLOCK_SIZE, now)

    def _may_request(self, now: float) -> bool:
        """Return True if the download rate allows a request; resume when it does."""
        wait = self._bucket.wait(now)
        if wait > 0 and self._resume is None:
            self._resume = self._loop.call_later(wait, self._resume_requests)
        return wait <= 0

    def _resume_requests(self) -> None:
        self._resume = None
        self._request()


def _minus(run: Run, other: Run) -> list[Run]:
    """Return the parts of a run that are not in another run of the same chunk."""
    parts = [
        (run.first, min(run.blocks.stop, other.first)),
        (max(run.first, other.blocks.stop), run.blocks.stop),
    ]
    return [Run(run.index, start, end - start) for start, end in parts if start < end]
