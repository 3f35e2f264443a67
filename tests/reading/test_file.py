"""Files of a share read like local files, and fetch only the chunks that are read."""

import asyncio
import io
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import shoal
from shoal.core.manifest.blocks import Run
from shoal.core.schedule.readahead import SHORT_WAIT
from shoal.errors import NotFoundError, ShoalError, UsageError, VerificationError
from shoal.reading.file import AsyncFile
from shoal.reading.share_cache import ShareCache
from shoal.storage.chunk_cache import CACHE_SIZE
from tests.helpers.badholders import FlipsABit
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, Holding, SlowHolder, Talk, make_holding
from tests.helpers.pages import hash_page

CHUNK = 16_384
COUNT = 40
HOLDING = make_holding(COUNT * CHUNK - 5, chunk_size=CHUNK)
DATA = b"".join(HOLDING.chunk(index) for index in range(COUNT))


@asynccontextmanager
async def opened(*holders: Holder) -> AsyncIterator[AsyncFile]:
    """Open the only file that these holders have."""
    addresses = [holder.address for holder in holders]
    async with shoal.Node(here(addresses), rng=random.Random(1)) as node:
        link = holders[0].holding.link
        async with node.open(link, timeout=20) as file:
            yield file


class Mute(Holder):
    """A holder that answers requests only when `speak` is called."""

    def __init__(self, holding: Holding) -> None:
        super().__init__(holding)
        self.held: list[tuple[Talk, int]] = []

    def on_request(self, talk: Talk, index: int) -> None:
        self.held.append((talk, index))

    def speak(self) -> None:
        """Answer all pending requests."""
        held, self.held = self.held, []
        for talk, index in held:
            talk.send_chunk(index)


async def test_a_read_fetches_only_the_chunks_it_covers() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        file.seek(5 * CHUNK - 1)
        assert await file.read(2) == DATA[5 * CHUNK - 1 : 5 * CHUNK + 1]
        assert file.tell() == 5 * CHUNK + 1
        assert sorted(holder.sent) == [4, 5]
        assert holder.pages_requested == [hash_page(0)]


async def test_a_read_of_a_whole_chunk_does_not_copy_it() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        file.seek(5 * CHUNK)
        first = await file.read(CHUNK)
        file.seek(5 * CHUNK)
        assert await file.read(CHUNK) is first
        file.seek(5 * CHUNK)
        assert await file.read(CHUNK - 1) == first[:-1]


async def test_random_reads_fetch_nothing_ahead() -> None:
    places = [30, 3, 17, 9, 22]
    async with Holder(HOLDING) as holder, opened(holder) as file:
        for index in places:
            file.seek(index * CHUNK + 7)
            assert await file.read(8) == DATA[index * CHUNK + 7 : index * CHUNK + 15]
        assert holder.sent == places


class Far(Holder):
    """A holder that takes a while to answer."""

    def on_request(self, talk: Talk, index: int) -> None:
        self.later(2 * SHORT_WAIT, lambda: talk.send_chunk(index))


async def test_sequential_reads_fetch_the_next_chunks_ahead() -> None:
    async with Far(HOLDING) as holder, opened(holder) as file:
        for _ in range(3):
            await file.read(CHUNK)
        await holder.until(lambda: len(holder.requested) >= 5)
        assert holder.requested == list(range(len(holder.requested)))


async def test_reads_from_memory_in_another_thread_fetch_more_ahead() -> None:
    async with Far(HOLDING) as holder, opened(holder) as file:
        for _ in range(5):
            await file.read(CHUNK)
        reader, swarm = file.reader, file.reader._cache.swarm
        assert swarm is not None
        ahead = len(holder.requested)
        await swarm.until(lambda: reader.find(ahead * CHUNK - 1) is not None)
        place, asks = file.tell(), False
        while not asks:
            piece = reader.find(place)
            assert piece is not None
            end = piece[0] + len(piece[1])
            assert piece[1] == DATA[piece[0] : end]
            asks = reader.note(place, end)
            place = end
        reader.advance()
        await holder.until(lambda: len(holder.requested) > ahead)


async def test_reading_to_the_end_fetches_each_chunk_once() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        assert await file.read() == DATA
        assert await file.read() == b""
        assert sorted(holder.sent) == list(range(COUNT))


async def test_blocks_of_a_known_size_fetch_nothing_beyond_it() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        file.seek(2 * CHUNK + 1)
        blocks = [block async for block in file.blocks(5 * CHUNK)]
        assert b"".join(blocks) == DATA[2 * CHUNK + 1 : 7 * CHUNK + 1]
        assert sorted(holder.sent) == [2, 3, 4, 5, 6, 7]


async def test_recently_read_chunks_are_not_fetched_again() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        for _ in range(3):
            file.seek(0)
            await file.read(3 * CHUNK)
        first = len(holder.sent)
        file.seek(CHUNK)
        await file.read(9)
        assert len(holder.sent) == first == len(set(holder.sent))


async def test_the_chunk_at_the_position_is_requested_first() -> None:
    async with Mute(HOLDING) as holder, opened(holder) as file:
        reading = asyncio.create_task(file.read())
        # No chunk of the holder has been verified yet, so only one is requested.
        await holder.until(lambda: bool(holder.held))
        reading.cancel()
        await asyncio.wait([reading])
        file.seek(30 * CHUNK)
        jumped = asyncio.create_task(file.read(1))
        await holder.until(lambda: len(holder.held) == 2)
        assert [index for _, index in holder.held] == [0, 30]
        holder.speak()
        assert await jumped == DATA[30 * CHUNK : 30 * CHUNK + 1]
        assert set(holder.sent) == {0, 30}


async def test_a_cancelled_read_leaves_the_position_unchanged() -> None:
    async with Mute(HOLDING) as holder, opened(holder) as file:
        reading = asyncio.create_task(file.read(CHUNK))
        await holder.until(lambda: bool(holder.held))
        reading.cancel()
        await asyncio.wait([reading])
        assert file.tell() == 0
        again = asyncio.create_task(file.read(CHUNK))
        holder.speak()
        assert await again == DATA[:CHUNK]
        assert holder.sent == [0]


async def test_a_read_can_succeed_after_an_earlier_one_timed_out() -> None:
    async with Mute(HOLDING) as holder:
        async with shoal.Node(here([holder.address])) as node:
            async with node.open(HOLDING.link, timeout=0.5) as file:
                with pytest.raises(NotFoundError, match=r"within 0\.5 s"):
                    await file.read(1)
                holder.speak()
                await holder.until(lambda: bool(holder.sent))
                assert await file.read(1) == DATA[:1]


async def test_a_liar_is_not_asked_again() -> None:
    async with FlipsABit(HOLDING) as liar, Holder(HOLDING) as honest:
        async with opened(liar, honest) as file:
            assert await file.read() == DATA
    assert len(liar.sent) <= 4


async def test_a_read_from_only_liars_raises_a_verification_error() -> None:
    async with FlipsABit(HOLDING) as liar:
        async with shoal.Node(here([liar.address])) as node:
            async with node.open(HOLDING.link, timeout=1) as file:
                with pytest.raises(VerificationError):
                    await file.read(1)


async def test_a_fast_peer_sends_more_than_a_slow_one() -> None:
    async with SlowHolder(HOLDING, 4) as slow, Holder(HOLDING) as fast:
        async with opened(slow, fast) as file:
            assert await file.read() == DATA
    assert len(slow.sent) < len(fast.sent)


async def test_two_files_of_one_share_use_one_connection_and_one_cache() -> None:
    async with Holder(HOLDING) as holder:
        async with shoal.Node(here([holder.address])) as node:
            async with node.open(HOLDING.link) as one, node.open(HOLDING.link) as two:
                both = await asyncio.gather(one.read(), two.read())
            assert list(both) == [DATA, DATA]
            async with node.open(HOLDING.link) as three:
                assert await three.read(10) == DATA[:10]
        assert len(holder.talks) == 1
        assert sorted(holder.sent) == list(range(COUNT))


async def test_reads_of_one_file_by_many_tasks_run_one_after_another() -> None:
    async with Holder(HOLDING) as holder, opened(holder) as file:
        parts = await asyncio.gather(*(file.read(1000) for _ in range(50)))
        assert b"".join(parts) == DATA[:50_000]


async def test_a_chunk_evicted_from_the_bounded_cache_is_fetched_again() -> None:
    count = CACHE_SIZE // (1 << 20) + 8
    large = make_holding(bytes(count << 20), chunk_size=1 << 20)
    async with Holder(large) as holder, opened(holder) as file:
        async for _ in file.blocks():
            pass
        # The first chunk arrives in blocks, because a reader waits for its first byte.
        assert sorted(holder.sent) == list(range(1, count))
        in_blocks = [run.blocks for run in holder.sent_blocks]
        assert sorted(itertools.chain(*in_blocks)) == list(range(16))
        file.seek(0)
        assert await file.read(5) == bytes(5)
        assert holder.sent_blocks[len(in_blocks) :] == [Run(0, 0, 1)]
        file.seek(-5, io.SEEK_END)
        await file.read()
        assert holder.sent.count(count - 1) == 1


async def test_closing_a_file_cancels_its_requests() -> None:
    async with Mute(HOLDING) as holder:
        async with shoal.Node(here([holder.address])) as node:
            file = await node.open(HOLDING.link)
            first = asyncio.create_task(file.read(CHUNK))
            await holder.until(lambda: bool(holder.held))
            holder.speak()
            await first
            reading = asyncio.create_task(file.read())
            await holder.until(lambda: len(holder.held) >= 4)
            asked = [0, *(index for _, index in holder.held)]
            reading.cancel()
            await asyncio.wait([reading])
            await file.aclose()
            holder.speak()
            async with node.open(HOLDING.link) as other:
                last = asyncio.create_task(other.read(1))
                await last
            assert sorted(holder.sent) == asked


async def test_a_closed_file_cannot_be_read() -> None:
    async with Holder(HOLDING) as holder:
        async with opened(holder) as file:
            pass
        assert file.closed
        for use in (file.read, file.readline):
            with pytest.raises(ValueError, match="closed"):
                await use()
        with pytest.raises(ValueError, match="closed"):
            file.seek(0)


async def test_closing_the_node_ends_a_pending_read() -> None:
    async with Mute(HOLDING) as holder:
        async with shoal.Node(here([holder.address])) as node:
            file = await node.open(HOLDING.link)
            reading = asyncio.create_task(file.read())
            await holder.until(lambda: bool(holder.held))
        with pytest.raises(ShoalError, match="closed"):
            await reading
        with pytest.raises(ShoalError, match="closed"):
            await file.read()


async def test_the_swarm_is_left_some_time_after_the_last_file_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shoal.reading.share_caches.LINGER", 0.05)
    async with Holder(HOLDING) as holder:
        async with shoal.Node(here([holder.address])) as node:
            async with node.open(HOLDING.link) as file:
                await file.read(1)
            await holder.until(lambda: holder.talks[0].is_lost)
            async with node.open(HOLDING.link) as file:
                assert await file.read(1) == DATA[:1]
        assert len(holder.talks) == 2


@pytest.mark.parametrize("linger", [0.0, 60.0])
async def test_an_error_of_leaving_a_swarm_is_raised_when_the_node_closes(
    monkeypatch: pytest.MonkeyPatch, linger: float
) -> None:
    async def fail(cache: ShareCache) -> None:
        raise RuntimeError("could not leave")

    monkeypatch.setattr("shoal.reading.share_caches.LINGER", linger)
    monkeypatch.setattr(ShareCache, "aclose", fail)
    node = shoal.Node(here())
    with node.reading(HOLDING.link):
        pass
    await asyncio.sleep(0.01)
    with pytest.raises(RuntimeError, match="could not leave"):
        await node.aclose()


async def test_an_empty_file_reads_as_empty() -> None:
    async with Holder(make_holding(b"")) as holder, opened(holder) as file:
        assert await file.read() == b""
        assert [line async for line in file] == []
        assert await file.readinto(bytearray(3)) == 0


async def test_a_single_file_is_opened_by_its_own_name_only() -> None:
    async with Holder(HOLDING) as holder:
        async with shoal.Node(here([holder.address])) as node:
            async with node.open(HOLDING.link, "data") as file:
                assert file.name == "data"
            with pytest.raises(NotFoundError, match="one file"):
                await node.open(HOLDING.link, "other")
            with pytest.raises(UsageError, match="no chunk 99"):
                await node.fetch_chunk(HOLDING.link, 99)
            data = await node.fetch_chunk(str(HOLDING.link), COUNT - 1)
            assert data == HOLDING.chunk(COUNT - 1)


async def test_that_a_path_is_a_folders_is_known_from_few_pages() -> None:
    files = [(f"logs/many/{number:06}", 0, False) for number in range(20_000)]
    large = make_holding(b"", files=files)
    async with Holder(large) as holder, shoal.Node(here([holder.address])) as node:
        with pytest.raises(UsageError, match="'logs' is a folder of the share"):
            await node.open(large.link, "logs")
        assert len(holder.pages_requested) < len(large.pages) // 2


LINES = b"".join(b"%d\n" % (i * i) * (i % 3) for i in range(20_000)) + b"no end"
TEXT = make_holding(LINES, chunk_size=CHUNK)
STEP = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 3 * CHUNK)),
    st.tuples(st.just("readinto"), st.integers(0, 3 * CHUNK)),
    st.tuples(st.just("readline"), st.integers(-1, 40)),
    st.tuples(st.just("seek"), st.integers(0, len(LINES) + 10)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, max_size=12))
def test_reads_return_the_same_bytes_as_a_local_file(
    steps: list[tuple[str, int]],
) -> None:
    async def run() -> None:
        here_file = io.BytesIO(LINES)
        async with Holder(TEXT) as holder, opened(holder) as file:
            for what, number in steps:
                if what == "seek":
                    assert file.seek(number) == here_file.seek(number)
                elif what == "readinto":
                    ours, theirs = bytearray(number), bytearray(number)
                    assert await file.readinto(ours) == here_file.readinto(theirs)
                    assert ours == theirs
                else:
                    ours_ = await getattr(file, what)(number)
                    assert ours_ == getattr(here_file, what)(number)
                assert file.tell() == here_file.tell()

    asyncio.run(run())


async def test_lines_are_those_of_a_local_file() -> None:
    async with Holder(TEXT) as holder, opened(holder) as file:
        assert [line async for line in file] == LINES.splitlines(keepends=True)


def test_all_readers_together_request_no_more_than_fits_in_the_cache() -> None:
    async def run() -> None:
        async with shoal.Node(here()) as node:
            cache = ShareCache(node._registry, HOLDING.link)
            for number in range(1, 60):
                cache.add_reader(HOLDING.chunks)
                assert number * cache.ahead_limit <= max(CACHE_SIZE // 2, 16 << 20)

    asyncio.run(run())
