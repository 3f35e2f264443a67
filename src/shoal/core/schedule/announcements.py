"""Decide which peers to send an announcement of new chunks, and when; pure.

A node that announces a chunk to all peers at once gets requests from all of them. They
share its uplink and wait, while the first peers could have served the others. So with
more than `FEW_PEERS` peers, a few are told at a time, and the next one when one of them
waits for nothing more. By then most have the chunk from another peer, and no peer is
told of chunks that it has announced itself. Few peers are told of everything at once.
So are peers that have everything, because they send the rarest chunks first.
docs/protocol.md, "Announcements", allows these delays.
"""

from array import array
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.turns import Turns

__all__ = ["ANNOUNCE_PAUSE", "FEW_PEERS", "Announcements"]

ANNOUNCE_PAUSE = 0.02  # seconds whose chunks are announced together to few peers
# With two complete peers, no downloader lets a peer choose, so there is no hurry.
FULL_PAUSE = 0.1  # seconds whose chunks are announced together to complete peers
FEW_PEERS = 16  # peers up to which all are told at once
# Of more, so many may have something to request at a time that serving them should take
# `SERVING_TIME`: later, a faster peer may have the same chunks.
SERVING_TIME = 0.3  # seconds
FIRST_RECEIVERS = 3  # before any was served
MIN_RECEIVERS = 2
MAX_RECEIVERS = 16
SMOOTHING = 0.125  # weight of a new time in the average, as in RFC 6298 section 2
REQUEST_TIME = 0.05  # seconds in which a peer requests what it was told of, if it does

P = TypeVar("P", bound=Hashable)


class _Recipient:
    """Remember how much one peer was told, and whether it waits for chunks."""

    __slots__ = ("end", "is_full", "is_receiving", "is_recent")

    def __init__(self, end: int) -> None:
        self.end = end  # the peer knows of the log up to here
        self.is_receiving = False  # it waits for chunks from this node
        self.is_recent = False  # it was told a moment ago, and may send requests
        self.is_full = False  # it has everything


class Announcements(Generic[P]):
    """Keep a log of this node's new chunks, and how far each peer knows it."""

    def __init__(
        self,
        have: Bitfield,
        announced_by: Callable[[P], Bitfield | None],
        rank: Callable[[P], float],
    ) -> None:
        """Begin with nothing to announce; `have` has this node's chunks, and grows.

        `announced_by` returns the chunks that a peer has announced, `rank` a number
        that is higher for peers to tell first (`Contributions.rank`).
        """
        self._have = have
        self._announced_by = announced_by
        self._log = array("I")
        self._recipients: dict[P, _Recipient] = {}
        self._level: list[P] = []  # know the whole log
        self._queue: deque[P] = deque()  # do not, in the order of their turns
        self._held: deque[P] = deque()  # do not, and wait for chunks
        self._full: list[P] = []  # have everything
        self._full_end = 0  # they know of the log up to here
        self._recent: deque[tuple[float, _Recipient]] = deque()
        self._busy = 0  # recipients that are receiving or recent
        self._receiving = 0  # recipients that are receiving
        self._turns = Turns(rank)
        self._most = FIRST_RECEIVERS  # recipients that may be busy
        self._serving_time = 0.0  # usual seconds to serve one; 0 before any
        self._last_served = 0.0  # when one was served last, or the first began to wait
        self._next = 0.0  # when few peers, or the complete ones, may be told again
        self._next_full = 0.0  # when several complete peers may be told again

    def on_peer_joined(self, peer: P) -> None:
        """Note a peer that knows of all chunks so far, from a hello."""
        self.on_peer_left(peer)
        self._recipients[peer] = _Recipient(len(self._log))
        self._level.append(peer)

    def on_peer_left(self, peer: P) -> None:
        """Forget a peer."""
        recipient = self._recipients.pop(peer, None)
        if recipient is None:
            return
        self._busy -= recipient.is_receiving or recipient.is_recent
        self._receiving -= recipient.is_receiving
        recipient.is_recent = False
        for waiting in (self._level, self._queue, self._held, self._full):
            if peer in waiting:
                waiting.remove(peer)

    def on_chunks(self, indexes: Sequence[int]) -> None:
        """Note new chunks of this node."""
        if not indexes:
            return
        self._log.extend(indexes)
        self._queue.extend(self._level)
        self._level.clear()

    def on_receiving(self, peer: P, now: float) -> None:
        """Note that a peer waits for chunks from this node."""
        recipient = self._recipients.get(peer)
        if recipient is not None and not recipient.is_receiving:
            if not self._receiving:
                self._last_served = now
            self._receiving += 1
            self._busy += not recipient.is_recent
            recipient.is_receiving = True

    def on_served(self, peer: P, now: float) -> bool:
        """Note that a peer waits for nothing; return True if another may be told."""
        recipient = self._recipients.get(peer)
        if recipient is None or not recipient.is_receiving:
            return False
        self._measure(now - self._last_served)
        self._last_served = now
        self._receiving -= 1
        recipient.is_receiving = False
        self._busy -= not recipient.is_recent
        return bool(self._queue or self._held)

    def _measure(self, seconds: float) -> None:
        """Adapt the number of recipients to the time that serving one took."""
        usual = self._serving_time
        usual += SMOOTHING * (seconds - usual) if usual else seconds
        self._serving_time = usual
        fit = int(SERVING_TIME / usual) if usual > 0 else MAX_RECEIVERS
        self._most = max(MIN_RECEIVERS, min(fit, MAX_RECEIVERS))

    def soon_at(self, now: float) -> float | None:
        """Return when to call `due` for a new chunk, or because a peer was served."""
        if self._are_few and not self._have.is_complete:
            return self.due_at(now)
        return now

    def due_at(self, now: float) -> float | None:
        """Return when to call `due` again if nothing happens until then."""
        times = []
        is_waiting = bool(self._queue or self._held)
        if self._full and self._full_end < len(self._log):
            times.append(max(self._next, self._next_full))
        if is_waiting and self._are_few:
            times.append(self._next)
        elif is_waiting and self._recent:
            times.append(self._recent[0][0])
        return max(now, min(times)) if times else None

    def due(self, now: float) -> list[tuple[P, Sequence[int]]]:
        """Return which chunks to announce to which peers now; they count as told."""
        self._forget_recent(now)
        told: list[tuple[P, Sequence[int]]] = []
        # A complete node may be about to leave, and its user waits for this.
        if now >= self._next or self._have.is_complete:
            if now >= self._next_full or self._have.is_complete:
                self._tell_full(now, told)
            if self._are_few:
                while self._queue or self._held:
                    self._tell((self._queue or self._held).popleft(), now, told)
            if told:
                self._next = now + ANNOUNCE_PAUSE
        if not self._are_few:
            self._tell_some(now, told)
        return told

    @property
    def _are_few(self) -> bool:
        return len(self._recipients) <= FEW_PEERS

    def _tell_full(self, now: float, told: list[tuple[P, Sequence[int]]]) -> None:
        """Tell the complete peers."""
        if self._full_end < len(self._log):
            for peer in self._full:
                self._tell(peer, now, told)
            self._full_end = len(self._log)
            if len(self._full) > 1:
                self._next_full = now + FULL_PAUSE

    def _tell_some(self, now: float, told: list[tuple[P, Sequence[int]]]) -> None:
        """Tell as many as can be served soon, first those that wait for nothing."""
        for _ in range(len(self._held)):
            peer = self._held.popleft()
            (self._held if self._is_busy(peer) else self._queue).append(peer)
        while self._queue and self._busy < self._most:
            peer = self._turns.take(self._queue)
            if self._is_busy(peer):
                self._held.append(peer)
            else:
                self._tell(peer, now, told)
        if self._busy < self._most:
            for _ in range(len(self._held)):
                peer = self._held.popleft()
                if self._recipients[peer].is_recent:
                    self._held.append(peer)
                else:
                    self._tell(peer, now, told)

    def _is_busy(self, peer: P) -> bool:
        recipient = self._recipients[peer]
        return recipient.is_receiving or recipient.is_recent

    def _forget_recent(self, now: float) -> None:
        """Stop waiting for requests of peers that were told and sent none."""
        while self._recent and self._recent[0][0] <= now:
            recipient = self._recent.popleft()[1]
            if recipient.is_recent:
                recipient.is_recent = False
                self._busy -= not recipient.is_receiving

    def _tell(self, peer: P, now: float, told: list[tuple[P, Sequence[int]]]) -> None:
        """Add the chunks that are new to a peer to `told`."""
        recipient = self._recipients[peer]
        announced = self._announced_by(peer)
        fresh: Sequence[int] = self._log[recipient.end :]
        recipient.end = len(self._log)
        if announced is not None and announced.is_complete:
            if not recipient.is_full:
                recipient.is_full = True
                self._full.append(peer)
            if fresh:
                told.append((peer, fresh))
            return
        self._level.append(peer)
        if announced is not None:
            # "Announcements": a complete node announces all chunks, others need not
            # announce what the peer has announced itself.
            if self._have.is_complete:
                fresh = range(self._have.size)
            else:
                fresh = [index for index in fresh if index not in announced]
        if fresh:
            told.append((peer, fresh))
            if not recipient.is_recent:
                self._busy += not recipient.is_receiving
                recipient.is_recent = True
                self._recent.append((now + REQUEST_TIME, recipient))
