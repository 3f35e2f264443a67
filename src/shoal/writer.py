"""Verify what arrived and write it, in worker threads beside the network.

`ChunkWriter` owns the store while a download runs, and two threads: one judges batch
after batch in the order of arrival and hands each to the other, which writes it. A
group commit runs in a third, so a slow flush holds up neither. Nothing counts before
its verdict.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from shoal.core.framing import BufferPool
from shoal.storage.download import DownloadStore

__all__ = ["Arrived", "ChunkWriter", "Verdict", "Verifier"]

P = TypeVar("P")

BATCH_SIZE = 1024 * 1024  # bytes judged and written in one go
BATCHES = 4  # one and the next for each thread, so that neither waits for us


class Verdict(Enum):
    """What became of a chunk that arrived."""

    RIGHT = auto()
    """It verified, and is written."""
    WRONG = auto()
    """It is not what the id names."""
    OTHER_LENGTH = auto()
    """It is what the id names, but the sizes that are being tried are wrong."""


class Verifier(Protocol):
    """Know the hash of every chunk."""

    def verifies(self, index: int, data: bytes | memoryview) -> bool:
        """Say whether `data` is chunk `index`."""


class Arrived(Struct, Generic[P], frozen=True):
    """A chunk as it came from a peer."""

    peer: P
    index: int
    data: bytes | memoryview
    buffer: bytearray | None
    """What `data` lies in, if the pool wants it back."""


class ChunkWriter(Generic[P]):
    """Take chunks that arrived to their place on the disk."""

    def __init__(
        self,
        store: DownloadStore,
        verifier: Verifier | None,
        executor: Executor,
        *,
        pool: BufferPool,
        on_verdicts: Callable[[list[tuple[Arrived[P], Verdict]]], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Write to `store` what `verifier` verifies; without one, everything."""
        self.waiting = 0
        """Bytes that arrived and have no verdict yet."""
        self._store = store
        self._verifier = verifier
        self._executor = executor
        self._pool = pool
        self._on_verdicts = on_verdicts
        self._on_error = on_error
        self._queue: deque[Arrived[P]] = deque()
        self._judging = ThreadPoolExecutor(1, "shoal-judge")
        self._writing = ThreadPoolExecutor(1, "shoal-write")
        self._batches: set[asyncio.Future[list[Verdict]]] = set()
        self._commit: asyncio.Future[None] | None = None
        self._is_stopped = False
        self._loop = asyncio.get_running_loop()

    def put(self, arrived: Arrived[P]) -> None:
        """Take a chunk; its verdict comes later."""
        self.waiting += len(arrived.data)
        self._queue.append(arrived)
        self._next_batch()

    async def stop(self) -> None:
        """Take nothing more and wait for the threads; idempotent."""
        self._is_stopped = True
        self._queue.clear()
        running: set[asyncio.Future[Any]] = set(self._batches)
        if self._commit is not None:
            running.add(self._commit)
        if running:
            await asyncio.wait(running)
        self._judging.shutdown()
        self._writing.shutdown()

    def _next_batch(self) -> None:
        """Hand the threads what is waiting, unless they have enough to do."""
        if len(self._batches) >= BATCHES or not self._queue or self._is_stopped:
            return
        batch: list[Arrived[P]] = []
        size = 0
        while self._queue and size < BATCH_SIZE:
            batch.append(self._queue.popleft())
            size += len(batch[-1].data)
        outcome: Future[list[Verdict]] = Future()
        self._judging.submit(self._judge_batch, batch, outcome)
        future = asyncio.wrap_future(outcome)
        self._batches.add(future)
        future.add_done_callback(lambda done: self._on_batch(batch, done))

    def _judge_batch(
        self, batch: list[Arrived[P]], outcome: "Future[list[Verdict]]"
    ) -> None:
        """Verify a batch and hand it on; runs in the judging thread."""
        try:
            verdicts = [self._judge(each) for each in batch]
            self._writing.submit(self._write_batch, batch, verdicts, outcome)
        except BaseException as error:
            outcome.set_exception(error)

    def _write_batch(
        self,
        batch: list[Arrived[P]],
        verdicts: list[Verdict],
        outcome: "Future[list[Verdict]]",
    ) -> None:
        """Write what is right of a batch; runs in the writing thread."""
        try:
            self._store.put_many(
                [
                    (each.index, each.data)
                    for each, verdict in zip(batch, verdicts, strict=True)
                    if verdict is Verdict.RIGHT
                ]
            )
            outcome.set_result(verdicts)
        except BaseException as error:
            outcome.set_exception(error)

    def _judge(self, arrived: Arrived[P]) -> Verdict:
        has_length = len(arrived.data) == self._store.chunks.length(arrived.index)
        if self._verifier is None:
            return Verdict.RIGHT if has_length else Verdict.WRONG
        if not self._verifier.verifies(arrived.index, arrived.data):
            return Verdict.WRONG
        return Verdict.RIGHT if has_length else Verdict.OTHER_LENGTH

    def _on_batch(
        self, batch: list[Arrived[P]], future: asyncio.Future[list[Verdict]]
    ) -> None:
        self._batches.discard(future)
        self.waiting -= sum(len(each.data) for each in batch)
        error = future.exception()
        if error is not None:
            self._fail(error)
            return
        verdicts = list(zip(batch, future.result(), strict=True))
        for each in batch:
            if each.buffer is not None:
                self._pool.give(each.buffer)
        self._next_batch()
        self._commit_if_due()
        if not self._is_stopped:
            self._on_verdicts(verdicts)

    def _commit_if_due(self) -> None:
        if self._commit is None and self._store.is_commit_due(self._loop.time()):
            self._commit = self._loop.run_in_executor(
                self._executor, self._store.commit
            )
            self._commit.add_done_callback(self._on_commit)

    def _on_commit(self, future: asyncio.Future[None]) -> None:
        self._commit = None
        error = future.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._is_stopped:
            self._is_stopped = True
            self._on_error(error)
