"""What arrives fast is results and written many chunks at a time, the rest at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from shoal.core.manifest.chunks import Chunks
from shoal.storage.disk.disk import Data
from shoal.transfer.writer import BATCH_SIZE, HOLD_TIME, Arrived, ChunkWriter, Outcome
from tests.helpers.memory_store import TransientStore
from tests.helpers.resources import make_resources
from tests.helpers.virtual_time import STEP, virtual_time

SIZE = BATCH_SIZE // 4
CHUNKS = Chunks(100 * SIZE, SIZE)
SOON = 100 * STEP  # seconds that nothing was waited for in
Batch = list[tuple[Arrived[str], Outcome]]


class Writing:
    """Put chunks into a store, and see when how many are written."""

    def __init__(self, store: "CountingStore", executor: ThreadPoolExecutor) -> None:
        self.store = store
        self.done = 0
        self._next = 0
        self._changed = asyncio.Event()
        self.writer: ChunkWriter[str] = ChunkWriter(
            store,
            None,
            make_resources(executor),
            on_results=self._on_results,
            on_error=self._on_error,
        )

    def put(self, chunks: int) -> None:
        for index in range(self._next, self._next + chunks):
            self.writer.put(Arrived("peer", index, bytes(SIZE), None))
        self._next += chunks

    async def until_done(self) -> float:
        """Wait until all that was put has a verdict; return how long that took."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while self.done < self._next:
            self._changed.clear()
            await self._changed.wait()
        return loop.time() - begun

    def _on_results(self, results: Batch) -> None:
        self.done += len(results)
        self._changed.set()

    def _on_error(self, error: BaseException) -> None:
        raise error


class CountingStore(TransientStore):
    """Note how many chunks are written together."""

    def __init__(self) -> None:
        super().__init__(CHUNKS)
        self.together: list[int] = []

    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        self.together.append(len(items))
        super().put_many(items)


@asynccontextmanager
async def writing() -> AsyncIterator[Writing]:
    with ThreadPoolExecutor(1) as executor:
        made = Writing(CountingStore(), executor)
        try:
            yield made
        finally:
            await made.writer.stop()


@virtual_time
async def test_a_chunk_that_comes_alone_is_not_held() -> None:
    async with writing() as made:
        for _ in range(3):
            await asyncio.sleep(2 * HOLD_TIME)
            made.put(1)
            assert await made.until_done() < SOON
        assert made.store.together == [1, 1, 1]


@virtual_time
async def test_chunks_that_come_at_once_are_written_together() -> None:
    async with writing() as made:
        made.put(1 + 4 + 4 + 2)
        await made.until_done()
        # The first, which nothing came before, and then as many as a batch may hold.
        assert made.store.together == [1, 4, 4, 2]


@virtual_time
async def test_a_batch_that_does_not_fill_is_held_for_a_moment_only() -> None:
    async with writing() as made:
        made.put(1)
        await made.until_done()
        made.put(2)
        assert HOLD_TIME <= await made.until_done() < HOLD_TIME + SOON
        assert made.store.together == [1, 2]


@virtual_time
async def test_nothing_that_is_held_is_written_once_it_is_over() -> None:
    async with writing() as made:
        made.put(1)
        await made.until_done()
        made.put(2)
        await made.writer.stop()
        await asyncio.sleep(2 * HOLD_TIME)
        assert made.store.together == [1]
