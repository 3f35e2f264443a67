"""What arrives fast is results and written many chunks at a time, the rest at once."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shoal.core.crypto.noise import Cipher
from shoal.core.manifest.chunks import Chunks
from shoal.core.wire.noise_messages import (
    SealedData,
    seal,
    sealed_size,
    take_payloads,
)
from shoal.storage.disk.disk import Data
from shoal.transfer.writer import (
    BATCH_SIZE,
    HOLD_TIME,
    Arrived,
    ChunkWriter,
    Outcome,
    SealedWriter,
)
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
            self.writer.put(Arrived("peer", index, bytes(SIZE), None, SIZE))
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


def sealed(data: bytes, change: Callable[[bytearray], None]) -> SealedData:
    """Return data as it arrives encrypted, after `change` of the messages."""
    sender, receiver = Cipher(bytes(32)), Cipher(bytes(32))
    payloads = take_payloads(deque([memoryview(data)]), 1 << 30)
    messages = bytearray(seal(payloads, sender.take_keys(len(payloads))))
    change(messages)
    number, size = sealed_size(len(data))
    assert size == len(messages)
    keys = receiver.take_keys(number)
    return SealedData(memoryview(messages), keys, len(data))


def leave(messages: bytearray) -> None:
    pass


def flip_in_the_middle(messages: bytearray) -> None:
    messages[len(messages) // 2] ^= 1


def flip_the_last_tag(messages: bytearray) -> None:
    messages[-1] ^= 1


def shorten_the_first(messages: bytearray) -> None:
    messages[1] -= 1


def exchange_the_first_two(messages: bytearray) -> None:
    size = 2 + 65_535
    messages[: 2 * size] = messages[size : 2 * size] + messages[:size]


class Known:
    """Know the chunks."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    def verifies(self, index: int, data: bytes | memoryview) -> bool:
        return data == self._chunks[index]


WRONG = [
    flip_in_the_middle,
    flip_the_last_tag,
    shorten_the_first,
    exchange_the_first_two,
]


@pytest.mark.parametrize("kind", [ChunkWriter, SealedWriter])
async def test_chunks_are_decrypted_verified_and_written_by_the_threads(
    kind: type[ChunkWriter[str]],
) -> None:
    chunks = [os.urandom(SIZE) for _ in range(10)]
    changes: dict[int, Callable[[bytearray], None]] = dict(enumerate(WRONG, 2))
    outcomes: dict[int, Outcome] = {}
    done = asyncio.Event()

    def on_results(results: Any) -> None:
        outcomes.update({arrived.index: outcome for arrived, outcome in results})
        if len(outcomes) == len(chunks):
            done.set()

    with ThreadPoolExecutor(1) as executor:
        store, resources = CountingStore(), make_resources(executor)
        writer = kind(
            store,
            Known([*chunks[:-1], bytes(SIZE)]),
            resources,
            on_results=on_results,
            on_error=lambda error: pytest.fail(str(error)),
        )
        for index, chunk in enumerate(chunks):
            data = sealed(chunk, changes.get(index, leave))
            writer.put(Arrived("peer", index, data, bytearray(1), len(data)))
        async with asyncio.timeout(30):
            await done.wait()
        await writer.stop()
        forged = [i for i, outcome in outcomes.items() if outcome is Outcome.FORGED]
        assert sorted(forged) == sorted(changes)
        assert outcomes[9] is Outcome.WRONG
        right = [0, 1, 6, 7, 8]
        assert [bytes(store.get(index)) for index in right] == [
            chunks[index] for index in right
        ]
        assert sorted(store.have) == right
        assert writer.waiting == 0


async def test_memory_for_decrypted_chunks_is_used_again() -> None:
    chunk = os.urandom(SIZE)
    done = asyncio.Semaphore(0)

    def on_results(results: Batch) -> None:
        for _ in results:
            done.release()

    with ThreadPoolExecutor(1) as executor:
        writer: ChunkWriter[str] = SealedWriter(
            CountingStore(),
            None,
            make_resources(executor),
            on_results=on_results,
            on_error=lambda error: pytest.fail(str(error)),
        )
        for index in range(50):
            writer.put(Arrived("peer", index, sealed(chunk, leave), None, SIZE))
            async with asyncio.timeout(30):
                await done.acquire()
        assert len(writer._plain) == 1
        await writer.stop()
