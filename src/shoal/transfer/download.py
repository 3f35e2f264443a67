"""One attempt at a download: request chunks, have them verified and written.

A `Download` exists once the sizes are known and the store is open. Its `Scheduler`
decides which chunk to request from which source; the download sends these requests,
within the rate limit, and passes the chunks that arrive to its `ChunkWriter`. It does
not choose its sources: its `Watcher` adds them, removes them and bans those whose
chunks are wrong.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.scheduler import Scheduler
from shoal.core.schedule.window import MAX_REQUESTS
from shoal.core.session.events import AnyChunk
from shoal.resources import Resources
from shoal.storage.store import DownloadStore
from shoal.transfer.writer import Arrived, ChunkWriter, Outcome, Verifier

__all__ = ["Download", "Source", "Watcher"]

UNREQUESTED_LIMIT = 8 * 1024 * 1024  # bytes waiting for verification


class Source(Protocol):
    """Send chunks to us: a peer or an origin, told apart by identity."""

    def __hash__(self) -> int: ...

    def request(self, indexes: Iterable[int]) -> None:
        """Send requests for chunks."""

    def request_any(self, number: int) -> None:
        """Send requests for `number` chunks that the source chooses."""

    def cancel(self, indexes: Iterable[int]) -> None:
        """Take requests back, where the protocol has a message for that."""


S = TypeVar("S", bound=Source)
S_contra = TypeVar("S_contra", bound=Source, contravariant=True)


class Watcher(Protocol[S_contra]):
    """Receive the results of a download; called on the event loop only."""

    def on_verified(self, source: S_contra, indexes: Sequence[int], size: int) -> None:
        """Note that chunks of `size` bytes in all are verified and written."""

    def on_batch_verified(self) -> None:
        """Act on these chunks, after `on_verified` was called for each source."""

    def on_wrong_chunk(self, source: S_contra, index: int) -> None:
        """Ban a source whose chunk did not verify."""

    def on_forged_chunk(self, source: S_contra) -> None:
        """Disconnect a source: its chunk was changed on the way, by whomever.

        This happens only where chunks arrive encrypted.
        """
        raise AssertionError("a source that does not encrypt")

    def on_wrong_sizes(self) -> None:
        """End this attempt: a chunk with the right hash has another length.

        This happens only where the sizes are a server's claim: on an open channel.
        """
        raise AssertionError("the id proves the sizes")

    def on_error(self, error: BaseException) -> None:
        """End this attempt: the store failed."""


class Download(Generic[S]):
    """Fetch the chunks that a store is missing."""

    def __init__(
        self,
        store: DownloadStore,
        verifier: Verifier | None,
        watcher: Watcher[S],
        resources: Resources,
        *,
        wanted: Iterable[int] | None = None,
        make_writer: type[ChunkWriter[S]] = ChunkWriter,
    ) -> None:
        """Start with the chunks in `store`; without a `verifier` none is verified.

        With `wanted`, fetch only those chunks, in any order, and those that `want`
        adds. Requests stay within the download rate of `resources`.
        """
        self.store = store
        self.chunks = store.chunks
        self.verifier = verifier
        # The writer adds to the store's own bitfield, in its thread.
        self.have = Bitfield.from_bytes(bytes(store.have), store.have.size)
        """The chunks that are verified and written, as the event loop knows them.

        The scheduler adds to it before the watcher hears of a chunk.
        """
        self.done = sum(map(self.chunks.length, self.have))
        """Bytes in these chunks."""
        self.scheduler: Scheduler[S] = Scheduler(
            self.chunks, self.have, resources.rng, wanted=wanted
        )
        """Decides what to request; the one owner of what each source was asked for."""
        self._verified = len(self.have)
        self._writer = make_writer(
            store,
            verifier,
            resources,
            on_results=self._on_results,
            on_error=watcher.on_error,
        )
        self._watcher = watcher
        self._pool = resources.buffers
        self._bucket = resources.down
        self._written = asyncio.Event()  # some of what waited
        self._resume: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time

    @property
    def is_proven(self) -> bool:
        """Return True if the chunks that verified prove the sizes.

        Any chunk but the last proves the chunk size, the last one the file's size.
        """
        last = self.chunks.count - 1
        return self.verifier is not None and (
            last < 0 or (last in self.have and (last == 0 or self._verified > 1))
        )

    @property
    def is_complete(self) -> bool:
        """Return True if every wanted chunk is verified and written."""
        return self.scheduler.is_complete

    @property
    def unwritten(self) -> int:
        """Return how many bytes have arrived that are not verified and written."""
        return self._writer.waiting

    def want(self, indexes: Iterable[int]) -> None:
        """Fetch these chunks too, in this order."""
        for source in self.scheduler.add_wanted(indexes):
            self._request(source)

    def want_first(self, index: int) -> None:
        """Fetch a chunk before all others, because a reader waits for it."""
        if not self._bucket.is_limited:
            source = self.scheduler.request_at_once(index, self._clock())
            if source is not None:
                source.request((index,))
                return
        for source in self.scheduler.add_wanted((index,), before=True):
            self._request(source)

    def unwant(self, indexes: Iterable[int]) -> None:
        """Stop fetching these chunks, unless they have already arrived."""
        for source, index in self.scheduler.remove_wanted(indexes):
            source.cancel((index,))
        self._request_all()

    def adopt(self, index: int) -> None:
        """Note that the store has a chunk that was verified block by block."""
        if index not in self.have:
            for source in self.scheduler.on_verified(index, None):
                source.cancel((index,))
            self.done += self.chunks.length(index)

    def forget(self, index: int) -> None:
        """Note that the store no longer keeps a chunk."""
        if index in self.have:
            self.scheduler.picker.forget(index)
            self.done -= self.chunks.length(index)

    async def stop(self) -> None:
        """Accept no more chunks and wait for the threads; idempotent."""
        if self._resume is not None:
            self._resume.cancel()
        await self._writer.stop()

    # Sources join and leave.

    def add(
        self,
        source: S,
        have: Bitfield | None = None,
        *,
        can_choose: bool = False,
        most: int = MAX_REQUESTS,
    ) -> None:
        """Request from a source its part of the chunks; without `have` it has all.

        It accepts at most `most` requests at once; with `can_choose` it can choose the
        chunks to send.
        """
        self.scheduler.add(source, have, can_choose=can_choose, most=most)
        self._request(source)

    def add_origin(self, origin: S, refused: Iterable[int] = ()) -> None:
        """Request from an origin the chunks that no peer has or is about to have.

        The chunks in `refused` are never requested from it.
        """
        self.scheduler.add_origin(origin)
        self.scheduler.picker.refuse(origin, refused)
        self._request(origin)

    def remove(self, source: S) -> None:
        """Request from other sources what this one was asked for."""
        if self.scheduler.remove(source):
            self._request_all()

    def on_have(self, source: S, indexes: Collection[int] | Bitfield) -> None:
        """Note chunks that a source announced."""
        if self.scheduler.on_have(source, indexes):
            self._request(source)

    def take_back(self, source: S, indexes: Iterable[int]) -> None:
        """Request these from other sources, without blame for this one."""
        self.scheduler.take_back(source, indexes)
        self._request_all()

    def refuse(self, source: S, indexes: Collection[int]) -> None:
        """Request chunks from other sources from now on, not from this one."""
        if source in self.scheduler:
            self.scheduler.refuse(source, indexes)
            self._request_all()

    async def pace(self, source: S, size: int) -> None:
        """Wait until `size` bytes may be received that were not requested.

        They have to be within the rate limit, and what arrived has to be written.
        """
        if self._bucket.is_limited:
            wait = self._bucket.wait(self._clock())
            while wait > 0:
                await asyncio.sleep(min(wait, 1.0))
                self.scheduler.on_heard(source, self._clock())
                wait = self._bucket.wait(self._clock())
            self._bucket.take(size, self._clock())
        while self._writer.waiting > UNREQUESTED_LIMIT:
            self._written.clear()
            await self._written.wait()
            self.scheduler.on_heard(source, self._clock())

    def on_read(
        self, source: S, chunks: Iterable[AnyChunk], *, is_ahead: bool = False
    ) -> None:
        """Note that bytes arrived; have the chunks in them verified and written.

        With `is_ahead`, the source sends faster than we can read.
        """
        if source not in self.scheduler:
            return
        now = self._clock()
        self.scheduler.on_heard(source, now, is_ahead=is_ahead)
        for chunk in chunks:
            index, buffer = chunk.index, chunk.buffer
            if self.scheduler.on_answer(source, index, now, was_any=chunk.was_any):
                data = chunk.data
                self._writer.put(Arrived(source, index, data, buffer, len(data)))
            elif buffer is not None:  # it is already here
                self._pool.give(buffer)

    def on_answers_done(self, source: S) -> None:
        """Send more requests, once per read however many chunks it contained."""
        if source in self.scheduler:
            self._request(source)

    def on_tick(self, now: float) -> list[S]:
        """Request late chunks from other sources; return the sources that stall now."""
        self._writer.commit_if_due()  # no chunk may arrive for a while
        stalled = self.scheduler.on_tick(now)
        self._request_due()
        return stalled

    # Sending requests.

    def _request_due(self) -> None:
        for source in self.scheduler.due():
            self._request(source)

    def _request_all(self) -> None:
        for source in self.scheduler.sources:
            self._request(source)

    def _request(self, source: S) -> None:
        """Send as many requests as the source's window and the rate limit allow."""
        if self.scheduler.is_complete:
            return  # which a reader's download is most of the time
        room = self.scheduler.room(source, self._writer.waiting)
        limit = min(room, self._allowance(room))
        if limit <= 0:
            return
        now = self._clock()
        number, indexes = self.scheduler.next_requests(source, limit, now)
        self._bucket.take((number + len(indexes)) * self.chunks.chunk_size, now)
        if number:
            source.request_any(number)
        if indexes:
            source.request(indexes)

    def _allowance(self, limit: int) -> int:
        """Return how many chunks the rate allows now; resume when it allows more."""
        if not self._bucket.is_limited or limit <= 0:
            return limit
        wait = self._bucket.wait(self._clock())
        if wait <= 0:
            return 1
        if self._resume is None:
            self._resume = self._loop.call_later(wait, self._resume_requests)
        return 0

    def _resume_requests(self) -> None:
        self._resume = None
        self._request_all()

    # What the writer reports.

    def _on_results(self, results: Iterable[tuple[Arrived[S], Outcome]]) -> None:
        self._written.set()
        verified: dict[S, list[Arrived[S]]] = {}
        for arrived, outcome in results:
            if outcome is Outcome.VERIFIED:
                verified.setdefault(arrived.source, []).append(arrived)
            elif outcome is Outcome.WRONG_LENGTH:
                self._watcher.on_wrong_sizes()
                return
        for source, chunks in verified.items():
            self._on_verified(source, chunks)
        for arrived, outcome in results:
            if outcome is not Outcome.VERIFIED:
                self._on_failed(arrived, outcome)
        if verified:
            self._watcher.on_batch_verified()
        if self._bucket.is_limited:
            self._request_all()  # one more chunk may be requested from each
        else:
            self._request_due()

    def _on_verified(self, source: S, chunks: list[Arrived[S]]) -> None:
        for chunk in chunks:
            for other in self.scheduler.on_verified(chunk.index, source):
                other.cancel((chunk.index,))
        size = sum([chunk.size for chunk in chunks])
        self.done += size
        self._verified += len(chunks)
        self._watcher.on_verified(source, [chunk.index for chunk in chunks], size)

    def _on_failed(self, arrived: Arrived[S], outcome: Outcome) -> None:
        self.scheduler.on_failed(arrived.index)
        if outcome is Outcome.WRONG:
            self._watcher.on_wrong_chunk(arrived.source, arrived.index)
        else:
            self._watcher.on_forged_chunk(arrived.source)
