"""One attempt at a download: chunks asked for, verified, written.

`Transfer` begins when the sizes are settled and the store is open. What to ask of
whom is `Asking`'s to say; the transfer sends that, within the rate that is allowed,
and has what comes verified and written. It never chooses whom to talk to: givers are
given to it and taken from it, and a liar is reported to its `Watcher`.
"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from random import Random
from typing import Generic, Protocol, TypeVar

from shoal.core.limits import RateLimit
from shoal.core.manifest.chunks import Bitfield
from shoal.core.report.counters import Tally
from shoal.core.report.outlook import Lack
from shoal.core.schedule.asking import Asking
from shoal.core.schedule.window import MAX_REQUESTS
from shoal.core.session.session import ChunkReceived
from shoal.core.wire.framing import BufferPool
from shoal.storage.store import DownloadStore
from shoal.transfer.writer import Arrived, ChunkWriter, Verdict, Verifier

__all__ = ["Giver", "Transfer", "Watcher"]


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
        bucket: RateLimit | None = None,
        wanted: Iterable[int] | None = None,
        make_writer: type[ChunkWriter[G]] = ChunkWriter,
        tally: Tally | None = None,
    ) -> None:
        """Begin with what `store` has; without a `verifier` nothing is verified.

        What is asked for in bytes per second stays within the rate of `bucket`.

        With `wanted` only those chunks are fetched, in this order, and what `want`
        adds. What the disk takes is counted in `tally`.
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
        self._asking: Asking[G] = Asking(self.chunks, self.have, rng, wanted=wanted)
        self._writer = make_writer(
            store,
            verifier,
            executor,
            pool=pool,
            on_verdicts=self._on_verdicts,
            on_error=watcher.on_error,
            tally=tally or Tally(),
        )
        self._watcher = watcher
        self._pool = pool
        self._bucket = bucket or RateLimit()
        self._resume: asyncio.TimerHandle | None = None
        self._clock = asyncio.get_running_loop().time

    @property
    def is_proven(self) -> bool:
        """Say whether chunks that verified prove the sizes.

        Any chunk but the last proves the chunk size, the last one the file's.
        """
        last = self.chunks.count - 1
        return self.verifier is not None and (
            last < 0 or (self._asking.has(last) and (last == 0 or self._verified > 1))
        )

    @property
    def is_complete(self) -> bool:
        """Say whether every chunk that is wanted is verified and written."""
        return self._asking.is_complete

    @property
    def lack(self) -> Lack | None:
        """Return what no giver has, if nothing else is left to ask for."""
        return self._asking.lack

    @property
    def unwritten(self) -> int:
        """Return how many bytes came and have no verdict yet."""
        return self._writer.waiting

    @property
    def asked(self) -> frozenset[int]:
        """Return which chunks are on their way, or wait for their verdict."""
        return self._asking.asked

    def want(self, indexes: Iterable[int]) -> None:
        """Fetch these as well, in this order."""
        for giver in self._asking.want(indexes):
            self._ask(giver)

    def want_first(self, index: int) -> None:
        """Fetch a chunk before all others: somebody waits for it."""
        if not self._bucket.is_limited:
            giver = self._asking.want_at_once(index, self._clock())
            if giver is not None:
                giver.ask((index,))
                return
        for giver in self._asking.want((index,), before=True):
            self._ask(giver)

    def unwant(self, indexes: Iterable[int]) -> None:
        """Fetch these no more, as far as they have not come."""
        for giver, index in self._asking.unwant(indexes):
            giver.cancel((index,))
        self._ask_all()

    def forget(self, index: int) -> None:
        """Note that the store has let go of a chunk."""
        if index in self.have:
            self._asking.forget(index)
            self.done -= self.chunks.length(index)

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
        self._asking.add(giver, have, gives_any=gives_any, most=most)
        self._ask(giver)

    def add_origin(self, origin: G) -> None:
        """Ask an origin for what no peer has nor is about to have."""
        self._asking.add_origin(origin)
        self._ask(origin)

    def remove(self, giver: G) -> None:
        """Ask others for what a giver was asked for."""
        if self._asking.remove(giver):
            self._ask_all()

    def on_have(self, giver: G, indexes: Iterable[int]) -> None:
        """Note what a giver that has only some chunks has since."""
        if self._asking.on_have(giver, indexes):
            self._ask(giver)

    def on_pulling(self, giver: G, indexes: Iterable[int]) -> None:
        """Note what a giver is asking an origin for."""
        self._asking.on_pulling(giver, indexes, self._clock())

    def puller(self, index: int) -> G | None:
        """Return which giver says that it asks an origin for a chunk, if one does."""
        return self._asking.puller(index)

    def take_back(self, giver: G, indexes: Iterable[int]) -> None:
        """Ask whomever else for these; that giver is not to blame."""
        self._asking.take_back(giver, indexes)
        self._ask_all()

    def on_heard(self, giver: G, *, is_ahead: bool = False) -> None:
        """Note that a giver is alive, and whether it sends more than we can take."""
        self._asking.on_heard(giver, self._clock(), is_ahead=is_ahead)

    def on_chunk(self, giver: G, chunk: ChunkReceived) -> None:
        """Have a chunk verified and written, unless it is there already."""
        if giver not in self._asking:
            return
        if chunk.index >= self.have.size:
            self._watcher.on_lie(giver, chunk.index)
        elif self._asking.on_answer(
            giver, chunk.index, self._clock(), was_any=chunk.was_any
        ):
            self._writer.put(Arrived(giver, chunk.index, chunk.data, chunk.buffer))
        elif chunk.buffer is not None:
            self._pool.give(chunk.buffer)

    def on_refused(self, giver: G, index: int | None, *, is_busy: bool) -> None:
        """Ask others for what a giver will not give; one that is busy, later."""
        self._asking.on_refused(giver, index, self._clock(), is_busy=is_busy)

    def on_answers_done(self, giver: G) -> None:
        """Ask for more, once per read however many chunks were in it."""
        if giver in self._asking:
            self._ask(giver)

    def on_tick(self, now: float) -> list[G]:
        """Ask others for what takes too long; return the givers that stall now."""
        self._writer.commit_if_due()  # nothing may come for a while
        stalled = self._asking.on_tick(now)
        self._ask_due()
        return stalled

    # Asking.

    def _ask_due(self) -> None:
        for giver in self._asking.due():
            self._ask(giver)

    def _ask_all(self) -> None:
        for giver in self._asking.givers:
            self._ask(giver)

    def _ask(self, giver: G) -> None:
        """Send as many requests as the giver's window and the rate have room for."""
        if self._asking.is_complete:
            return  # which a reader's transfer is most of the time
        room = self._asking.room(giver, self._writer.waiting)
        limit = min(room, self._allowance(room))
        if limit <= 0:
            return
        now = self._clock()
        number, indexes = self._asking.next_requests(giver, limit, now)
        self._bucket.take((number + len(indexes)) * self.chunks.chunk_size, now)
        if number:
            giver.ask_any(number)
        if indexes:
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

    # What the writer reports.

    def _on_verdicts(self, verdicts: Iterable[tuple[Arrived[G], Verdict]]) -> None:
        for arrived, verdict in verdicts:
            if verdict is Verdict.OTHER_LENGTH:
                self._watcher.on_wrong_sizes()
                return
            if verdict is Verdict.WRONG:
                self._asking.on_failed(arrived.index)
                self._watcher.on_lie(arrived.peer, arrived.index)
            else:
                self._on_right(arrived.index, arrived.peer)
        if self.is_complete:
            self._watcher.on_complete()
        elif self._bucket.is_limited:
            self._ask_all()  # each of them may be asked for one more
        else:
            self._ask_due()

    def _on_right(self, index: int, giver: G) -> None:
        for other in self._asking.on_verified(index, giver):
            other.cancel((index,))
        self.done += self.chunks.length(index)
        self._verified += 1
        self._watcher.on_verified(giver, index)
