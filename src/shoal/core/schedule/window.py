"""How many requests may be outstanding: at one source, and at all of them; pure.

Too few requests, and a source idles for a round trip after each chunk; too many, and
we can no longer choose where the queued ones go. A source's window grows while answers
take less than `TARGET_DELAY` and shrinks while they take longer, so its size follows
the rate and the round trip of that source. Until its first chunk is verified, a source
gets one request only: a peer that sends wrong chunks costs no more than that.
"""

from collections import deque
from collections.abc import Iterable
from typing import ClassVar

__all__ = [
    "BUSY_PAUSE",
    "MAX_REQUESTS",
    "InFlightLimit",
    "RequestWindow",
]

TARGET_DELAY = 0.1  # seconds from request to answer that the window aims at
# An answer that takes longer than this waits for its turn, not for the network.
LONG_DELAY = 1.0  # seconds from request to answer at which one request is enough
MAX_REQUESTS = 256  # outstanding at one peer
MAX_BYTES = 8 * 1024 * 1024  # outstanding at one peer
UNPROVEN_REQUESTS = 1  # outstanding at a peer of which no chunk has been verified
FIRST_REQUESTS = 4  # outstanding at a peer after its first verified chunk
BUSY_PAUSE = 0.5  # seconds until a source that was busy gets another request
STALL_TIME = 3.0  # seconds without a byte after which a source counts as stalled
STALL_DELAYS = 3  # the same in usual delays of this source, if that is longer
MIN_RATE = 16 * 1024  # bytes per second; slower chunks are requested elsewhere
SMOOTHING = 0.125  # weight of a new delay in the average, as in RFC 6298 section 2

IN_FLIGHT_LIMIT = 64 * 1024 * 1024  # bytes requested or waiting for verification
# What waits longer has left the processor's cache, and then hashing and writing it
# takes half as long again.
BACKLOG_LIMIT = 4 * 1024 * 1024  # bytes waiting for verification
BACKLOG_CHUNKS = 512  # waiting for verification; a kill loses them
LESS = 1 / 16  # part by which a read that finds much data lowers the limit
MORE = 1 / 64  # part by which any other read raises the limit


class RequestWindow:
    """Count the requests outstanding at one source, and time its answers."""

    is_origin: ClassVar[bool] = False
    FIRST: ClassVar[int] = FIRST_REQUESTS
    LEAST: ClassVar[int] = 2
    BYTES: ClassVar[int] = MAX_BYTES
    DELAY: ClassVar[float] = TARGET_DELAY
    STALL: ClassVar[float] = STALL_TIME

    def __init__(
        self,
        chunk_size: int,
        most: int = MAX_REQUESTS,
        *,
        is_full: bool = False,
        can_choose: bool = False,
    ) -> None:
        """Begin small; never have more than `most` requests outstanding."""
        self._most = max(self.LEAST, min(most, self.BYTES // chunk_size))
        self._size = float(min(self.FIRST, self._most))
        self._sent: dict[int, float] = {}  # when each chunk was requested
        self.delay = 0.0
        """Usual seconds from a request to its answer; 0 before any."""
        self._chunk_time = chunk_size / MIN_RATE
        self._last_heard = 0.0
        self._last_answer = 0.0
        self.is_verifying = False
        """Whether the first chunk is being verified; no other is requested then."""
        self.is_proven = False
        """Whether a chunk of the source has been verified."""
        self.is_stalled = False
        """Whether the source has left requests unanswered for too long."""
        self.busy_until = 0.0
        """Until when nothing is requested of a source that was busy; 0 if it is not."""
        self.is_full = is_full
        """Whether the source has every chunk."""
        self.can_choose = can_choose
        """Whether the source accepts requests for any chunk of its choice."""
        self.choices: deque[int] = deque()
        """Negative keys in the window, one for each chunk of its choice."""
        self.choices_from = 0.0
        """When it may be asked to choose again."""
        self.wasted_choices = 0
        """How many chunks of its choice we already had."""
        self.ignores_ranges = False
        """Whether the source is an origin that last answered with a whole file."""
        self.is_streaming = False
        """Whether an origin is sending a whole file; nothing is requested then."""

    def __len__(self) -> int:
        """Return how many requests are outstanding."""
        return len(self._sent)

    def room(self, least: int = 1) -> int:
        """Return how many more requests may be sent now; `least` in all, if proven."""
        if self.is_stalled or self.is_verifying or self.is_streaming:
            return 0
        if self.busy_until:
            return 0
        most = max(least, int(self._size)) if self.is_proven else UNPROVEN_REQUESTS
        return most - len(self._sent)

    def on_sent(self, indexes: Iterable[int], now: float) -> None:
        """Note requests that were sent."""
        if not self._sent:
            self._last_heard = self._last_answer = now
        for index in indexes:
            self._sent[index] = now

    def on_heard(self, now: float) -> None:
        """Note that bytes of any kind arrived."""
        self._last_heard = now

    def on_passed(self, now: float) -> None:
        """Note the bytes of a chunk that was not requested, in a whole file."""
        self._last_answer = self._last_heard = now

    def on_answer(self, index: int, now: float) -> bool:
        """Note an answer, late or not; return True if it was outstanding.

        Resizes the window by the time that the answer took.
        """
        self._last_answer = self._last_heard = now
        self.is_stalled = False
        self.busy_until = 0.0
        sent = self._sent.pop(index, None)
        if sent is None:
            return False
        delay = now - sent
        self.delay += SMOOTHING * (delay - self.delay) if self.delay else delay
        if delay < self.DELAY:
            self._size = min(self._size + 1, self._most)
        else:
            # As many as would have been answered within the target.
            least = self.LEAST if delay <= LONG_DELAY else 1
            self._size = max(least, self._size - (1 - self.DELAY / delay))
        return True

    def on_busy(self, now: float) -> None:
        """Note that the source has too many requests: it gets none for a while.

        An honest source is soon rid of one, and answers it. Others would keep both ends
        busy with requests and refusals.
        """
        self.busy_until = now + BUSY_PAUSE

    def end_pause(self, now: float) -> bool:
        """Return True if a pause is over; that of a busy source ends here."""
        if self.busy_until > now:
            return False
        was_busy, self.busy_until = self.busy_until > 0, 0.0
        return was_busy or 0 < self.choices_from <= now

    def on_refused(self, index: int) -> bool:
        """Note a refused request; return True if it was outstanding.

        The source is alive and has enough to do.
        """
        self._size = max(self.LEAST, self._size / 2)
        self.is_stalled = False
        return self.forget(index)

    def overdue(self, now: float, after: float) -> list[int]:
        """Return the chunks that were requested more than `after` seconds ago."""
        return [index for index, sent in self._sent.items() if now - sent > after]

    def forget(self, index: int) -> bool:
        """Stop waiting for an answer; return True if it was outstanding."""
        return self._sent.pop(index, None) is not None

    def chunk_delay(self, now: float) -> float:
        """Return how many seconds a chunk takes at the moment."""
        oldest = min(self._sent.values(), default=now)
        return max(self.delay, now - oldest)

    def check_stalled(self, now: float, others_delay: float = 0.0) -> bool:
        """Return True if the source has just stalled; its requests are void then.

        `others_delay` is how many seconds answers of other sources usually take.
        """
        if not self._sent or self.is_stalled:
            return False
        # A peer that serves many may let each wait longer than `STALL_TIME`.
        usual = max(self.STALL, STALL_DELAYS * max(self.delay, others_delay))
        # Bytes that drip postpone the deadline, but not beyond the time that others
        # take for a chunk or, if that is unknown, that a chunk takes at `MIN_RATE`.
        slowest = STALL_DELAYS * others_delay if others_delay else self._chunk_time
        longest = max(usual, slowest)
        if now < min(self._last_heard + usual, self._last_answer + longest):
            return False
        self.is_stalled = True
        self._sent.clear()
        self.choices.clear()
        return True


class InFlightLimit:
    """Keep the requests at all sources together within what this node can take.

    A source's own window follows what that source can do. What this node can do shows
    in the sockets: if a read often finds much data waiting, the sources are ahead of
    us. More requests would only fill memory, and wake sources that we do not need. So
    the limit falls while sources are ahead, down to what one source may have
    outstanding, and rises while they are not.
    """

    def __init__(self, chunk_size: int) -> None:
        """Begin with the highest limit."""
        self._chunk_size = chunk_size
        self._backlog = max(
            min(BACKLOG_LIMIT, BACKLOG_CHUNKS * chunk_size), 2 * chunk_size
        )
        self._least = float(max(MAX_BYTES, 2 * chunk_size))
        self._limit = float(IN_FLIGHT_LIMIT)  # bytes requested
        self._is_silent = False  # nothing has been read since the last tick

    def room(self, outstanding: int, waiting: int) -> int:
        """Return how many more chunks may be requested now; not below 0.

        `outstanding` chunks have been requested and have not arrived; `waiting` bytes
        have arrived and are not verified.
        """
        if waiting > self._backlog:
            return 0
        requested = outstanding * self._chunk_size
        limit = min(int(self._limit), IN_FLIGHT_LIMIT - waiting)
        # One chunk may always be outstanding, or nothing would ever move.
        least = 0 if requested + waiting else 1
        return max((limit - requested) // self._chunk_size, least)

    def on_read(self, *, is_ahead: bool) -> None:
        """Note that bytes arrived, and whether their source is ahead of us."""
        self._is_silent = False
        if is_ahead:
            self._limit = max(self._limit * (1 - LESS), self._least)
        else:
            self._limit = min(self._limit * (1 + MORE), IN_FLIGHT_LIMIT)

    def on_tick(self) -> None:
        """Restore the highest limit once nothing arrives any more."""
        if self._is_silent:
            self._limit = float(IN_FLIGHT_LIMIT)
        self._is_silent = True
