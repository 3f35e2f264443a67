"""Verify chunks that arrived and write them, in threads beside the event loop.

`ChunkWriter` owns the store while a download runs, and two threads: the first decrypts
and verifies one batch after another in the order of arrival and passes each to the
second, which writes it. A group commit runs in a third thread, so that a slow flush
delays neither of them until the store is too far ahead of the disk. A chunk counts only
once it is verified and written.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from enum import Enum, auto
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from shoal.errors import ProtocolError
from shoal.resources import Resources
from shoal.storage.store import DownloadStore

if TYPE_CHECKING:  # it imports cryptography, which open channels do not need
    from shoal.core.wire.noise_messages import SealedData

__all__ = ["Arrived", "ChunkWriter", "Opened", "Outcome", "SealedWriter", "Verifier"]

S = TypeVar("S")

# Large batches wake the threads less often, and each wake-up takes a processor from
# the event loop.
BATCH_SIZE = 2 * 1024 * 1024  # bytes verified and written together
MAX_BATCHES = 6  # in the threads at once; enough that neither waits for the loop
HOLD_TIME = 0.005  # seconds that a batch waits at most to reach BATCH_SIZE


class Outcome(Enum):
    """The result of verifying one chunk."""

    VERIFIED = auto()
    """Its hash is right, and it is written."""
    WRONG = auto()
    """Its hash is not the one that the id commits to."""
    WRONG_LENGTH = auto()
    """Its hash is right, but the sizes that the server claimed are wrong."""
    FORGED = auto()
    """It cannot be decrypted: it is not what the peer sent."""


class Verifier(Protocol):
    """Know the hash of every chunk."""

    def verifies(self, index: int, data: bytes | memoryview) -> bool:
        """Return True if `data` is chunk `index`."""


class Arrived(Struct, Generic[S], frozen=True):
    """A chunk as it came from a source, not verified."""

    source: S
    index: int
    data: "bytes | memoryview | SealedData"
    buffer: bytearray | None
    """The pooled buffer that contains `data`; None if there is none to return."""
    size: int
    """Bytes of the chunk, decrypted."""


class Opened(NamedTuple, Generic[S]):
    """A chunk after its verification, decrypted."""

    arrived: Arrived[S]
    outcome: Outcome
    data: bytes | memoryview
    plain: bytearray | None
    """The memory of `data` if the chunk was decrypted into memory of the writer."""


class _Pipeline(Executor):
    """Two threads in a row: the first returns a function, which the second calls.

    The event loop is woken once per batch, when the second thread has finished. With
    one thread, that calls the function itself.
    """

    def __init__(self, threads: int) -> None:
        self._first = ThreadPoolExecutor(1, "shoal-verify")
        self._second = ThreadPoolExecutor(1, "shoal-write") if threads > 1 else None

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        self._first.submit(self._begin, done, partial(work, *args, **kwargs))
        return done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._first.shutdown(wait, cancel_futures=cancel_futures)
        if self._second is not None:
            self._second.shutdown(wait, cancel_futures=cancel_futures)

    def _begin(self, done: Future[Any], work: Callable[[], Callable[[], Any]]) -> None:
        try:
            then = work()
        except BaseException as error:
            done.set_exception(error)
        else:
            if self._second is None:
                self._end(done, then)
            else:
                self._second.submit(self._end, done, then)

    def _end(self, done: Future[Any], then: Callable[[], Any]) -> None:
        try:
            done.set_result(then())
        except BaseException as error:
            done.set_exception(error)


class ChunkWriter(Generic[S]):
    """Verify chunks and write them to a store."""

    THREADS: ClassVar[int] = 2
    """One for verifying and one for writing, or one for both."""

    def __init__(
        self,
        store: DownloadStore,
        verifier: Verifier | None,
        resources: Resources,
        *,
        on_results: Callable[[list[tuple[Arrived[S], Outcome]]], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Write to `store` the chunks that `verifier` verifies; without one, all.

        Group commits run in the threads of `resources`, whose counters record how long
        the disk takes.
        """
        self.waiting = 0
        """Bytes that have arrived and are not verified and written."""
        self._store = store
        self._verifier = verifier
        self._resources = resources
        self._on_results = on_results
        self._on_error = on_error
        self._queue: deque[Arrived[S]] = deque()
        self._queued = 0  # bytes in it
        self._last_put = -inf
        self._hold: asyncio.TimerHandle | None = None
        self._pipeline = _Pipeline(self.THREADS)
        # Memory that chunks are decrypted into; the threads take from it and add to it.
        self._plain: deque[bytearray] = deque()
        self._running: set[asyncio.Future[Any]] = set()
        self._batches = 0
        self._is_committing = False
        self._is_stopped = False
        self._loop = asyncio.get_running_loop()

    def put(self, arrived: Arrived[S]) -> None:
        """Accept a chunk; `on_results` reports it later."""
        self.waiting += arrived.size
        self._queued += arrived.size
        self._queue.append(arrived)
        before, self._last_put = self._last_put, self._loop.time()
        if self._queued >= BATCH_SIZE or self._last_put - before >= HOLD_TIME:
            self._next_batch()
        elif self._hold is None:  # more chunks are about to arrive
            self._hold = self._loop.call_later(HOLD_TIME, self._end_hold)

    async def stop(self) -> None:
        """Accept no more chunks and wait for the threads; idempotent."""
        self._is_stopped = True
        self._queue.clear()
        if self._hold is not None:
            self._hold.cancel()
        while self._running:
            await asyncio.wait(self._running)
        self._pipeline.shutdown()

    def _next_batch(self) -> None:
        """Pass waiting chunks to the threads, unless they have enough to do."""
        if self._batches >= MAX_BATCHES or not self._queue or self._is_stopped:
            return
        if self._store.is_behind:
            return  # until a commit has ended
        batch: list[Arrived[S]] = []
        size = 0
        while self._queue and size < BATCH_SIZE:
            batch.append(self._queue.popleft())
            size += batch[-1].size
        self._queued -= size
        self._batches += 1
        self._run(self._pipeline, partial(self._verify_batch, batch), self._on_written)

    def _end_hold(self) -> None:
        self._hold = None
        self._next_batch()

    def _run(
        self,
        thread: Executor,
        work: Callable[[], Any],
        then: Callable[[Any], None],
    ) -> None:
        """Call `work` in a thread, then `then` on the event loop with its result."""
        future = self._loop.run_in_executor(thread, work)
        self._running.add(future)

        def done(future: asyncio.Future[Any]) -> None:
            self._running.discard(future)
            try:
                then(future.result())
            except BaseException as error:  # of the thread, or of what follows from it
                self._fail(error)

        future.add_done_callback(done)

    def _verify_batch(
        self, batch: list[Arrived[S]]
    ) -> Callable[[], tuple[list[tuple[Arrived[S], Outcome]], float]]:
        """Verify chunks; return the function with which the next thread writes them."""
        results = [self._open(each) for each in batch]

        def write() -> tuple[list[tuple[Arrived[S], Outcome]], float]:
            begun = monotonic()
            self._store.put_many(
                [
                    (each.arrived.index, each.data)
                    for each in results
                    if each.outcome is Outcome.VERIFIED
                ]
            )
            self._plain.extend(each.plain for each in results if each.plain is not None)
            return [each[:2] for each in results], monotonic() - begun

        return write

    def _open(self, arrived: Arrived[S]) -> Opened[S]:
        """Decrypt a chunk if it is encrypted, and verify it."""
        data = arrived.data
        if isinstance(data, bytes | memoryview):
            return Opened(arrived, self._verify(arrived.index, data), data, None)
        try:
            plain = self._plain.popleft()
        except IndexError:
            plain = bytearray(arrived.size)
        if len(plain) < arrived.size:
            plain = bytearray(arrived.size)
        view = memoryview(plain)[: arrived.size]
        try:
            data.open_into(view)
        except ProtocolError:
            return Opened(arrived, Outcome.FORGED, view, plain)
        return Opened(arrived, self._verify(arrived.index, view), view, plain)

    def _verify(self, index: int, data: bytes | memoryview) -> Outcome:
        has_length = len(data) == self._store.chunks.length(index)
        if self._verifier is None:
            return Outcome.VERIFIED if has_length else Outcome.WRONG
        if not self._verifier.verifies(index, data):
            return Outcome.WRONG
        return Outcome.VERIFIED if has_length else Outcome.WRONG_LENGTH

    def _on_written(
        self, written: tuple[list[tuple[Arrived[S], Outcome]], float]
    ) -> None:
        results, seconds = written
        self._resources.counters.writes.add(seconds)
        self._batches -= 1
        for arrived, _ in results:
            self.waiting -= arrived.size
            if arrived.buffer is not None:
                self._resources.buffers.give(arrived.buffer)
        if self._hold is None or self._queued >= BATCH_SIZE:
            self._next_batch()
        self.commit_if_due()
        if not self._is_stopped:
            self._on_results(results)

    def commit_if_due(self) -> None:
        """Start a group commit if one is due and none is running."""
        if self._is_stopped:
            return
        if not self._is_committing and self._store.is_commit_due(self._loop.time()):
            self._is_committing = True
            self._run(self._resources.threads, self._commit, self._on_committed)

    def _commit(self) -> float:
        """Flush the store; return how many seconds that took."""
        begun = monotonic()
        self._store.commit()
        return monotonic() - begun

    def _on_committed(self, seconds: float) -> None:
        self._resources.counters.flushes.add(seconds)
        self._is_committing = False
        self.commit_if_due()
        self._next_batch()

    def _fail(self, error: BaseException) -> None:
        if not self._is_stopped:
            self._is_stopped = True
            self._on_error(error)


class SealedWriter(ChunkWriter[S]):
    """Write chunks of a sealed share: decrypt, verify and write each in one thread.

    AES-GCM and BLAKE3 together take about as long as writing, so a second thread would
    only move each chunk to the cache of another core (docs/benchmarks.md).
    """

    THREADS = 1
