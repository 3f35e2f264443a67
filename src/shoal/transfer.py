"""One attempt at a download: chunks asked for, verified, written.

`Transfer` is the single owner of the picker and of what each giver was asked for. It
begins when the sizes are settled and the store is open. It never chooses whom to
talk to: givers are given to it and taken from it, and a liar is reported to its
`Watcher`.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Executor
from random import Random
from typing import Generic, Protocol, TypeVar

from shoal.core.bucket import TokenBucket
from shoal.core.chunks import Bitfield
from shoal.core.framing import BufferPool
from shoal.core.picker import ChunkPicker
from shoal.core.session import ChunkReceived
from shoal.core.window import MAX_REQUESTS, RequestWindow
from shoal.storage.download import DownloadStore
from shoal.writer import Arrived, ChunkWriter, Verdict, Verifier

__all__ = ["Giver", "Transfer", "Watcher"]

IN_FLIGHT_LIMIT = 64 * 1024 * 1024  # bytes asked for or waiting for their verdict
# What waits for its verdict should still be in the processor's cache by then, or
# hashing and writing it cost half as much again.
BACKLOG_LIMIT = 6 * 1024 * 1024  # bytes waiting for their verdict
BACKLOG_CHUNKS = 512  # of them at most, since a kill loses what waits
MAX_WASTED = 3  # chunks of its choice that were there, until it chooses no more
ANY_PAUSE = 3.0  # seconds for which a giver that had nothing to choose is not asked to


class Giver(Protocol):
    """Give chunks to us; what it is called by is its identity."""

    def __hash__(self) -> int: ...

    def ask(self, indexes: Iterable[int]) -> None:
        """Send requests for chunks."""

    def ask_any(self, number: int) -> None:
        """Send requests for as many chunks, which ones is up to the giver."""

    def cancel(self, indexes: Iterable[int]) -> None:
        """Take requests back, where the protocol has a word for that."""


G = TypeVar("G", bound=Giver)
G_contra = TypeVar("G_contra", bound=Giver, contravariant=True)


class Watcher(Protocol[G_contra]):
    """Hear how a transfer goes; called on the event loop only."""

    def on_verified(self, giver: G_contra, index: int) -> None:
        """Take note of a chunk that is verified and written."""

    def on_lie(self, giver: G_contra, index: int) -> None:
        """Get rid of a giver whose chunk did not verify."""

    def on_wrong_sizes(self) -> None:
        """Give up this attempt: a chunk with the right hash has another length."""

    def on_complete(self) -> None:
        """Finish: every chunk that is wanted is verified and written."""

    def on_error(self, error: BaseException) -> None:
        """Give up: the store failed."""


class _Flow:
    """Remember what one giver was asked for."""

    def __init__(
        self, chunk_size: int, most: int, *, is_full: bool, gives_any: bool
    ) -> None:
        self.window = RequestWindow(chunk_size, most)
        self.is_full = is_full
        self.gives_any = gives_any
        self.any_keys: deque[int] = deque()  # stand in the window for any chunk
        self.any_from = 0.0  # when it may be asked for any chunk again
        self.wasted = 0  # chunks of its choice that were there already


class Transfer(Generic[G]):
    """Fetch the chunks that a store is missing."""

    def __init__(
        self,
        store: DownloadStore,
        verifier: Verifier | None,
        watcher: Watcher[G],
        executor: Executor,
        *,
        rng: Random,
        pool: BufferPool,
        bucket: TokenBucket | None = None,
        wanted: Iterable[int] | None = None,
    ) -> None:
        """Begin with what `store` has; without a `verifier` nothing is verified.

        What is asked for in bytes per second stays within the rate of `bucket`.

        With `wanted` only those chunks are fetched, in this order, and what `want`
        adds.
        """
        self.store = store
        self.chunks = store.chunks
        self.verifier = verifier
        # The writer adds to the store's own bitfield, in its thread.
        self.have = Bitfield.from_bytes(bytes(store.have), store.have.size)
        """Which chunks are verified and written."""
        self.done = sum(map(self.chunks.length, self.have))
        """Bytes of them."""
        self._verified = len(self.have)
        last = range(self.chunks.count)[-1:]
        self._picker: ChunkPicker[G] = ChunkPicker(
            self.have, rng, first=last, wanted=wanted
        )
        self._writer: ChunkWriter[G] = ChunkWriter(
            store,
            verifier,
            executor,
            pool=pool,
            on_verdicts=self._on_verdicts,
            on_error=watcher.on_error,
        )
        self._watcher = watcher
        self._pool = pool
        self._flows: dict[G, _Flow] = {}
        self._next_key = -1
        self._bucket = bucket or TokenBucket()
        self._resume: asyncio.TimerHandle | None = None
        self._clock = asyncio.get_running_loop().time

    @property
    def is_proven(self) -> bool:
        """Say whether chunks that verified prove the sizes.

        Any chunk but the last proves the chunk size, the last one the file's.
        """
        last = self.chunks.count - 1
        return self.verifier is not None and (
            last < 0 or (self._picker.has(last) and (last == 0 or self._verified > 1))
        )

    @property
    def is_complete(self) -> bool:
        """Say whether every chunk that is wanted is verified and written."""
        return self._picker.is_complete

    def want(self, indexes: Iterable[int]) -> None:
        """Fetch these as well, before others and in this order."""
        self._picker.want(indexes)
        self._ask_all()

    async def stop(self) -> None:
        """Take nothing more and wait for the threads; idempotent."""
        if self._resume is not None:
            self._resume.cancel()
        await self._writer.stop()

    # Givers come and go.

    def add(
        self,
        giver: G,
        have: Bitfield | None = None,
        *,
        gives_any: bool = False,
        most: int = MAX_REQUESTS,
    ) -> None:
        """Ask a giver for its share of the chunks; without `have` it has all.

        It keeps at most `most` requests waiting; with `gives_any` it may choose.
        """
        is_full = have is None or have.is_complete
        self._flows[giver] = _Flow(
            self.chunks.chunk_size, most, is_full=is_full, gives_any=gives_any
        )
        self._picker.on_peer_joined(giver, None if is_full else have)
        self._ask(giver)

    def remove(self, giver: G) -> None:
        """Ask others for what a giver was asked for."""
        if self._flows.pop(giver, None) is not None:
            self._picker.on_peer_left(giver)
            self._ask_all()

    def on_have(self, giver: G, indexes: Iterable[int]) -> None:
        """Note what a giver that has only some chunks has since."""
        flow = self._flows.get(giver)
        if flow is not None and not flow.is_full:
            for index in indexes:
                self._picker.on_have(giver, index)
            self._ask(giver)

    def on_heard(self, giver: G) -> None:
        """Note that a giver is alive."""
        flow = self._flows.get(giver)
        if flow is not None:
            flow.window.on_heard(self._clock())

    def on_chunk(self, giver: G, chunk: ChunkReceived) -> None:
        """Have a chunk verified and written, unless it is there already."""
        flow = self._flows.get(giver)
        if flow is None:
            return
        key = chunk.index
        if chunk.was_any and flow.any_keys:
            key = flow.any_keys.popleft()
        flow.window.on_answer(key, self._clock())
        if chunk.index >= self.chunks.count:
            self._watcher.on_lie(giver, chunk.index)
        elif self._picker.on_chunk_arrived(chunk.index, giver):
            self._writer.put(Arrived(giver, chunk.index, chunk.data, chunk.buffer))
        else:
            if chunk.buffer is not None:
                self._pool.give(chunk.buffer)
            if chunk.was_any:
                flow.wasted += 1
                flow.gives_any = flow.wasted < MAX_WASTED

    def on_refused(self, giver: G, index: int | None, *, is_busy: bool) -> None:
        """Ask others for what a giver will not give; one that is busy, later."""
        flow = self._flows.get(giver)
        if flow is None:
            return
        if index is not None:
            flow.window.on_refused(index)
            if index not in self._picker.asked_of(giver):
                return
            if is_busy:
                self._picker.on_request_expired(index, giver)
            else:
                # Never asked of it again, so refusing all costs it one request each.
                self._picker.on_request_refused(index, giver)
        elif flow.any_keys:
            flow.window.on_refused(flow.any_keys.popleft())
            flow.any_from = self._clock() + ANY_PAUSE

    def on_answers_done(self, giver: G) -> None:
        """Ask for more, once per read however many chunks were in it."""
        if giver in self._flows:
            self._ask(giver)

    def on_tick(self, now: float) -> list[G]:
        """Ask others for what stalled givers owe; return those that stall now.

        Near the end, chunks that take long are asked of a second giver as well;
        only here, so that those about to come are not sent twice.
        """
        stalled = []
        delays = sorted(f.window.delay for f in self._flows.values() if f.window.delay)
        usual = delays[len(delays) // 2] if delays else 0.0
        for giver, flow in self._flows.items():
            if flow.window.check_stalled(now, usual):
                stalled.append(giver)
                flow.any_keys.clear()
                flow.gives_any = False
                for index in self._picker.asked_of(giver):
                    self._picker.on_request_expired(index, giver)
        for giver in list(self._flows):
            self._ask(giver, copies=True)
        return stalled

    # Asking.

    def _ask_all(self) -> None:
        for giver in list(self._flows):
            self._ask(giver)

    def _ask(self, giver: G, *, copies: bool = False) -> None:
        """Send as many requests as the giver's window has room for."""
        flow = self._flows[giver]
        chunk_size = self.chunks.chunk_size
        in_flight = self._writer.waiting
        backlog = min(BACKLOG_LIMIT, BACKLOG_CHUNKS * chunk_size)
        if in_flight > max(backlog, 2 * chunk_size):
            return
        in_flight += sum(len(f.window) for f in self._flows.values()) * chunk_size
        budget = max(0, IN_FLIGHT_LIMIT - in_flight) // chunk_size
        # One chunk may always be on its way, or nothing would ever move.
        limit = min(flow.window.room(), max(budget, 0 if in_flight else 1))
        limit = min(limit, self._allowance(limit))
        if limit > 0 and self._may_ask_any(flow):
            self._ask_any(giver, flow, limit)
            if flow.any_keys:
                # What it chose is on its way; asked for by index it would come twice.
                return
        if limit > 0:
            indexes = self._picker.next_requests(giver, limit, copies=copies)
            if indexes:
                flow.window.on_sent(indexes, self._clock())
                self._bucket.take(len(indexes) * chunk_size, self._clock())
                giver.ask(indexes)

    def _allowance(self, limit: int) -> int:
        """Return how many chunks the rate allows now; wakes when it allows more."""
        if not self._bucket.is_limited or limit <= 0:
            return limit
        now = self._clock()
        wait = self._bucket.wait(now)
        if wait <= 0:
            return 1
        if self._resume is None:
            self._resume = asyncio.get_running_loop().call_later(wait, self._go_on)
        return 0

    def _go_on(self) -> None:
        self._resume = None
        self._ask_all()

    def _may_ask_any(self, flow: _Flow) -> bool:
        """Say whether a giver should choose: the only one that has everything.

        Two of them would choose the same, since neither sees what the other gives.
        """
        return (
            flow.gives_any
            and self._picker.wants_all
            and flow.is_full
            and self._clock() >= flow.any_from
            and sum(f.is_full for f in self._flows.values()) == 1
        )

    def _ask_any(self, giver: G, flow: _Flow, limit: int) -> None:
        """Ask for any chunk as long as there are some that only this giver has."""
        number = min(limit, self._picker.unseen - len(flow.any_keys))
        if number <= 0:
            return
        keys = range(self._next_key, self._next_key - number, -1)
        self._next_key -= number
        flow.any_keys.extend(keys)
        flow.window.on_sent(keys, self._clock())
        self._bucket.take(number * self.chunks.chunk_size, self._clock())
        giver.ask_any(number)

    # What the writer reports.

    def _on_verdicts(self, verdicts: Iterable[tuple[Arrived[G], Verdict]]) -> None:
        for arrived, verdict in verdicts:
            if verdict is Verdict.OTHER_LENGTH:
                self._watcher.on_wrong_sizes()
                return
            if verdict is Verdict.WRONG:
                self._picker.on_chunk_failed(arrived.index)
                self._watcher.on_lie(arrived.peer, arrived.index)
            else:
                self._on_right(arrived.index, arrived.peer)
        if self.is_complete:
            self._watcher.on_complete()
        else:
            self._ask_all()

    def _on_right(self, index: int, giver: G) -> None:
        for other in self._picker.on_chunk_verified(index):
            self._flows[other].window.forget(index)
            other.cancel((index,))
        self.done += self.chunks.length(index)
        self._verified += 1
        self._watcher.on_verified(giver, index)
