"""Decide which chunks to request from which source; pure.

`Scheduler` is the single owner of the picker and of what each source has been asked
for. It returns how many chunks may be requested from a source and which, and is told
what became of them. Its callers send the requests, verify the chunks and write them,
so that a simulated swarm runs the same code as a download.
"""

from collections.abc import Collection, Hashable, Iterable
from random import Random
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.report.stall import Unavailable
from shoal.core.schedule.origin_requests import OriginRequests, OriginWindow
from shoal.core.schedule.picker import ChunkPicker
from shoal.core.schedule.window import MAX_REQUESTS, InFlightLimit, RequestWindow

__all__ = ["Scheduler"]

MAX_WASTED = 3  # chunks of a source's choice that we had; then it chooses no more
FEW_REQUESTS = 8  # outstanding in all, below which each source gets two
CHOICE_PAUSE = 3.0  # seconds until a source that had nothing to choose is asked again

S = TypeVar("S", bound=Hashable)


class Scheduler(Generic[S]):
    """Divide the missing chunks among the sources."""

    def __init__(
        self,
        chunks: Chunks,
        have: Bitfield,
        rng: Random,
        *,
        wanted: Iterable[int] | None = None,
    ) -> None:
        """Begin with the chunks in `have` verified; verified chunks are added to it.

        With `wanted`, only those chunks are requested, in any order, and those that
        `add_wanted` adds.
        """
        self._chunks = chunks
        self.picker: ChunkPicker[S] = ChunkPicker(
            have, rng, first=range(chunks.count)[-1:], wanted=wanted
        )
        """Knows the state of every chunk."""
        self._windows: dict[S, RequestWindow] = {}
        self._full = 0  # peers that have every chunk
        self._outstanding = 0  # requests, at all sources
        self._next_choice = -1
        self._late: set[int] = set()  # chunks that took long at the last tick
        self._is_due = False  # more than one source may have room for requests
        self.for_origins: OriginRequests[S] = OriginRequests(
            self.picker, self._windows, chunks.chunk_size
        )
        """Decides what to request from origins."""
        self._in_flight = InFlightLimit(chunks.chunk_size)
        self._is_read = False  # a reader waits for chunks in their order

    def __contains__(self, source: S) -> bool:
        return source in self._windows

    @property
    def sources(self) -> list[S]:
        """Return the sources that may get requests."""
        return list(self._windows)

    @property
    def is_complete(self) -> bool:
        """Return True if every wanted chunk is verified."""
        return not self.picker.left

    @property
    def unavailable(self) -> Unavailable | None:
        """Return the chunks that no source has, if no others are left to request."""
        index = self.picker.free.one_of(0)
        if index is None or self._full or self._outstanding:
            return None
        if self.picker.free.count_slice():
            return None  # it is not known yet which chunks peers have
        is_gone = self.picker.was_refused(index)
        return Unavailable(index, self.picker.free.size_of(0), is_gone=is_gone)

    def add_wanted(self, indexes: Iterable[int], *, before: bool = False) -> list[S]:
        """Request these as well, in this order; with `before`, before all others.

        Returns the sources, those that usually answer soonest first: a reader waits.
        """
        self._is_read = True
        if not self.picker.left:
            self.for_origins.on_pause()
        self.picker.add_wanted(indexes, before=before)
        return self._ranked()

    def request_at_once(self, index: int, now: float) -> S | None:
        """Note a request for the only wanted chunk; return the peer to send it to.

        Returns None if other chunks are wanted or no peer is ready; then use
        `add_wanted`.
        """
        for source in () if self._outstanding else self._ranked():
            window = self._windows[source]
            is_ready = not window.is_origin and window.room() > 0
            if is_ready and self.picker.want_from(index, source):
                self._is_read = True
                self.for_origins.on_pause()
                window.on_sent((index,), now)
                self._outstanding = 1
                return source
        return None

    def _ranked(self) -> list[S]:
        """Return the sources, those that usually answer soonest first, origins last."""
        windows = self._windows
        if len(windows) < 2:
            return list(windows)
        return sorted(windows, key=lambda s: (windows[s].is_origin, windows[s].delay))

    def remove_wanted(self, indexes: Iterable[int]) -> list[tuple[S, int]]:
        """Stop requesting these; return the requests to cancel."""
        requests = [
            (source, index)
            for index, sources in self.picker.remove_wanted(indexes).items()
            for source in sources
        ]
        for source, index in requests:
            self._outstanding -= self._windows[source].forget(index)
        return requests

    # Sources come and go.

    def add(
        self,
        source: S,
        have: Bitfield | None = None,
        *,
        can_choose: bool = False,
        most: int = MAX_REQUESTS,
    ) -> None:
        """Add a peer with the chunks in `have`; without it, the peer has all.

        At most `most` requests are outstanding at it. With `can_choose` it accepts
        requests for any chunk that is wanted.
        """
        self.remove(source)
        is_full = have is None or have.is_complete
        self._windows[source] = RequestWindow(
            self._chunks.chunk_size, most, is_full=is_full, can_choose=can_choose
        )
        self._full += is_full
        self.picker.on_peer_joined(source, None if is_full else have)

    def add_origin(self, origin: S) -> None:
        """Add an origin, for the chunks that no peer has or will have soon."""
        self.remove(origin)
        self._windows[origin] = OriginWindow(self._chunks.chunk_size)
        self.picker.on_peer_joined(origin, None)

    def remove(self, source: S) -> bool:
        """Forget a source and its requests; return True if it was known."""
        self.for_origins.fetches.remove(source)
        window = self._windows.pop(source, None)
        if window is None:
            return False
        self._is_due = True
        self._full -= window.is_full
        self._outstanding -= len(window)
        self.picker.on_peer_left(source)
        return True

    def on_have(self, source: S, indexes: Collection[int] | Bitfield) -> bool:
        """Note new chunks of a peer; return True if it may get a request for one."""
        self.for_origins.fetches.on_have(source, indexes)
        window = self._windows.get(source)
        if window is None or window.is_full:
            return False
        if isinstance(indexes, Bitfield):
            return self.picker.on_have_all(source, indexes)
        return any([self.picker.on_have(source, index) for index in indexes])

    def on_origin_fetch(self, source: S, indexes: Iterable[int], now: float) -> None:
        """Note the chunks that a peer announces to fetch from an origin."""
        if source in self._windows:
            self.for_origins.fetches.add(source, indexes, now)

    # An origin that ignores ranges sends whole files.

    def on_range(self, origin: S, *, is_ignored: bool) -> None:
        """Note whether an origin ignored a range; it sends a whole file then."""
        window = self._windows.get(origin)
        if window is not None:
            window.ignores_ranges = is_ignored

    def set_streaming(self, origin: S, is_streaming: bool) -> None:
        """Request nothing from an origin while it sends a whole file."""
        window = self._windows.get(origin)
        if window is not None:
            window.is_streaming = is_streaming

    def on_passed(self, origin: S, index: int, now: float) -> bool:
        """Note that a chunk comes by in a whole file; return True to take it.

        It counts as requested then.
        """
        window = self._windows.get(origin)
        if window is None:
            return False
        window.on_passed(now)
        # Also one that a peer fetches from an origin: it costs nothing more.
        is_taken = self.picker.request_free(index, origin)
        if is_taken:
            window.on_sent((index,), now)
            self._outstanding += 1
        return is_taken

    def refuse(self, source: S, indexes: Collection[int]) -> None:
        """Never request these chunks from a source again, but others."""
        self.picker.refuse(source, indexes)
        self.take_back(source, indexes)
        self._windows[source].is_verifying = False

    def take_back(self, source: S, indexes: Iterable[int]) -> None:
        """Note that a source will not get these requests; it is not to blame."""
        for index in self.picker.requested_from(source).intersection(indexes):
            self._outstanding -= self._windows[source].forget(index)
            self.picker.on_request_expired(index, source)
            self._is_due = True

    def on_heard(self, source: S, now: float, *, is_ahead: bool = False) -> None:
        """Note that a source is alive, and whether it sends faster than we can take."""
        window = self._windows.get(source)
        if window is not None:
            window.on_heard(now)
            self._in_flight.on_read(is_ahead=is_ahead)

    # What becomes of requests.

    def on_answer(self, source: S, index: int, now: float, *, was_any: bool) -> bool:
        """Note a chunk that arrived; return True if it is needed: then verify it.

        With `was_any`, the chunk is one of the source's choice.
        """
        window = self._windows[source]
        key = window.choices.popleft() if was_any and window.choices else index
        self._outstanding -= window.on_answer(key, now)
        is_wanted = not was_any or self.picker.wants(index)
        if is_wanted and self.picker.on_chunk_arrived(index, source):
            window.is_verifying = not window.is_proven
            self.for_origins.on_chunk(now, is_origin=window.is_origin)
            return True
        if was_any:
            window.wasted_choices += 1
            window.can_choose = window.wasted_choices < MAX_WASTED
        return False

    def on_refused(
        self, source: S, index: int | None, now: float, *, is_busy: bool
    ) -> None:
        """Request a refused chunk from others; from a busy source, later as well.

        Without `index`, the source has no chunk to choose.
        """
        window = self._windows.get(source)
        if window is None:
            return
        self._is_due = True
        if index is not None:
            self._outstanding -= window.on_refused(index)
            if index in self.picker.requested_from(source):
                # A source that refuses every chunk costs us one request for each.
                if is_busy:
                    window.on_busy(now)
                else:
                    self.picker.refuse(source, (index,))
                    self._full -= window.is_full
                    window.is_full = False
                self.picker.on_request_expired(index, source)
            return
        if window.choices:
            self._outstanding -= window.on_refused(window.choices.popleft())
        # It had stalled, so its requests were void. But it is alive.
        window.is_stalled = False
        window.choices_from = now + CHOICE_PAUSE

    def on_verified(self, index: int, source: S | None) -> list[S]:
        """Note that a chunk is right; return the sources to cancel it at.

        `source` sent it; None if it came in blocks.
        """
        window = None if source is None else self._windows.get(source)
        if window is not None and not window.is_proven:
            window.is_proven, window.is_verifying = True, False
            self._is_due = True
        others = self.picker.on_chunk_verified(index)
        for other in others:
            self._outstanding -= self._windows[other].forget(index)
            self._is_due = True
        return others

    def on_failed(self, index: int) -> None:
        """Note that a chunk is wrong: it is requested from others."""
        self._is_due = True
        self.picker.on_chunk_failed(index)

    def on_tick(self, now: float) -> list[S]:
        """Request the chunks of stalled sources elsewhere; return those that stall now.

        Near the end, chunks that take longer than usual may be requested twice.
        """
        self._in_flight.on_tick()
        self.for_origins.on_tick(now)
        stalled = []
        peers = [window for window in self._windows.values() if not window.is_origin]
        delays = sorted(window.delay for window in peers if window.delay)
        usual = delays[len(delays) // 2] if delays else 0.0
        self._late.clear()
        for source, window in self._windows.items():
            outstanding = len(window)
            if window.check_stalled(now, 0.0 if window.is_origin else usual):
                self._outstanding -= outstanding
                stalled.append(source)
                for index in self.picker.requested_from(source):
                    self.picker.on_request_expired(index, source)
            elif not self.picker.free:
                self._late.update(window.overdue(now, usual))
        # A pause may be over, too.
        over = [window.end_pause(now) for window in self._windows.values()]
        self._is_due |= bool(stalled or self._late) or any(over)
        return stalled

    # What to request.

    def due(self) -> list[S]:
        """Return the sources to try after verified chunks and ticks.

        Those are all sources if anything changed, and otherwise the origins, because
        what to request from an origin also depends on the time.
        """
        is_due, self._is_due = self._is_due, False
        return [s for s, window in self._windows.items() if is_due or window.is_origin]

    def room(self, source: S, waiting: int) -> int:
        """Return how many chunks may be requested from a source now, at most.

        `waiting` is how many bytes have arrived and are not verified.
        """
        # With few requests in all, no source should wait for the next one.
        least = 2 if self._outstanding < FEW_REQUESTS else 1
        room = self._windows[source].room(least)
        if room <= 0:
            return 0
        budget = self._in_flight.room(self._outstanding, waiting)
        self._is_due |= budget < room
        return min(room, budget)

    def next_requests(self, source: S, limit: int, now: float) -> tuple[int, list[int]]:
        """Return what to request from a source now; all of it counts as requested.

        That is a number of chunks of the source's choice, or up to `limit` chunks of
        ours. Near the end, a chunk that took long at the last tick is requested twice.
        """
        window = self._windows[source]
        # Two peers that have everything would choose the same chunks, because neither
        # sees what the other sends.
        if window.can_choose and window.is_full and self._full == 1:
            # A reader waits for certain chunks.
            if not self._is_read and now >= window.choices_from:
                number = self._request_choices(window, limit, now)
                if window.choices:
                    # Chunks requested by index might be those that it chose.
                    return number, []
        if window.is_origin:
            indexes = self.for_origins.next_requests(
                source, limit, now, self._late, in_order=self._is_read
            )
        else:
            indexes = self.picker.next_requests(source, limit, copies=self._late)
        window.on_sent(indexes, now)
        self._outstanding += len(indexes)
        return 0, indexes

    def _request_choices(self, window: RequestWindow, limit: int, now: float) -> int:
        """Count requests for any chunk, while there are chunks that only one peer has.

        Returns how many to send.
        """
        number = max(0, min(limit, self.picker.free.size_of(0) - len(window.choices)))
        keys = range(self._next_choice, self._next_choice - number, -1)
        self._next_choice -= number
        window.choices.extend(keys)
        window.on_sent(keys, now)
        self._outstanding += number
        return number
