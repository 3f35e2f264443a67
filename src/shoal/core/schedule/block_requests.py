"""Decide which peer to ask for the blocks that readers wait for; pure.

A reader needs few blocks and needs them soon, so each run goes to the peer that should
answer first: its usual time to answer, as measured here, for each request that it has
not answered yet. A peer of which nothing has verified gets one request. A run that is
refused, is wrong or comes late is requested from another peer.

`BlockScheduler` does not know which blocks are here: its caller wants only runs that
are missing and not wanted already, and verifies what arrives.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from msgspec import Struct, field

from shoal.core.manifest.blocks import BLOCK_SIZE, Run
from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.window import BUSY_PAUSE

__all__ = ["BlockScheduler"]

MAX_READS = 16  # requests for blocks outstanding at one peer
UNPROVEN_READS = 1  # the same for a peer of which nothing has verified
LATE_TIME = 1.0  # seconds without a byte after which another peer is asked
LATE_DELAYS = 3  # the same in usual delays of this peer, if that is longer
MIN_RATE = 16 * 1024  # bytes per second; slower runs are requested elsewhere
SMOOTHING = 0.125  # weight of a new delay in the average, as in RFC 6298 section 2

S = TypeVar("S", bound=Hashable)


class _Request(Struct):
    """A request that was sent to one peer."""

    run: Run
    since: float
    is_cancelled: bool = False


class _Peer(Struct):
    """What one peer has, and how it has answered."""

    have: Bitfield  # the caller's own, which it adds to
    heard: float = 0.0  # when it last sent any byte
    delay: float = 0.0  # usual seconds from a request to its answer
    is_proven: bool = False
    is_stalled: bool = False  # it has left a request unanswered for too long
    busy_until: float = 0.0
    lacking: set[int] = field(default_factory=set)  # chunks that it has refused
    open: dict[int, _Request] = field(default_factory=dict)  # by number

    def has_room(self, now: float) -> bool:
        """Return True if it may get another request."""
        most = MAX_READS if self.is_proven else UNPROVEN_READS
        return len(self.open) < most and now >= self.busy_until

    def offers(self, index: int) -> bool:
        """Return True if it has a chunk and has not refused it."""
        return index in self.have and index not in self.lacking

    def is_late(self, request: _Request, now: float) -> bool:
        """Return True if another peer should be asked for what this one was."""
        waited = now - request.since
        usual = max(LATE_TIME, LATE_DELAYS * self.delay)
        # Bytes that drip postpone the deadline, but not for ever.
        longest = max(usual, request.run.count * BLOCK_SIZE / MIN_RATE)
        is_silent = now - max(self.heard, request.since) > usual
        return is_silent or waited > longest


class BlockScheduler(Generic[S]):
    """Assign runs of blocks to the peers that have them."""

    def __init__(self) -> None:
        """Start without peers; nothing is wanted."""
        self._peers: dict[S, _Peer] = {}
        # The peers that were asked for each wanted run and may still answer.
        self._wanted: dict[Run, list[S]] = {}
        self._waiting: deque[Run] = deque()  # wanted runs that no peer is asked for

    def __contains__(self, source: S) -> bool:
        return source in self._peers

    @property
    def wanted(self) -> Iterable[Run]:
        """Return the runs that are wanted; they may change meanwhile."""
        return list(self._wanted)

    @property
    def is_idle(self) -> bool:
        """Return True if nothing is wanted."""
        return not self._wanted

    # What readers want.

    def want(self, run: Run, *, before: bool = False) -> None:
        """Request a run; with `before`, sooner than all that waits to be requested."""
        if run not in self._wanted:
            self._wanted[run] = []
            self._put_back(run, before=before)

    def unwant(self, run: Run) -> list[tuple[S, int]]:
        """Stop requesting a run; return the requests to cancel."""
        if run in self._wanted:
            del self._wanted[run]
            if run in self._waiting:
                self._waiting.remove(run)
        cancelled: list[tuple[S, int]] = []
        for source, peer in self._peers.items():
            for read, request in peer.open.items():
                if request.run == run and not request.is_cancelled:
                    request.is_cancelled = True
                    cancelled.append((source, read))
        return cancelled

    # Peers come and go.

    def add(self, source: S, have: Bitfield, now: float) -> None:
        """Add a peer; `have` are the chunks it has, which its owner adds to."""
        if source not in self._peers:
            self._peers[source] = _Peer(have, heard=now)

    def remove(self, source: S) -> None:
        """Forget a peer; what it was asked for is requested from others."""
        peer = self._peers.pop(source, None)
        for request in peer.open.values() if peer is not None else ():
            self._give_up_on(source, request.run)

    def on_heard(self, source: S, now: float) -> None:
        """Note that bytes of any kind arrived from a peer."""
        peer = self._peers.get(source)
        if peer is not None:
            peer.heard = now

    # What becomes of requests.

    def on_sent(self, source: S, run: Run, read: int, now: float) -> None:
        """Note a request that was sent, with its number."""
        self._peers[source].open[read] = _Request(run, now)

    def on_answer(self, source: S, read: int, now: float) -> None:
        """Note that blocks arrived, which may still turn out to be wrong."""
        peer = self._peers.get(source)
        request = peer.open.pop(read, None) if peer is not None else None
        if peer is None or request is None:
            return
        peer.heard, peer.is_stalled = now, False
        delay = now - request.since
        peer.delay += SMOOTHING * (delay - peer.delay) if peer.delay else delay
        # Until it is verified, the run is not requested from this peer again.
        asked = self._wanted.get(request.run)
        if asked is not None and source not in asked:
            asked.append(source)

    def on_verified(self, source: S, run: Run) -> list[tuple[S, int]]:
        """Note that the blocks of a run are right; return the requests to cancel."""
        peer = self._peers.get(source)
        if peer is not None:
            peer.is_proven = True
        return self.unwant(run)

    def on_failed(self, source: S, run: Run, *, is_lacking: bool = True) -> None:
        """Note an answer without the blocks; with `is_lacking`, the peer lacks them."""
        peer = self._peers.get(source)
        if peer is not None and is_lacking:
            peer.lacking.add(run.index)
        self._give_up_on(source, run)

    def on_refused(self, source: S, read: int, now: float, *, is_busy: bool) -> None:
        """Request a refused run from others; from a busy peer again after a while."""
        peer = self._peers.get(source)
        request = peer.open.pop(read, None) if peer is not None else None
        if peer is None or request is None:
            return
        peer.is_stalled = False
        if request.is_cancelled:
            return  # the run may be wanted again, and is requested again then
        if is_busy:
            peer.busy_until = now + BUSY_PAUSE
        else:
            peer.lacking.add(request.run.index)
        self._give_up_on(source, request.run)

    def on_tick(self, now: float) -> list[S]:
        """Request late runs from other peers; return the peers that stall now."""
        stalled: list[S] = []
        for source, peer in self._peers.items():
            late = [each.run for each in peer.open.values() if peer.is_late(each, now)]
            if late and not peer.is_stalled:
                peer.is_stalled = True
                stalled.append(source)
            for run in late:
                is_waiting = run in self._waiting
                if run in self._wanted and not is_waiting and self._others(run):
                    self._waiting.append(run)
        return stalled

    def _others(self, run: Run) -> bool:
        """Return True if a peer that was not asked for a run has its chunk."""
        asked = self._wanted[run]
        return any(
            source not in asked and peer.offers(run.index)
            for source, peer in self._peers.items()
        )

    def _give_up_on(self, source: S, run: Run) -> None:
        """Stop waiting for one peer's answer; request the run if it was the last."""
        asked = self._wanted.get(run)
        if asked is not None and source in asked:
            asked.remove(source)
            if not asked and run not in self._waiting:
                self._put_back(run, before=True)

    def _put_back(self, run: Run, *, before: bool) -> None:
        if before:
            self._waiting.appendleft(run)
        else:
            self._waiting.append(run)

    # What to request.

    def take_unavailable(self) -> list[Run]:
        """Return the wanted runs that no peer has; they are not wanted any more."""
        lost = [
            run
            for run in self._waiting
            if not self._wanted[run] and not self._others(run)
        ]
        for run in lost:
            self.unwant(run)
        return lost

    def next_request(self, now: float) -> tuple[S, Run] | None:
        """Return the next request to send now; None if there is none.

        The caller sends it and reports its number by `on_sent`.
        """
        for place, run in enumerate(self._waiting):
            asked = self._wanted[run]
            ready = [
                (peer.is_stalled, peer.delay * (1 + len(peer.open)), len(peer.open), n)
                for n, (source, peer) in enumerate(self._peers.items())
                if source not in asked and peer.offers(run.index) and peer.has_room(now)
            ]
            if ready:
                source = list(self._peers)[min(ready)[-1]]
                asked.append(source)
                del self._waiting[place]
                return source, run
        return None
