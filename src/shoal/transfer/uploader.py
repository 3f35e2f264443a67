"""Serve chunks to many receivers, fairly and within a rate.

`Uploader` owns the order in which receivers are served: one batch each, in turns, and
to a few at the same time (`core/schedule/turns.py`).
Chunks in the page cache are read on the event loop; chunks that have to come from the
disk are read in a worker thread, so that a slow disk delays no other receiver. The
rate is that of the node, which all its shares have in common.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Protocol, TypeAlias

from shoal.core.schedule.turns import SendingLimit, Turns
from shoal.errors import ShoalError, StoreError
from shoal.resources import Resources
from shoal.storage.store import ChunkReader

__all__ = ["Receiver", "Uploader"]

BATCH_SIZE = 64 * 1024  # bytes read before the next receiver has its turn


_Read: TypeAlias = bytes | Exception


class Receiver(Hashable, Protocol):
    """Receive chunks for one peer; called on the event loop only."""

    @property
    def is_writable(self) -> bool:
        """Return True if more can be sent without piling up in memory."""

    def next_requests(self, limit: int) -> list[tuple[int, Hashable]]:
        """Return up to `limit` chunks to send now, each with a note for `send`."""

    def send(self, chunks: list[tuple[Hashable, bytes]]) -> None:
        """Send chunks, each with the note of its request."""

    def refuse(self, notes: list[Hashable], error: Exception) -> None:
        """Refuse requests whose chunks cannot be read."""


class Uploader:
    """Serve the chunks of one store to every receiver that requests some."""

    def __init__(
        self,
        store: ChunkReader,
        resources: Resources,
        rank: Callable[[Receiver], float] = lambda _: 0.0,
    ) -> None:
        """Send within the upload rate of `resources`.

        Its counters record how long receivers wait for a turn and reads take. `rank`
        is higher for receivers to prefer (`Contributions.rank`).
        """
        self.served = 0
        """Chunks sent so far."""
        self.sent = 0
        """Bytes in these chunks."""
        self._store = store
        self._threads = resources.threads
        self._bucket = resources.up
        self._counters = resources.counters
        self._turns: deque[Receiver] = deque()
        self._waiting: dict[Receiver, float] = {}  # those in _turns, since when
        self._order: Turns[Receiver] = Turns(rank)
        self._limit: SendingLimit[Receiver] = SendingLimit()
        self._again: asyncio.TimerHandle | None = None  # when the limit has room
        self._reading: dict[Receiver, asyncio.Future[tuple[list[_Read], float]]] = {}
        # All running reads, also those of receivers that have left.
        self._reads: set[asyncio.Future[tuple[list[_Read], float]]] = set()
        self._is_closed = False
        self._pause: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def aclose(self) -> None:
        """Serve no more chunks; idempotent."""
        self._is_closed = True
        self._turns.clear()
        self._waiting.clear()
        for timer in (self._pause, self._again):
            if timer is not None:
                timer.cancel()
        if self._reads:
            await asyncio.wait(self._reads)

    async def read_from(self, store: ChunkReader) -> None:
        """Read from another store; wait until no thread reads the old one."""
        self._store = store
        if self._reads:
            await asyncio.wait(self._reads)

    @property
    def is_idle(self) -> bool:
        """Return True if no chunk is being read."""
        return not self._reading

    def read_now(self, index: int) -> bytes | None:
        """Return the chunk of a single request, if no other receiver is waiting.

        This saves such a request the queue, which takes longer than serving it.
        `on_sent` must follow.
        """
        if self._turns or self._bucket.is_limited or self._is_closed:
            return None
        if not self._has_room():
            return None
        try:
            data = self._store.get_now(index)
        except (StoreError, KeyError):
            return None  # `_serve_one` will refuse it with the reason
        return data

    def on_sent(self, receiver: Receiver, size: int, chunks: int = 1) -> None:
        """Count `chunks` that were just sent to a receiver, `size` bytes in all."""
        self.served += chunks
        self.sent += size
        now = self._loop.time()
        if not receiver.is_writable:
            self._limit.on_started(receiver, now)
        self._limit.on_sent(size, now)

    def on_writable(self, receiver: Receiver) -> None:
        """Note that a receiver has no requests and that its socket accepts more."""
        self._limit.on_finished(receiver)
        self._serve()

    def wake(self, receiver: Receiver) -> None:
        """Note that a receiver has requests or that its socket accepts more."""
        if self._is_closed:
            return
        if receiver not in self._waiting and receiver not in self._reading:
            self._queue(receiver)
        self._serve()

    def remove(self, receiver: Receiver) -> None:
        """Forget a receiver; chunks being read for it are dropped."""
        self._reading.pop(receiver, None)
        if self._waiting.pop(receiver, None) is not None:
            self._turns.remove(receiver)
        self._limit.on_finished(receiver)
        if not self._is_closed:
            self._serve()

    def _queue(self, receiver: Receiver) -> None:
        self._waiting[receiver] = self._loop.time()
        self._turns.append(receiver)

    def _serve(self) -> None:
        """Send a batch to each receiver in turn, within the rate limit."""
        while self._turns and self._pause is None:
            wait = self._bucket.wait(self._loop.time())
            if wait > 0:
                self._pause = self._loop.call_later(wait, self._resume)
                return
            if not self._has_room():
                if self._again is None:
                    self._again = self._loop.call_at(self._limit.room_at, self._resume)
                return
            receiver = self._order.take(self._turns)
            self._counters.turns.add(self._loop.time() - self._waiting.pop(receiver))
            if receiver.is_writable and self._serve_one(receiver):
                self._queue(receiver)

    def _has_room(self) -> bool:
        """Return True if one more receiver may be sent to."""
        now = self._loop.time()
        if self._limit.has_room(now):
            return True
        for receiver in self._limit.receivers:
            if receiver.is_writable:
                self._limit.on_finished(receiver)
        return self._limit.has_room(now)

    def _resume(self) -> None:
        self._pause = self._again = None
        self._serve()

    def _serve_one(self, receiver: Receiver) -> bool:
        """Send one batch; return True if the receiver should have another turn."""
        # Within a rate limit turns are short, so that all receivers get the same share.
        size = self._store.chunks.chunk_size
        limit = 1 if self._bucket.is_limited else max(1, BATCH_SIZE // size)
        requests = receiver.next_requests(limit)
        if not requests:
            return False
        chunks: list[bytes | None]
        try:
            chunks = self._store.get_many_now([index for index, _ in requests])
        except (StoreError, KeyError):
            chunks = [None]  # read one by one, to refuse only those that are missing
        ready = next((i for i, c in enumerate(chunks) if c is None), len(requests))
        self._send(
            receiver, requests[:ready], [c for c in chunks if c is not None][:ready]
        )
        if ready < len(requests):
            self._read(receiver, requests[ready:])
            return False
        return True

    def _send(
        self,
        receiver: Receiver,
        requests: list[tuple[int, Hashable]],
        chunks: list[bytes],
    ) -> None:
        if not requests:
            return
        size = sum(map(len, chunks))
        self._bucket.take(size, self._loop.time())
        receiver.send(
            [(note, data) for (_, note), data in zip(requests, chunks, strict=True)]
        )
        self.on_sent(receiver, size, len(requests))

    def _read(self, receiver: Receiver, requests: list[tuple[int, Hashable]]) -> None:
        """Have a worker thread read chunks that are not in the page cache."""

        def read() -> tuple[list[_Read], float]:
            begun = monotonic()
            return [self._read_one(index) for index, _ in requests], monotonic() - begun

        def done(future: asyncio.Future[tuple[list[_Read], float]]) -> None:
            self._reads.discard(future)
            if self._reading.get(receiver) is not future:
                return
            del self._reading[receiver]
            results, seconds = future.result()
            self._counters.reads.add(seconds)
            found = list(zip(requests, results, strict=True))
            good = [(each, data) for each, data in found if isinstance(data, bytes)]
            self._send(receiver, [each for each, _ in good], [data for _, data in good])
            for (_, note), error in found:
                if not isinstance(error, bytes):
                    receiver.refuse([note], error)
            self.wake(receiver)

        future = self._loop.run_in_executor(self._threads, read)
        self._reading[receiver] = future
        self._reads.add(future)
        future.add_done_callback(done)

    def _read_one(self, index: int) -> _Read:
        """Return a chunk or the error of reading it; runs in a worker thread."""
        try:
            return self._store.get(index)
        except ShoalError as error:
            # Its traceback would keep the bytes that were read and not sent.
            return type(error)(str(error))
        except KeyError:
            return KeyError(index)
        except Exception as error:
            return error
