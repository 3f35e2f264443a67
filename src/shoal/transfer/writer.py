"""Verify what arrived and write it, in worker threads beside the network.

`ChunkWriter` owns the store while a download runs, and two threads: one judges batch
after batch in the order of arrival and hands each to the other, which writes it. A
group commit runs in a third, so a slow flush holds up neither, until the store is too
far ahead of the disk. Nothing counts before its verdict.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from enum import Enum, auto
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from shoal.core.report.counters import Tally
from shoal.core.wire.framing import BufferPool
from shoal.storage.store import DownloadStore

__all__ = ["Arrived", "ChunkWriter", "Verdict", "Verifier"]

P = TypeVar("P")

# Fewer and larger ones wake fewer threads, each of which takes a processor from the
# event loop.
BATCH_SIZE = 4 * 1024 * 1024  # bytes judged and written in one go
BATCHES = 6  # on their way; enough that neither thread waits for us
HOLD_TIME = 0.005  # seconds that a batch waits at most to become so large


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


class _Relay(Executor):
    """Two threads, one behind the other: what the first returns, the second calls.

    The event loop hears of the end only: it would be woken twice for each batch.
    """

    def __init__(self) -> None:
        self._first = ThreadPoolExecutor(1, "shoal-judge")
        self._second = ThreadPoolExecutor(1, "shoal-write")

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        self._first.submit(self._begin, done, partial(work, *args, **kwargs))
        return done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._first.shutdown(wait, cancel_futures=cancel_futures)
        self._second.shutdown(wait, cancel_futures=cancel_futures)

    def _begin(self, done: Future[Any], work: Callable[[], Callable[[], Any]]) -> None:
        try:
            then = work()
        except BaseException as error:
            done.set_exception(error)
        else:
            self._second.submit(self._end, done, then)

    def _end(self, done: Future[Any], then: Callable[[], Any]) -> None:
        try:
            done.set_result(then())
        except BaseException as error:
            done.set_exception(error)


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
        tally: Tally,
    ) -> None:
        """Write to `store` what `verifier` verifies; without one, everything.

        Group commits run in `executor`. How long the disk takes is counted in `tally`.
        """
        self.waiting = 0
        """Bytes that arrived and have no verdict yet."""
        self._store = store
        self._verifier = verifier
        self._pool = pool
        self._on_verdicts = on_verdicts
        self._on_error = on_error
        self._tally = tally
        self._queue: deque[Arrived[P]] = deque()
        self._queued = 0  # bytes in it
        self._last_put = -inf
        self._hold: asyncio.TimerHandle | None = None
        self._relay = _Relay()
        self._flushing = executor
        self._running: set[asyncio.Future[Any]] = set()
        self._batches = 0
        self._is_committing = False
        self._is_stopped = False
        self._loop = asyncio.get_running_loop()

    def put(self, arrived: Arrived[P]) -> None:
        """Take a chunk; its verdict comes later."""
        size = len(arrived.data)
        self.waiting += size
        self._queued += size
        self._queue.append(arrived)
        before, self._last_put = self._last_put, self._loop.time()
        if self._queued >= BATCH_SIZE or self._last_put - before >= HOLD_TIME:
            self._next_batch()
        elif self._hold is None:  # more is about to come
            self._hold = self._loop.call_later(HOLD_TIME, self._next_batch)

    async def stop(self) -> None:
        """Take nothing more and wait for the threads; idempotent."""
        self._is_stopped = True
        self._queue.clear()
        self._end_hold()
        while self._running:
            await asyncio.wait(self._running)
        self._relay.shutdown()

    def _next_batch(self) -> None:
        """Hand the threads what is waiting, unless they have enough to do."""
        self._end_hold()
        if self._batches >= BATCHES or not self._queue or self._is_stopped:
            return
        if self._store.is_behind:
            return  # to go on when a commit has ended
        batch: list[Arrived[P]] = []
        size = 0
        while self._queue and size < BATCH_SIZE:
            batch.append(self._queue.popleft())
            size += len(batch[-1].data)
        self._queued -= size
        self._batches += 1
        self._run(self._relay, partial(self._judge_batch, batch), self._on_written)

    def _end_hold(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def _run(
        self,
        thread: Executor,
        work: Callable[[], Any],
        then: Callable[[Any], None],
    ) -> None:
        """Do something in one of the threads, then go on with its result."""
        future = self._loop.run_in_executor(thread, work)
        self._running.add(future)

        def done(future: asyncio.Future[Any]) -> None:
            self._running.discard(future)
            error = future.exception()
            if error is not None:
                self._fail(error)
            else:
                then(future.result())

        future.add_done_callback(done)

    def _judge_batch(
        self, batch: list[Arrived[P]]
    ) -> Callable[[], tuple[list[tuple[Arrived[P], Verdict]], float]]:
        """Judge chunks; return what writes them, for the other thread."""
        judged = [(each, self._judge(each)) for each in batch]

        def write() -> tuple[list[tuple[Arrived[P], Verdict]], float]:
            begun = monotonic()
            self._store.put_many(
                [(a.index, a.data) for a, v in judged if v is Verdict.RIGHT]
            )
            return judged, monotonic() - begun

        return write

    def _judge(self, arrived: Arrived[P]) -> Verdict:
        has_length = len(arrived.data) == self._store.chunks.length(arrived.index)
        if self._verifier is None:
            return Verdict.RIGHT if has_length else Verdict.WRONG
        if not self._verifier.verifies(arrived.index, arrived.data):
            return Verdict.WRONG
        return Verdict.RIGHT if has_length else Verdict.OTHER_LENGTH

    def _on_written(
        self, written: tuple[list[tuple[Arrived[P], Verdict]], float]
    ) -> None:
        judged, seconds = written
        self._tally.writes.add(seconds)
        self._batches -= 1
        for arrived, _ in judged:
            self.waiting -= len(arrived.data)
            if arrived.buffer is not None:
                self._pool.give(arrived.buffer)
        self._next_batch()
        self.commit_if_due()
        if not self._is_stopped:
            self._on_verdicts(judged)

    def commit_if_due(self) -> None:
        """Begin a group commit if it is time to and none is under way."""
        if self._is_stopped:
            return
        if not self._is_committing and self._store.is_commit_due(self._loop.time()):
            self._is_committing = True
            self._run(self._flushing, self._commit, self._on_committed)

    def _commit(self) -> float:
        """Flush; return how many seconds that took."""
        begun = monotonic()
        self._store.commit()
        return monotonic() - begun

    def _on_committed(self, seconds: float) -> None:
        self._tally.flushes.add(seconds)
        self._is_committing = False
        self.commit_if_due()
        self._next_batch()

    def _fail(self, error: BaseException) -> None:
        if not self._is_stopped:
            self._is_stopped = True
            self._on_error(error)
