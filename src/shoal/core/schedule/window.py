"""How many requests one peer should have outstanding, and when it is stalled.

Too few and the peer idles for a round trip after each chunk; too many and what is
queued cannot be chosen any more. The window grows while answers come back faster
than `TARGET_DELAY` and shrinks when they take longer, so its size follows the
peer's rate and round trip by itself. Before its first chunk has verified a peer is
asked for one only: whoever lies is found out at the price of that.
"""

from collections.abc import Iterable
from typing import ClassVar

__all__ = ["MAX_REQUESTS", "OriginWindow", "RequestWindow"]

TARGET_DELAY = 0.1  # seconds from request to answer that the window aims at
# Where an answer takes that long, what it waits for is its turn and not the way.
LONG_DELAY = 1.0  # seconds from request to answer at which one request is enough
MAX_REQUESTS = 256  # outstanding at one peer
MAX_BYTES = 8 * 1024 * 1024  # outstanding at one peer
UNPROVEN_REQUESTS = 1  # outstanding at a peer of which nothing has verified
FIRST_REQUESTS = 4  # from then on
STALL_TIME = 3.0  # seconds without a byte after which others are asked
STALL_DELAYS = 3  # the same in usual delays of this peer, if that is longer
MIN_RATE = 16 * 1024  # bytes per second; a chunk that comes slower is asked elsewhere
SMOOTHING = 0.125  # weight of a new delay in the average, as RFC 6298 section 2

# An origin is asked for runs of chunks, and for few runs at once.
ORIGIN_BYTES = 16 * 1024 * 1024  # outstanding at one origin
ORIGIN_DELAY = 0.5  # seconds from request to answer that its window aims at
ORIGIN_RUNS = 4  # outstanding at one origin


class RequestWindow:
    """Count the requests outstanding at one peer and time its answers."""

    __slots__ = (
        "_chunk_time",
        "_delay",
        "_is_judged",
        "_is_proven",
        "_last_answer",
        "_last_heard",
        "_most",
        "_sent",
        "_size",
        "is_stalled",
    )
    FIRST: ClassVar[int] = FIRST_REQUESTS
    LEAST: ClassVar[int] = 2
    BYTES: ClassVar[int] = MAX_BYTES
    DELAY: ClassVar[float] = TARGET_DELAY

    def __init__(self, chunk_size: int, most: int = MAX_REQUESTS) -> None:
        """Begin small; never have more than `most` requests outstanding."""
        self._most = max(self.LEAST, min(most, self.BYTES // chunk_size))
        self._size = float(min(self.FIRST, self._most))
        self._sent: dict[int, float] = {}  # when each chunk was asked for
        self._delay = 0.0
        self._chunk_time = chunk_size / MIN_RATE
        self._last_heard = 0.0
        self._last_answer = 0.0
        self._is_proven = False  # a chunk of it has verified
        self._is_judged = False  # one is being verified, and none has before
        self.is_stalled = False
        """Whether the peer has left requests unanswered for too long."""

    def __len__(self) -> int:
        """Return how many requests are outstanding."""
        return len(self._sent)

    def room(self, least: int = 1) -> int:
        """Return how many more requests may be sent now, of `least` in all at least."""
        if self.is_stalled or self._is_judged:
            return 0
        most = max(least, int(self._size)) if self._is_proven else UNPROVEN_REQUESTS
        return most - len(self._sent)

    def on_sent(self, indexes: Iterable[int], now: float) -> None:
        """Note requests that were sent."""
        if not self._sent:
            self._last_heard = self._last_answer = now
        for index in indexes:
            self._sent[index] = now

    def on_heard(self, now: float) -> None:
        """Note that bytes came, of whatever."""
        self._last_heard = now

    def on_answer(self, index: int, now: float) -> bool:
        """Note an answer, late or not; say whether it was outstanding.

        Resizes the window by how long it took.
        """
        self._last_answer = self._last_heard = now
        self.is_stalled = False
        sent = self._sent.pop(index, None)
        if sent is None:
            return False
        delay = now - sent
        self._delay += SMOOTHING * (delay - self._delay) if self._delay else delay
        if delay < self.DELAY:
            self._size = min(self._size + 1, self._most)
        else:
            # As many as would have been answered within the target.
            least = self.LEAST if delay <= LONG_DELAY else 1
            self._size = max(least, self._size - (1 - self.DELAY / delay))
        return True

    def on_judging(self) -> None:
        """Note that an answer is about to be verified."""
        self._is_judged = not self._is_proven

    def on_right(self) -> bool:
        """Note that an answer has verified; say whether it is the first.

        Without that there is no more room.
        """
        is_first = not self._is_proven
        self._is_proven = True
        self._is_judged = False
        return is_first

    def on_refused(self, index: int) -> None:
        """Note that a request was refused: the peer is alive and has enough to do."""
        self._sent.pop(index, None)
        self._size = max(self.LEAST, self._size / 2)
        self.is_stalled = False

    def overdue(self, now: float, after: float) -> list[int]:
        """Return what was asked for more than `after` seconds ago."""
        return [index for index, sent in self._sent.items() if now - sent > after]

    def forget(self, index: int) -> None:
        """Note that an answer is not waited for any more."""
        self._sent.pop(index, None)

    @property
    def delay(self) -> float:
        """Return the usual seconds from a request to its answer; 0 before any."""
        return self._delay

    def wait(self, now: float) -> float:
        """Return how long a chunk takes at the moment, in seconds."""
        oldest = min(self._sent.values(), default=now)
        return max(self._delay, now - oldest)

    def stall_deadline(self, others_delay: float = 0.0) -> float | None:
        """Return when the peer counts as stalled; None while nothing is due.

        `others_delay` is how long answers of other peers usually take.
        """
        if not self._sent or self.is_stalled:
            return None
        # Whoever gives to many may let each wait longer than `STALL_TIME`.
        usual = max(STALL_TIME, STALL_DELAYS * max(self._delay, others_delay))
        # Bytes that drip put the deadline off, but not for ever: as long as others
        # take for a chunk or, where nobody knows, as it takes at the least rate.
        slowest = STALL_DELAYS * others_delay if others_delay else self._chunk_time
        return min(self._last_heard + usual, self._last_answer + max(usual, slowest))

    def check_stalled(self, now: float, others_delay: float = 0.0) -> bool:
        """Say whether the peer has just become stalled; its requests are void."""
        deadline = self.stall_deadline(others_delay)
        if deadline is None or now < deadline:
            return False
        self.is_stalled = True
        self._sent.clear()
        return True


class OriginWindow(RequestWindow):
    """Count what is asked of an origin: from one chunk up to a few long runs.

    It begins with one chunk, since everybody who begins at the same time asks before
    hearing what the others ask for.
    """

    FIRST = 1
    LEAST = 1
    BYTES = ORIGIN_BYTES
    DELAY = ORIGIN_DELAY

    def room(self, least: int = 1) -> int:
        """Return how many chunks the next run may have; 0 for no run now."""
        run = max(1, int(self._size) // ORIGIN_RUNS)
        return run if super().room() >= run else 0
