"""Serve chunks to many receivers, fairly and within a rate.

`Uploader` owns the order in which receivers are served: one batch each, in turns, and
to a few at the same time (`core/schedule/turns.py`). A request for blocks, for which a
reader waits, and a small request that is its receiver's only one do not wait for that.
Chunks in the page cache are read on the event loop; chunks that have to come from the
disk are read in a worker thread, so that a slow disk delays no other receiver. The
rate is that of the node, which all its shares have in common.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Protocol, TypeAlias, TypeVar

from shoal.core.schedule.turns import SendingLimit, Turns
from shoal.core.session.request_queue import MAX_QUEUED_REQUESTS
from shoal.errors import ShoalError, StoreError
from shoal.resources import Resources
from shoal.storage.store import ChunkReader, Span

__all__ = ["LONE_SIZE", "Receiver", "Uploader"]

BATCH_SIZE = 64 * 1024  # bytes read before the next receiver has its turn
LONE_SIZE = 64 * 1024  # bytes up to which a receiver's only request is urgent
READ_LEAST = 128 * 1024  # bytes of chunks that are read and sent in one go
READ_BATCH = 2 * 1024 * 1024  # bytes of them at once
ALONE_LEAST = 16 * 1024  # the same for a receiver that is alone

T = TypeVar("T")
Requests: TypeAlias = Sequence[tuple[int | Span, Hashable]]
"""Chunks or parts of them, each with a note for the receiver."""
Read: TypeAlias = bytes | memoryview | Exception
"""A chunk, or why it cannot be read."""
Sent: TypeAlias = int | Exception
"""The size of a chunk that was sent, or why it cannot be read."""


class _Scratch(threading.local):
    """Hold memory for one chunk in each thread."""

    def __init__(self) -> None:
        self._room = memoryview(b"")

    def room(self, size: int) -> memoryview | None:
        """Return memory for a chunk; None if that would be much."""
        if size > READ_BATCH:
            return None
        if len(self._room) < size:
            self._room = memoryview(bytearray(size))
        return self._room


_scratch = _Scratch()


class Receiver(Protocol):
    """Receive chunks for one peer; called on the event loop only."""

    def __hash__(self) -> int:
        return id(self)

    @property
    def is_writable(self) -> bool:
        """Return True if more can be sent without piling up in memory."""

    @property
    def is_urgent(self) -> bool:
        """Return True if others that are sent to must not delay its requests."""
        return False

    @property
    def is_alone(self) -> bool:
        """Return True if there is no other receiver, whose chunks could be delayed."""
        return False

    def next_requests(self, limit: int) -> Requests:
        """Return up to `limit` chunks, or parts of them, to send now.

        Each comes with a note for `send`.
        """

    def send(self, chunks: list[tuple[Hashable, bytes]]) -> None:
        """Send chunks, each with the note of its request."""

    @property
    def can_send_read(self) -> bool:
        """Return True if `send_read` can be called now."""
        return False

    def send_read(
        self, requests: "Requests", read: "Callable[[int | Span], Read]"
    ) -> "asyncio.Future[list[Sent]]":
        """Read chunks with `read` in a thread, and send those that can be read.

        What `read` returns is valid until its next call in that thread. The result has
        one element for each request.
        """
        raise AssertionError("a receiver that cannot do this")

    def on_sent(self, sent: list[tuple[Hashable, int]]) -> None:
        """Note the requests that `send_read` has answered, with the chunks' sizes."""
        raise AssertionError("a receiver without `send_read`")

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

    def read_now(self, wanted: int | Span) -> bytes | None:
        """Return a single requested chunk, or part, if it need not wait for others.

        This saves such a request the queue, which takes longer than serving it.
        `on_sent` must follow.
        """
        if self._bucket.is_limited or self._is_closed:
            return None
        if isinstance(wanted, int) and self._store.chunks.length(wanted) > LONE_SIZE:
            if self._turns or not self._has_room():
                return None
        try:
            return self._get_now(wanted)
        except (StoreError, KeyError):
            return None  # `_serve_one` will refuse it with the reason

    def on_sent(self, receiver: Receiver, sizes: Sequence[int]) -> None:
        """Count chunks that were just passed to a receiver's socket, by their sizes."""
        now, size = self._loop.time(), sum(sizes)
        self._bucket.take(size, now)
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
            self._limit.on_started(receiver, self._loop.time())

    def _get_now(self, wanted: int | Span) -> bytes | None:
        if isinstance(wanted, Span):
            return self._store.get_span_now(wanted)
        return self._store.get_now(wanted)

    def wake(self, receiver: Receiver) -> None:
        """Note that a receiver has requests or that its socket accepts more."""
        if self._is_closed:
            return
        if receiver not in self._reading:
            self._queue(receiver)
        self._serve()

    def remove(self, receiver: Receiver) -> None:
        """Forget a receiver; chunks being read for it are dropped."""
        self._reading.pop(receiver, None)
        if self._waiting.pop(receiver, None) is not None:
            self._turns.remove(receiver)
            self._urgent.pop(receiver, None)
        self._limit.on_finished(receiver)
        if not self._is_closed:
            self._serve()

    def _queue(self, receiver: Receiver) -> None:
        if receiver not in self._waiting:
            self._waiting[receiver] = self._loop.time()
            self._turns.append(receiver)
        if receiver.is_urgent:
            self._urgent[receiver] = None

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
            receiver = self._order.take(self._turns)
        elif self._urgent:
            receiver = next(iter(self._urgent))
            self._turns.remove(receiver)
        else:
            return None
        self._urgent.pop(receiver, None)
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
        size = self._store.chunks.chunk_size
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
                chunks = self._store.get_many_now(indexes)
            else:
                chunks = [self._get_now(wanted) for wanted, _ in requests]
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
        sending = receiver.send_read(requests, self._read_into)

        def done(_: asyncio.Future[list[Sent]]) -> None:
            self._reads.discard(sending)
            if self._reading.get(receiver) is not sending:
                return
            del self._reading[receiver]
            sent: list[tuple[Hashable, int]] = []
            for (_wanted, note), result in zip(requests, sending.result(), strict=True):
                if isinstance(result, int):
                    sent.append((note, result))
                else:
                    receiver.refuse([note], result)
            receiver.on_sent(sent)
            self.on_sent(receiver, [size for _, size in sent])
            self.wake(receiver)

        self._reading[receiver] = sending
        self._reads.add(sending)
        sending.add_done_callback(done)

    def _read(self, receiver: Receiver, requests: Requests) -> None:
        """Have a worker thread read chunks that are not in the page cache."""

        def read() -> tuple[list[bytes | Exception], float]:
            begun = monotonic()
            return [self._read_one(each) for each, _ in requests], monotonic() - begun

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

    def _read_into(self, wanted: int | Span) -> Read:
        """Return a chunk as `_read_one` does, in memory that the thread uses again."""
        room = _scratch.room(self._store.chunks.chunk_size)
        if room is None or isinstance(wanted, Span):
            return self._read_one(wanted)
        return _result(partial(self._store.get_into, wanted, room))

    def _read_one(self, wanted: int | Span) -> bytes | Exception:
        """Return a chunk or part, or the error of reading it; runs in a thread."""
        if isinstance(wanted, Span):
            return _result(partial(self._store.get_span, wanted))
        return _result(partial(self._store.get, wanted))


def _result(read: Callable[[], T]) -> T | Exception:
    """Return what `read` does, or its error, which the receiver reports to the user."""
    try:
        return read()
    except ShoalError as error:
        # Its traceback would keep the bytes that were read and not sent.
        return type(error)(str(error))
    except KeyError as error:
        return KeyError(*error.args)
    except Exception as error:
        return error
