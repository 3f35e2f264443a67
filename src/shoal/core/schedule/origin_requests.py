"""When to request which chunk from an origin, and how many at once; pure.

An origin is a source for what no peer has: peers that fetch a chunk from it announce
that, and have the chunk soon, so others need not fetch it as well. So all nodes of a
crowd together fetch each chunk from an origin once. Beside peers that have everything,
an origin is used for as long as the download is faster with it. Only when no chunk has
arrived for a while is an origin asked for chunks that peers have, too.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from shoal.core.limits import MAX_ORIGIN_FETCHES
from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.window import RequestWindow

if TYPE_CHECKING:
    from shoal.core.schedule.picker import ChunkPicker

__all__ = [
    "FETCH_TIME",
    "LATE_TIME",
    "ORIGIN_RUNS",
    "ORIGIN_STALL_TIME",
    "OriginFetches",
    "OriginRequests",
    "OriginWindow",
]

# An origin gets requests for runs of chunks, a few runs at a time.
ORIGIN_BYTES = 16 * 1024 * 1024  # outstanding at one origin
ORIGIN_DELAY = 0.5  # seconds from request to answer that an origin's window aims at
ORIGIN_RUNS = 4  # outstanding at one origin
# A cache may read a whole file before it answers. Readers of origins give up sooner,
# with the reason, unless bytes drip.
ORIGIN_STALL_TIME = 75.0  # seconds without a byte

# Seconds that a peer has to fetch a chunk, since it last announced that, at least.
FETCH_TIME = 5.0
FETCH_DELAYS = 3  # the same in the time that our own chunks take, if that is longer
MAX_FETCH_TIME = 45.0  # seconds in all that it can keep us from a chunk
ANSWERING_FETCH_TIME = 15.0  # the same once an origin has sent us a chunk
MAX_REPEATED = 16  # chunks of one peer that it may announce again
LATE_TIME = 3.0  # seconds without a chunk
LATE_DELAYS = 3  # the same in the time that a chunk takes, if that is longer

TRIAL_TIME = 2.0  # seconds in which a rate is measured
GAIN = 1.1  # rate with the origins, in rates without, from which on they are used
KEEP_TIME = 60.0  # seconds until the rates are measured again

P = TypeVar("P", bound=Hashable)


class OriginWindow(RequestWindow):
    """Count the chunks requested from an origin: from one up to a few long runs.

    The window begins with one chunk, because nodes that start together request before
    they hear what the others request.
    """

    is_origin = True
    FIRST = 1
    LEAST = 1
    BYTES = ORIGIN_BYTES
    DELAY = ORIGIN_DELAY
    STALL = ORIGIN_STALL_TIME

    def room(self, least: int = 1) -> int:
        """Return how many chunks the next run may have; 0 for no run now."""
        run = max(1, int(self._size) // ORIGIN_RUNS)
        return run if super().room() >= run else 0


class OriginFetches(Generic[P]):
    """Remember which chunks peers fetch from an origin, and since when.

    A peer repeats its announcement of a few chunks while an origin is about to answer,
    as a cold cache does after half a minute. Once a peer does not have a chunk in time,
    its announcements are ignored, so that they cannot keep us from a chunk.
    """

    def __init__(self) -> None:
        """Start with no peer fetching anything."""
        self._fetched: dict[int, tuple[P, float, float]] = {}  # first and last time
        self._of: dict[P, set[int]] = {}
        self._last: dict[P, float] = {}  # when each one last announced a chunk
        self._since: dict[P, float] = {}  # when each one began to fetch
        self._distrusted: set[P] = set()
        self.is_answering = False
        """Whether an origin has sent us a chunk: its cache is not cold any more."""

    def add(self, peer: P, indexes: Iterable[int], now: float) -> None:
        """Note the chunks that a peer announces to fetch from an origin."""
        if peer in self._distrusted:
            return
        chunks = self._of.setdefault(peer, set())
        if not chunks and now - self._last.get(peer, -FETCH_TIME) >= FETCH_TIME:
            self._since[peer] = now
        self._last[peer] = now
        for index in indexes:
            if index in chunks:
                if len(chunks) > MAX_REPEATED:
                    continue
                self._fetched[index] = (peer, self._fetched[index][1], now)
            elif len(chunks) >= MAX_ORIGIN_FETCHES:
                return
            elif index not in self._fetched:
                self._fetched[index] = (peer, now, now)
                chunks.add(index)

    def announcer(self, index: int) -> P | None:
        """Return the peer that has announced to fetch a chunk, late or not."""
        found = self._fetched.get(index)
        return None if found is None else found[0]

    def drop(self, index: int, peer: P) -> None:
        """Note that a peer leaves a chunk to another one."""
        chunks = self._of.get(peer)
        if chunks is not None and index in chunks:
            chunks.discard(index)
            del self._fetched[index]

    def on_have(self, peer: P, indexes: Collection[int] | Bitfield) -> None:
        """Note the chunks that a peer has by now."""
        chunks = self._of.get(peer)
        if chunks:
            # A bitfield may have very many, and the peer fetches few.
            named = indexes if isinstance(indexes, Bitfield) else set(indexes)
            for index in [each for each in chunks if each in named]:
                chunks.discard(index)
                del self._fetched[index]

    def remove(self, peer: P) -> None:
        """Forget a peer and what it announced."""
        for index in self._of.pop(peer, ()):
            del self._fetched[index]
        self._distrusted.discard(peer)
        self._since.pop(peer, None)
        self._last.pop(peer, None)

    def peer_of(self, index: int, now: float, delay: float) -> P | None:
        """Return the peer that should have a chunk soon, or None.

        `delay` is how many seconds a chunk takes us at the moment.
        """
        found = self._fetched.get(index)
        if found is None:
            return None
        peer, first, last = found
        usual = FETCH_DELAYS * delay
        most = ANSWERING_FETCH_TIME if self.is_answering else MAX_FETCH_TIME
        if now - last <= max(FETCH_TIME, usual):
            if now - first <= max(most, usual):
                return peer
        self.remove(peer)
        self._distrusted.add(peer)
        return None

    def peers(self, now: float, delay: float) -> dict[P, float]:
        """Return the peers that should have a chunk soon, and since when they fetch."""
        found = {self.peer_of(index, now, delay) for index in tuple(self._fetched)}
        return {peer: self._since[peer] for peer in found if peer is not None}


class _BesidePeers:
    """Compare the rates with and without origins, while a peer has everything."""

    def __init__(self) -> None:
        self.is_used = False
        """Whether origins are used beside peers that have everything."""
        self._received = 0  # bytes since `_since`
        self._since: float | None = None  # when the measurement began
        self._alone = 0.0  # bytes per second without origins
        self._next = 0.0  # when to measure again
        self._is_tried = False  # the rate with origins is being measured

    def on_chunk(self, size: int, now: float, *, is_origin: bool) -> None:
        """Note a chunk that arrived; measurements begin with one."""
        self._received += size
        if self._since is None and now >= self._next and is_origin >= self._is_tried:
            self._since, self._received = now, 0
            self.is_used = self._is_tried

    def on_tick(self, now: float, left: int) -> None:
        """Decide once a rate is measured; `left` bytes of the download are missing."""
        if self._since is None or now - self._since < TRIAL_TIME:
            return
        rate = self._received / (now - self._since)
        if not self._is_tried:
            self._alone = rate
            # The first chunk of an origin may take as long as the rest of the download.
            self._is_tried = self.is_used = left > rate * TRIAL_TIME
        else:
            self.is_used, self._is_tried = rate >= GAIN * self._alone, False
            self._next = now + KEEP_TIME
        self._since = None


class OriginRequests(Generic[P]):
    """Choose the chunks to request from origins; part of a `Scheduler`."""

    def __init__(
        self, picker: "ChunkPicker[P]", windows: Mapping[P, RequestWindow], size: int
    ) -> None:
        """Choose among the chunks of `picker`, which have `size` bytes each.

        `windows` are those of all sources, peers and origins.
        """
        self.fetches: OriginFetches[P] = OriginFetches()
        """What peers fetch from origins."""
        self._picker = picker
        self._windows = windows
        self._size = size
        self._is_late = False  # a chunk was late, and no peer has sent one since
        self._last_chunk: float | None = None  # None while we wait for none
        self._beside = _BesidePeers()

    def on_pause(self) -> None:
        """Note that nothing was wanted until now, so no chunk is late."""
        self._last_chunk = None
        self._beside = _BesidePeers()

    def on_chunk(self, now: float, *, is_origin: bool) -> None:
        """Note a chunk that arrived and was needed."""
        self._last_chunk = now
        self._is_late &= is_origin
        self.fetches.is_answering |= is_origin
        self._beside.on_chunk(self._size, now, is_origin=is_origin)

    def on_tick(self, now: float) -> None:
        """Decide whether origins are used beside peers that have everything."""
        if any(each.is_origin for each in self._windows.values()):
            self._beside.on_tick(now, self._picker.left * self._size)

    def fetcher_of(self, index: int, origin: P, now: float) -> P | None:
        """Return the peer that fetches a chunk from an origin and has it soon."""
        delay = self._windows[origin].chunk_delay(now)
        return self.fetches.peer_of(index, now, delay)

    def fetchers(self, origin: P, now: float) -> dict[P, float]:
        """Return the peers that fetch from an origin, and since when."""
        return self.fetches.peers(now, self._windows[origin].chunk_delay(now))

    def next_requests(
        self, origin: P, limit: int, now: float, late: set[int], *, in_order: bool
    ) -> list[int]:
        """Return what to request from an origin, which all nodes share.

        Those are chunks that no peer has or fetches. Once no chunk has arrived for a
        while, until a peer sends one, they may also be chunks that peers have, and
        those in `late`, which were requested from peers.
        """
        window = self._windows[origin]
        self._check_late(window, now)
        if not self._is_late and self._has_full_peer():
            # For one chunk, a server without ranges has to send a whole file.
            if window.ignores_ranges or not self._beside.is_used:
                return []
        if window.ignores_ranges:
            if len(window) or self.fetchers(origin, now):
                return []
            in_order, limit = True, 1
        picked = self._picker.next_run(
            origin,
            limit,
            lambda index: self.fetcher_of(index, origin, now) is None,
            in_order=in_order,
            is_seen=self._is_late,
        )
        if picked or not self._is_late or self._picker.free:
            return picked
        return self._picker.next_requests(origin, limit, copies=late)

    def _has_full_peer(self) -> bool:
        windows = self._windows.values()
        return any(each.is_full and not each.is_stalled for each in windows)

    def _check_late(self, window: "RequestWindow", now: float) -> None:
        windows = self._windows.values()
        delays = [each.chunk_delay(now) for each in windows if len(each)]
        longest = max(delays, default=window.delay)
        if self._last_chunk is None:
            self._last_chunk = now
        if now - self._last_chunk >= max(LATE_TIME, LATE_DELAYS * longest):
            self._is_late = True
