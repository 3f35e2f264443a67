"""Blocks are requested within the download rate, verified, and put into the cache."""

import asyncio
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from shoal.core.crypto.hashes import BLOCK_SIZE, block_digests, chunk_digest
from shoal.core.manifest.blocks import Run, run_span
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.chunks import Bitfield
from shoal.core.session.events import BlocksReceived
from shoal.storage.chunk_cache import ChunkCache
from shoal.transfer.block_fetcher import MAX_RUN, BlockFetcher
from tests.helpers.resources import make_resources
from tests.helpers.virtual_time import now, virtual_time

CHUNK = 4 << 20
PER_CHUNK = CHUNK // BLOCK_SIZE
DATA = random.Random(1).randbytes(2 * CHUNK)
PARTS = [DATA[:CHUNK], DATA[CHUNK:]]
MANIFEST = build_manifest(
    "data", len(DATA), CHUNK, b"".join(map(chunk_digest, PARTS)), salt=bytes(16)
)


class Source:
    """A peer that notes requests; `answer` sends the blocks of one."""

    def __init__(self, fetched: "Fetched") -> None:
        self.requests: list[tuple[Run, bool, float]] = []
        self.cancelled: list[int] = []
        self._fetched = fetched

    def request_blocks(self, run: Run, *, hashes: bool) -> int:
        self.requests.append((run, hashes, now()))
        return len(self.requests) - 1

    def cancel_blocks(self, read: int) -> None:
        self.cancelled.append(read)

    def answer(self, read: int) -> None:
        run, with_hashes, _ = self.requests[read]
        first, end = run_span(MANIFEST.chunks, run)
        data = PARTS[run.index][first:end]
        hashes = block_digests(PARTS[run.index]) if with_hashes else None
        blocks = BlocksReceived(read, run, hashes, data)
        self._fetched.fetcher.on_blocks(self, blocks)


class Fetched:
    """A fetcher of one share, its cache, and what it reported."""

    def __init__(self, threads: ThreadPoolExecutor, rate: float | None = None) -> None:
        self.cache = ChunkCache(MANIFEST.chunks, lambda index: None)
        self.verified: list[Run] = []
        self.wrong: list[int] = []
        self.unavailable: list[int] = []
        self.errors: list[BaseException] = []
        self.fetcher: BlockFetcher[Source] = BlockFetcher(
            self.cache,
            MANIFEST.hash_table,
            make_resources(threads, limit_down=rate),
            on_verified=lambda source, run: self.verified.append(run),
            on_wrong=lambda source, index: self.wrong.append(index),
            on_unavailable=self.unavailable.append,
            on_error=self.errors.append,
        )

    def join(self) -> Source:
        source = Source(self)
        self.fetcher.add(source, Bitfield.full(MANIFEST.chunks.count))
        return source


@asynccontextmanager
async def fetching() -> AsyncIterator[Fetched]:
    """Fetch from no source yet."""
    with ThreadPoolExecutor(1) as threads:
        fetched = Fetched(threads)
        yield fetched
        await fetched.fetcher.stop()


@virtual_time
async def test_requests_keep_the_download_rate() -> None:
    with ThreadPoolExecutor(1) as threads:
        fetched = Fetched(threads, rate=BLOCK_SIZE / 2)
        source = fetched.join()
        fetched.fetcher.want([Run(0, 0, 1)])
        source.answer(0)
        for block in range(2, 12, 2):
            fetched.fetcher.want([Run(0, block, 1)])
        await asyncio.sleep(60)
        times = [when for _, _, when in source.requests]
        assert len(times) == 6
        assert times[-1] - times[0] >= 2 * 4
        await fetched.fetcher.stop()


@virtual_time
async def test_a_long_run_is_requested_in_parts_after_its_first_blocks() -> None:
    async with fetching() as fetched:
        source = fetched.join()
        fetched.fetcher.want([Run(0, 1, 40)], lead=2)
        assert [run for run, _, _ in source.requests] == [Run(0, 1, 2)]
        source.answer(0)
        rest = [run for run, _, _ in source.requests[1:]]
        assert rest == [Run(0, 3, MAX_RUN), Run(0, 19, MAX_RUN), Run(0, 35, 6)]
        # The hashes are known since the first answer.
        assert [hashes for _, hashes, _ in source.requests] == [True] + [False] * 3


@virtual_time
async def test_what_is_here_or_being_fetched_is_not_requested_again() -> None:
    async with fetching() as fetched:
        source = fetched.join()
        fetched.fetcher.want([Run(1, 4, 2)])
        source.answer(0)
        fetched.fetcher.want([Run(1, 8, 2)])
        fetched.fetcher.want([Run(1, 2, 9)])
        asked = [run for run, _, _ in source.requests]
        assert asked[2:] == [Run(1, 2, 2), Run(1, 6, 2), Run(1, 10, 1)]


@virtual_time
async def test_runs_that_no_reader_wants_are_cancelled() -> None:
    async with fetching() as fetched:
        source = fetched.join()
        fetched.fetcher.want([Run(1, 4, 2)])
        fetched.fetcher.keep_only(lambda run: run.index == 0)
        assert source.cancelled == [0]
        assert not fetched.fetcher.is_fetching(1)
        source.answer(0)  # it was on its way
        assert fetched.cache.has_part_of(1)


@virtual_time
async def test_blocks_that_no_peer_has_are_given_back() -> None:
    async with fetching() as fetched:
        fetched.fetcher.want([Run(1, 4, 2), Run(1, 9, 1)])
        assert fetched.unavailable == [1]
        source = fetched.join()
        fetched.fetcher.want([Run(1, 4, 2)])
        fetched.fetcher.remove(source)
        assert fetched.unavailable == [1, 1]


@virtual_time
async def test_a_long_run_is_verified_in_a_thread() -> None:
    async with fetching() as fetched:
        source = fetched.join()
        fetched.fetcher.want([Run(1, 0, MAX_RUN)])
        source.answer(0)
        assert fetched.verified == []
        await asyncio.sleep(1)
        assert fetched.verified == [Run(1, 0, MAX_RUN)]
        assert fetched.errors == []
