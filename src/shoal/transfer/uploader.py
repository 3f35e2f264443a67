"""Serve chunks to many at once, fairly and within a rate.

`Uploader` owns what every taker still wants and the order they are served in: one
batch each, round and round. Chunks in the page cache are read on the event loop;
what has to come from the disk is read in a worker thread, so a slow disk holds up
nobody else. What may be sent in bytes per second comes from a `RateLimit` that all
shares of a node have in common.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from concurrent.futures import Executor
from time import monotonic
from typing import Protocol, TypeAlias

from shoal.core.limits import RateLimit
from shoal.core.report.counters import Tally
from shoal.errors import StoreError
from shoal.storage.store import ChunkReader

__all__ = ["Taker", "Uploader"]

BATCH_SIZE = 64 * 1024  # bytes read before the next taker has its turn


_Read: TypeAlias = bytes | StoreError | KeyError


class Taker(Protocol):
    """Take chunks for one peer; called on the event loop only."""

    @property
    def is_writable(self) -> bool:
        """Say whether more may be sent without piling up."""

    def next_wants(self, limit: int) -> list[tuple[int, Hashable]]:
        """Return up to `limit` chunks to send now, with what `send` wants to know."""

    def send(self, chunks: list[tuple[Hashable, bytes]]) -> None:
        """Send chunks that were wanted."""

    def refuse(self, notes: list[Hashable], error: Exception) -> None:
        """Do without chunks that were wanted: they cannot be given."""


class Uploader:
    """Give the chunks of one store to everyone who wants some."""

    def __init__(
        self,
        store: ChunkReader,
        executor: Executor,
        bucket: RateLimit,
        tally: Tally | None = None,
    ) -> None:
        """Serve nobody yet; `tally` counts how long takers and reads wait."""
        self.served = 0
        """Chunks sent so far."""
        self.sent = 0
        """Bytes of them."""
        self._store = store
        self._executor = executor
        self._bucket = bucket
        self._turns: deque[Taker] = deque()
        self._waiting: dict[Taker, float] = {}  # those in _turns, since when
        self._reading: dict[Taker, asyncio.Future[tuple[list[_Read], float]]] = {}
        # Of those who are gone, too.
        self._reads: set[asyncio.Future[tuple[list[_Read], float]]] = set()
        self._is_closed = False
        self._pause: asyncio.TimerHandle | None = None
        self._tally = tally or Tally()
        self._loop = asyncio.get_running_loop()

    async def aclose(self) -> None:
        """Serve nobody any more; idempotent."""
        self._is_closed = True
        self._turns.clear()
        self._waiting.clear()
        if self._pause is not None:
            self._pause.cancel()
        if self._reads:
            await asyncio.wait(self._reads)

    async def read_from(self, store: ChunkReader) -> None:
        """Give the chunks of another store; wait until nobody reads the old one."""
        self._store = store
        if self._reads:
            await asyncio.wait(self._reads)

    @property
    def is_idle(self) -> bool:
        """Say whether nothing is being read for anybody."""
        return not self._reading

    def give_now(self, index: int) -> bytes | None:
        """Return a chunk for who asks for just that, if nobody has to wait for it.

        Spares a lone request the queue, which takes longer than the rest of it.
        """
        if self._turns or self._bucket.is_limited or self._is_closed:
            return None
        try:
            data = self._store.get_now(index)
        except (StoreError, KeyError):
            return None  # in its turn it is refused, and it is said why
        if data is not None:
            self.served += 1
            self.sent += len(data)
        return data

    def wake(self, taker: Taker) -> None:
        """Note that a taker wants something or can take more."""
        if self._is_closed:
            return
        if taker not in self._waiting and taker not in self._reading:
            self._queue(taker)
        self._serve()

    def remove(self, taker: Taker) -> None:
        """Forget a taker; what is being read for it is dropped."""
        self._reading.pop(taker, None)
        if self._waiting.pop(taker, None) is not None:
            self._turns.remove(taker)

    def _queue(self, taker: Taker) -> None:
        self._waiting[taker] = self._loop.time()
        self._turns.append(taker)

    def _serve(self) -> None:
        """Give everyone in turn a batch until nobody takes or the rate is used up."""
        while self._turns and self._pause is None:
            wait = self._bucket.wait(self._loop.time())
            if wait > 0:
                self._pause = self._loop.call_later(wait, self._resume)
                return
            taker = self._turns.popleft()
            self._tally.turns.add(self._loop.time() - self._waiting.pop(taker))
            if taker.is_writable and self._serve_one(taker):
                self._queue(taker)

    def _resume(self) -> None:
        self._pause = None
        self._serve()

    def _serve_one(self, taker: Taker) -> bool:
        """Send one batch; say whether the taker should have another turn."""
        # With a rate to keep, turns are short, so that all have the same share.
        size = self._store.chunks.chunk_size
        limit = 1 if self._bucket.is_limited else max(1, BATCH_SIZE // size)
        wants = taker.next_wants(limit)
        if not wants:
            return False
        chunks: list[bytes | None]
        try:
            chunks = self._store.get_many_now([index for index, _ in wants])
        except (StoreError, KeyError):
            chunks = [None]  # read one by one, to refuse only what is not there
        ready = next((i for i, c in enumerate(chunks) if c is None), len(wants))
        self._send(taker, wants[:ready], [c for c in chunks if c is not None][:ready])
        if ready < len(wants):
            self._read(taker, wants[ready:])
            return False
        return True

    def _send(
        self, taker: Taker, wants: list[tuple[int, Hashable]], chunks: list[bytes]
    ) -> None:
        if not wants:
            return
        size = sum(map(len, chunks))
        self._bucket.take(size, self._loop.time())
        self.served += len(wants)
        self.sent += size
        taker.send(
            [(note, data) for (_, note), data in zip(wants, chunks, strict=True)]
        )

    def _read(self, taker: Taker, wants: list[tuple[int, Hashable]]) -> None:
        """Have a worker thread read what is not in the page cache."""

        def read() -> tuple[list[_Read], float]:
            begun = monotonic()
            return [self._read_one(index) for index, _ in wants], monotonic() - begun

        def done(future: asyncio.Future[tuple[list[_Read], float]]) -> None:
            self._reads.discard(future)
            if self._reading.get(taker) is not future:
                return
            del self._reading[taker]
            results, seconds = future.result()
            self._tally.reads.add(seconds)
            found = list(zip(wants, results, strict=True))
            good = [(want, data) for want, data in found if isinstance(data, bytes)]
            self._send(taker, [want for want, _ in good], [data for _, data in good])
            for (_, note), error in found:
                if not isinstance(error, bytes):
                    taker.refuse([note], error)
            self.wake(taker)

        future = self._loop.run_in_executor(self._executor, read)
        self._reading[taker] = future
        self._reads.add(future)
        future.add_done_callback(done)

    def _read_one(self, index: int) -> _Read:
        """Return a chunk or why there is none; runs in a worker thread."""
        try:
            return self._store.get(index)
        except (StoreError, KeyError) as error:
            return error
