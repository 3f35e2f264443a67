"""Serve chunks to many receivers, fairly and within a rate.

`Uploader` owns the order in which receivers are served: one batch each, in turns, and
to a few at the same time (`core/schedule/turns.py`). A request for blocks, for which a
reader waits, and a small request that is its receiver's only one do not wait for that.
Chunks in the page cache are read on the event loop; chunks that have to come from the
disk are read in a worker thread, so that a slow disk delays no other receiver. The
rate is that of the node, which all its shares have in common.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from time import monotonic
from typing import Any, TypeVar

from shoal.core.schedule.turns import SendingLimit, Turns
from shoal.core.send_budget import WATCH_PERIOD
from shoal.core.session.request_queue import MAX_QUEUED_REQUESTS
from shoal.errors import ShoalError, StoreError
from shoal.resources import Resources, trim_memory
from shoal.storage.store import ChunkReader, Span
from shoal.transfer.receiver import LONE_SIZE, Receiver, Sent, UploadRoom
from shoal.transfer.store_reader import READ_BATCH, Requests, StoreReader

__all__ = ["Uploader"]

BATCH_SIZE = 64 * 1024  # bytes read before the next receiver has its turn
READ_LEAST = 128 * 1024  # bytes of chunks that are read and sent in one go
ALONE_LEAST = 16 * 1024  # the same for a receiver that is alone
HEADER_ROOM = 64  # bytes of each chunk's header, at most
NOW_SIZE = 2 * 1024 * 1024  # bytes that are read on the event loop at most

T = TypeVar("T")


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
        self._reader = StoreReader(store)
        self._threads = resources.threads
        self._bucket = resources.up
        self._budget = resources.sending
        self._watch: asyncio.TimerHandle | None = None  # of slow receivers
        self._buffers = resources.buffers
        self._counters = resources.counters
        self._turns: deque[Receiver] = deque()
        self._waiting: dict[Receiver, float] = {}  # those in _turns, since when
        self._urgent: dict[Receiver, None] = {}  # those in _turns that are, in order
        self._order: Turns[Receiver] = Turns(rank)
        self._limit: SendingLimit[Receiver] = SendingLimit()
        self._again: asyncio.TimerHandle | None = None  # when the limit has room
        self._reading: dict[Receiver, asyncio.Future[Any]] = {}
        # All running reads, also those of receivers that have left.
        self._reads: set[asyncio.Future[Any]] = set()
        self._is_closed = False
        self._pause: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def aclose(self) -> None:
        """Serve no more chunks; idempotent."""
        self._is_closed = True
        self._turns.clear()
        self._urgent.clear()
        self._waiting.clear()
        timers = (self._pause, self._again, self._watch)
        for timer in filter(None, timers):
            timer.cancel()
        if self._reads:
            await asyncio.wait(self._reads)

    async def read_from(self, store: ChunkReader) -> None:
        """Read from another store; wait until no thread reads the old one."""
        await self._reader.read_from(store)

    @property
    def is_idle(self) -> bool:
        """Return True if no chunk is being read."""
        return not self._reading

    def read_now(self, wanted: int | Span) -> bytes | None:
        """Return a single requested chunk, or part, if it need not wait for others.

        This saves such a request the queue, which takes longer than serving it.
        `on_sent` must follow.
        """
        if self._bucket.is_limited or self._is_closed:
            return None
        is_chunk = isinstance(wanted, int)
        size = self._reader.size_of(wanted)
        if size > LONE_SIZE:
            if is_chunk and (self._turns or not self._has_room()):
                return None
            if size > NOW_SIZE or not self._budget.is_free(self._loop.time()):
                return None
        try:
            return self._reader.get_now(wanted)
        except (StoreError, KeyError):
            return None  # `_serve_one` will refuse it with the reason

    def on_sent(
        self, receiver: Receiver, sizes: Sequence[int], *, paid: int = 0
    ) -> None:
        """Count chunks that were just passed to a receiver's socket, by their sizes.

        The rate limit and the budget have counted `paid` bytes of them before.
        """
        now, size = self._loop.time(), sum(sizes)
        self._bucket.take(size - paid, now)
        self._budget.count(max(0, size - paid))
        self.served += len(sizes)
        self.sent += size
        self._note_busy(receiver, is_busy=not receiver.is_writable)
        if sizes:
            self._limit.on_sent(size, now)

    def on_writable(self, receiver: Receiver) -> None:
        """Note that a receiver has no requests and that its socket accepts more."""
        if receiver not in self._reading:
            self._limit.on_finished(receiver)
        self._serve()

    def _note_busy(self, receiver: Receiver, *, is_busy: bool) -> None:
        """Let a receiver take one of the limited places from now on, or no more."""
        self._limit.on_finished(receiver)
        if is_busy:
            self._limit.on_started(receiver, self._loop.time(), receiver.owner)

    def wake(self, receiver: Receiver) -> None:
        """Note that a receiver has requests or that its socket accepts more."""
        if self._is_closed:
            return
        if receiver not in self._reading:
            self._queue(receiver)
        self._serve()

    def remove(self, receiver: Receiver) -> None:
        """Forget a receiver; chunks being read for it are dropped."""
        self._budget.remove(receiver)
        self._reading.pop(receiver, None)
        if self._waiting.pop(receiver, None) is not None:
            self._turns.remove(receiver)
            self._urgent.pop(receiver, None)
        self._limit.on_finished(receiver)
        if not self._is_closed:
            self._serve()

    def _queue(self, receiver: Receiver) -> None:
        self._budget.add(receiver, self._loop.time())
        if self._watch is None:
            self._watch = self._loop.call_later(WATCH_PERIOD, self._drop_slow)
        if receiver not in self._waiting:
            self._waiting[receiver] = self._loop.time()
            self._turns.append(receiver)
        if receiver.is_urgent:
            self._urgent[receiver] = None

    def _drop_slow(self) -> None:
        """Disconnect receivers that take too little of what they requested."""
        self._watch = None
        if self._budget.is_in_use:
            self._watch = self._loop.call_later(WATCH_PERIOD, self._drop_slow)
        for receiver in self._budget.slow_peers(self._loop.time()):
            receiver.hang_up()
        if self._budget.is_over():
            self._buffers.clear()
            self._loop.run_in_executor(self._threads, trim_memory)

    def _serve(self) -> None:
        """Send a batch to each receiver in turn, within the rate limit."""
        while self._turns and self._pause is None:
            wait = self._bucket.wait(self._loop.time())
            if wait > 0:
                self._pause = self._loop.call_later(wait, self._resume)
                return
            receiver = self._take_next()
            if receiver is None:
                if self._again is None:
                    self._again = self._loop.call_at(self._limit.room_at, self._resume)
                return
            self._counters.turns.add(self._loop.time() - self._waiting.pop(receiver))
            if receiver.is_writable and self._serve_one(receiver):
                self._queue(receiver)

    def _take_next(self) -> Receiver | None:
        """Remove and return the receiver whose turn it is; None if all must wait."""
        if self._has_room():
            receiver = self._take_in_turn()
        elif self._urgent:
            receiver = next(iter(self._urgent))
            self._turns.remove(receiver)
        else:
            return None
        self._urgent.pop(receiver, None)
        return receiver

    def _take_in_turn(self) -> Receiver:
        """Remove and return the receiver whose turn it is, if there is room.

        One owner of many connections on which it takes nothing must not hold up others.
        """
        busy = Counter(each.owner for each in self._limit.receivers)
        if len(self._turns) == 1 or max(busy.values(), default=0) < 2:
            return self._order.take(self._turns)
        least = min(busy[each.owner] for each in self._turns)
        fair = deque(each for each in self._turns if busy[each.owner] == least)
        receiver = self._order.take(fair)
        self._turns.remove(receiver)
        return receiver

    def _has_room(self) -> bool:
        """Return True if one more receiver may be sent to."""
        now = self._loop.time()
        if self._limit.has_room(now):
            return True
        for receiver in self._limit.receivers:
            if receiver.is_writable and receiver not in self._reading:
                self._limit.on_finished(receiver)
        return self._limit.has_room(now)

    def _resume(self) -> None:
        self._pause = self._again = None
        self._serve()

    def _serve_one(self, receiver: Receiver) -> bool:
        """Send one batch; return True if the receiver should have another turn."""
        # Within a rate limit turns are short, so that all receivers get the same share.
        size = self._reader.store.chunks.chunk_size
        least = ALONE_LEAST if receiver.is_alone else READ_LEAST
        sends_itself = size >= least and receiver.can_send_read
        # Half of its queue at most, so that the receiver requests more meanwhile.
        most = min(READ_BATCH, MAX_QUEUED_REQUESTS // 2 * size)
        batch = most if sends_itself else BATCH_SIZE
        limit = 1 if self._bucket.is_limited else max(1, batch // size)
        requests = receiver.next_requests(limit)
        if not requests:
            return False
        if sends_itself:
            self._send_read(receiver, requests)
            return False
        chunks: list[bytes | None]
        try:
            indexes = [wanted for wanted, _ in requests if isinstance(wanted, int)]
            if len(indexes) == len(requests):
                chunks = self._reader.store.get_many_now(indexes)
            else:
                chunks = [self._reader.get_now(wanted) for wanted, _ in requests]
        except (StoreError, KeyError):
            chunks = [None]  # read one by one, to refuse only those that are missing
        ready = next((i for i, c in enumerate(chunks) if c is None), len(requests))
        good = [each for each in chunks[:ready] if each is not None]
        self._send(receiver, requests[:ready], good)
        if ready < len(requests):
            self._read(receiver, requests[ready:])
            return False
        return True

    def _send(
        self, receiver: Receiver, requests: Requests, chunks: list[bytes]
    ) -> None:
        if not requests:
            return
        receiver.send(
            [(note, data) for (_, note), data in zip(requests, chunks, strict=True)]
        )
        self.on_sent(receiver, list(map(len, chunks)))

    def _send_read(self, receiver: Receiver, requests: Requests) -> None:
        """Have a receiver read and send chunks itself; it takes a place meanwhile."""
        self._note_busy(receiver, is_busy=True)
        size = sum(self._reader.size_of(wanted) + HEADER_ROOM for wanted, _ in requests)
        room = UploadRoom(size, self._bucket, self._budget, self._loop.time)
        sending = receiver.send_read(requests, self._reader.read_into, room)

        def done(_: asyncio.Future[list[Sent]]) -> None:
            self._reads.discard(sending)
            if self._reading.get(receiver) is not sending:
                return
            del self._reading[receiver]
            if sending.cancelled():
                return  # the receiver is about to leave
            if (error := sending.exception()) is not None:
                # In the middle of a chunk, so its connection has ended.
                if not isinstance(error, ShoalError | KeyError):
                    raise error
                receiver.refuse([note for _, note in requests], error)
                return
            sent: list[tuple[Hashable, int]] = []
            for (_wanted, note), result in zip(requests, sending.result(), strict=True):
                if isinstance(result, int):
                    sent.append((note, result))
                else:
                    receiver.refuse([note], result)
            receiver.on_sent(sent)
            self.on_sent(receiver, [size for _, size in sent], paid=room.given)
            self.wake(receiver)

        self._reading[receiver] = sending
        self._reads.add(sending)
        sending.add_done_callback(done)

    def _read(self, receiver: Receiver, requests: Requests) -> None:
        """Have a worker thread read chunks that are not in the page cache."""

        def read() -> tuple[list[bytes | Exception], float]:
            begun = monotonic()
            return [
                self._reader.read(each) for each, _ in requests
            ], monotonic() - begun

        def done(future: asyncio.Future[tuple[list[bytes | Exception], float]]) -> None:
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

        # A slow disk delays no other receiver: this one takes no place meanwhile.
        self._note_busy(receiver, is_busy=not receiver.is_writable)
        future = self._loop.run_in_executor(self._threads, read)
        self._reading[receiver] = future
        self._reads.add(future)
        future.add_done_callback(done)
