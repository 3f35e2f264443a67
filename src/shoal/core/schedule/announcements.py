"""Whom to tell of the chunks that came here, and when; pure.

A holder that tells everybody at once is asked by everybody: they share what it sends,
and wait, while those it served first could have served the others. So in a crowd a few
are told at a time, and the next once one of them waits for nothing more; by then most
have the chunk from somebody else, and nobody is told of what it has itself. Where
there are few, all hear of everything at once, and so does whoever has everything: it
gives away what fewest have.
"""

from array import array
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield

__all__ = ["ANNOUNCE_PAUSE", "FEW_PEERS", "Announcements"]

ANNOUNCE_PAUSE = 0.02  # seconds in which chunks are announced together to few
# Where two have everything nobody leaves the choice to either, so there is no hurry.
FULL_PAUSE = 0.1  # seconds in which chunks are announced together to those
FEW_PEERS = 16  # up to which all are told at once
MAX_TAKERS = 4  # peers of more that know of something to ask for at a time
ASK_TIME = 0.05  # seconds in which a peer asks for what it was told of, if it does

P = TypeVar("P", bound=Hashable)


class _Hearer:
    """Remember how much one peer has heard, and whether it takes something."""

    __slots__ = ("end", "is_full", "is_recent", "is_taking")

    def __init__(self, end: int) -> None:
        self.end = end  # what came before that place in the log is known to it
        self.is_taking = False  # something from here
        self.is_recent = False  # told a moment ago: about to ask
        self.is_full = False  # has everything


class Announcements(Generic[P]):
    """Keep what came here in its order, and how far each peer has heard of it."""

    def __init__(self, have: Bitfield, theirs: Callable[[P], Bitfield | None]) -> None:
        """Begin with nothing to tell; `have` is what is here, and grows.

        `theirs` says what a peer has announced.
        """
        self._have = have
        self._theirs = theirs
        self._log = array("I")
        self._hearers: dict[P, _Hearer] = {}
        self._level: list[P] = []  # have heard of everything, until there is more
        self._queue: deque[P] = deque()  # have not, in the order of their turns
        self._held: deque[P] = deque()  # have not, and take something
        self._full: list[P] = []  # have everything
        self._full_end = 0  # of the log, for those
        self._recent: deque[tuple[float, _Hearer]] = deque()
        self._busy = 0  # peers that take something or are about to ask
        self._next = 0.0  # when all of few, or who has everything, may be told again
        self._next_full = 0.0  # when several who have everything may be

    def on_peer_joined(self, peer: P) -> None:
        """Note a peer that was just told of everything here, in a hello."""
        self.on_peer_left(peer)
        self._hearers[peer] = _Hearer(len(self._log))
        self._level.append(peer)

    def on_peer_left(self, peer: P) -> None:
        """Forget a peer."""
        hearer = self._hearers.pop(peer, None)
        if hearer is None:
            return
        self._busy -= hearer.is_taking or hearer.is_recent
        hearer.is_recent = False
        for waiting in (self._level, self._queue, self._held, self._full):
            if peer in waiting:
                waiting.remove(peer)

    def on_chunk(self, index: int) -> None:
        """Note a chunk that is new here."""
        self._log.append(index)
        self._queue.extend(self._level)
        self._level.clear()

    def on_taking(self, peer: P) -> None:
        """Note that a peer waits for something from here."""
        hearer = self._hearers.get(peer)
        if hearer is not None and not hearer.is_taking:
            self._busy += not hearer.is_recent
            hearer.is_taking = True

    def on_served(self, peer: P) -> bool:
        """Note that a peer waits for nothing more; say whether another may be told."""
        hearer = self._hearers.get(peer)
        if hearer is None or not hearer.is_taking:
            return False
        hearer.is_taking = False
        self._busy -= not hearer.is_recent
        return bool(self._queue or self._held)

    def due_at(self, now: float) -> float | None:
        """Return when to ask `due` again if nothing happens until then."""
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
        """Return whom to tell of which chunks now; that counts as told."""
        self._forget_recent(now)
        said: list[tuple[P, Sequence[int]]] = []
        # Who is complete may be about to leave, and somebody waits for that.
        if now >= self._next or self._have.is_complete:
            if now >= self._next_full or self._have.is_complete:
                self._tell_full(now, said)
            if self._are_few:
                self._tell_all(now, said)
            if said:
                self._next = now + ANNOUNCE_PAUSE
        if not self._are_few:
            self._tell_some(now, said)
        return said

    @property
    def _are_few(self) -> bool:
        return len(self._hearers) <= FEW_PEERS

    def _tell_full(self, now: float, said: list[tuple[P, Sequence[int]]]) -> None:
        """Tell those who have everything."""
        if self._full_end < len(self._log):
            for peer in self._full:
                self._tell(peer, now, said)
            self._full_end = len(self._log)
            if len(self._full) > 1:
                self._next_full = now + FULL_PAUSE

    def _tell_all(self, now: float, said: list[tuple[P, Sequence[int]]]) -> None:
        """Tell everybody who has not heard of everything."""
        while self._queue or self._held:
            self._tell((self._queue or self._held).popleft(), now, said)

    def _tell_some(self, now: float, said: list[tuple[P, Sequence[int]]]) -> None:
        """Tell as many as can be served soon, and rather those who take nothing."""
        for _ in range(len(self._held)):
            peer = self._held.popleft()
            (self._held if self._is_busy(peer) else self._queue).append(peer)
        while self._queue and self._busy < MAX_TAKERS:
            peer = self._queue.popleft()
            if self._is_busy(peer):
                self._held.append(peer)
            else:
                self._tell(peer, now, said)
        if self._busy < MAX_TAKERS:
            for _ in range(len(self._held)):
                peer = self._held.popleft()
                if self._hearers[peer].is_recent:
                    self._held.append(peer)
                else:
                    self._tell(peer, now, said)

    def _is_busy(self, peer: P) -> bool:
        hearer = self._hearers[peer]
        return hearer.is_taking or hearer.is_recent

    def _forget_recent(self, now: float) -> None:
        """Give the turn to others, of those who were told and did not ask."""
        while self._recent and self._recent[0][0] <= now:
            hearer = self._recent.popleft()[1]
            if hearer.is_recent:
                hearer.is_recent = False
                self._busy -= not hearer.is_taking

    def _tell(self, peer: P, now: float, said: list[tuple[P, Sequence[int]]]) -> None:
        """Add what a peer has not heard of and lacks; it counts as told."""
        hearer = self._hearers[peer]
        theirs = self._theirs(peer)
        fresh: Sequence[int] = self._log[hearer.end :]
        hearer.end = len(self._log)
        if theirs is not None and theirs.is_complete:
            if not hearer.is_full:
                hearer.is_full = True
                self._full.append(peer)
            if fresh:
                said.append((peer, fresh))
            return
        self._level.append(peer)
        if theirs is not None:
            # Of what it had itself it was never told, until there is no more to come.
            whole = self._have.is_complete
            fresh = range(self._have.size) if whole else self._new_to(theirs, fresh)
        if fresh:
            said.append((peer, fresh))
            if not hearer.is_recent:
                self._busy += not hearer.is_taking
                hearer.is_recent = True
                self._recent.append((now + ASK_TIME, hearer))

    def _new_to(self, theirs: Bitfield, fresh: Sequence[int]) -> list[int]:
        return [index for index in fresh if index not in theirs]
