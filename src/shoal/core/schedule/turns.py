"""Decide which receiver is served next, and how many at the same time; pure.

A swarm is as fast as its uplinks are busy, and the uplink of a fast peer is idle once
all its neighbours have what it has. So most turns go to the peer that passes on most,
which then has something new for its neighbours; the others go in order, so that no
peer starves. What counts is what this node has measured, never a claim:

- while it downloads, the chunks that it has received from a peer and verified;
- once it is complete, how many of the chunks that it gave to one peer no other peer has
  announced yet. A peer that passes nothing on collects these and comes last.

A chunk can be passed on when it has arrived as a whole. A few chunks that are sent one
after the other arrive sooner, on average, than many that are sent at the same time.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable
from itertools import islice
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield

__all__ = ["FIRST_LIMIT", "HELD_TIME", "Contributions", "SendingLimit", "Turns"]

IN_ORDER = 4  # of so many turns, one goes in order
MAX_COMPARED = 64  # waiting peers that are compared for one turn
MAX_FIRST = 16_384  # chunks remembered that were given to one peer only
FADING = 1024  # verified chunks after which earlier ones count half
FIRST_LIMIT = 4  # receivers to send to at the same time, at first and at least
MAX_LIMIT = 4096  # receivers at the same time
PERIOD = 0.5  # seconds over which the rate with one limit is measured, at least
ROUNDS = 8  # times the limit that receivers are sent to in that time, at least
GAIN = 1.2  # times the rate that twice the receivers must have to be kept
LOSS = 0.9  # times the rate that half of the receivers must have to be kept
FIRST_PAUSE = 2.0  # seconds until another limit is tried
MAX_PAUSE = 32.0  # seconds; the pause doubles when a limit was not better
HELD_TIME = 2.0  # seconds that one receiver's unsent data counts, at most
TRIAL_TIME = 0.25  # the same for one whose owner has `MANY_STALLED` that took nothing
MANY_STALLED = 4  # receivers of one owner; it may be a host with honest ones, too

P = TypeVar("P", bound=Hashable)


class Contributions(Generic[P]):
    """Measure what each peer passes on, to this node or to others."""

    def __init__(self, is_complete: Callable[[], bool]) -> None:
        """Start without peers; `is_complete` returns True once we have every chunk."""
        self._is_complete = is_complete
        self._received: dict[P, float] = {}  # verified chunks, older ones count less
        self._verified = 0  # chunks since the older ones were last halved
        self._first: dict[int, P] = {}  # chunks that one peer was given, and no other
        self._kept: Counter[P] = Counter()  # how many of these each peer has

    def on_peer_joined(self, peer: P, have: Bitfield) -> None:
        """Note a peer and the chunks that it announced first."""
        for index in [index for index in self._first if index in have]:
            self.on_have(peer, index)

    def on_verified(self, peer: P, chunks: int = 1) -> None:
        """Note how many chunks verified that `peer` has sent."""
        self._received[peer] = self._received.get(peer, 0.0) + chunks
        self._verified += chunks
        if self._verified >= FADING:
            self._verified = 0
            for each in self._received:
                self._received[each] /= 2

    def on_sent(self, peer: P, index: int, *, is_first: bool) -> None:
        """Note a chunk sent to `peer`; with `is_first`, no other peer has it."""
        if not is_first:
            self.on_have(peer, index)
        elif index not in self._first and len(self._first) < MAX_FIRST:
            self._first[index] = peer
            self._kept[peer] += 1

    def on_have(self, peer: P, index: int) -> None:
        """Note that `peer` has a chunk."""
        first = self._first.get(index)
        if first is not None and first != peer:
            del self._first[index]
            self._kept[first] -= 1

    def remove(self, peer: P) -> None:
        """Forget a peer."""
        self._received.pop(peer, None)
        if self._kept.pop(peer, 0):
            self._first = {i: p for i, p in self._first.items() if p != peer}

    def rank(self, peer: P) -> float:
        """Return a number that is higher the more a peer passes on."""
        if self._is_complete():
            return float(-self._kept[peer])
        return self._received.get(peer, 0.0)


class Turns(Generic[P]):
    """Take waiting peers: one of `IN_ORDER` in order, the others by rank."""

    def __init__(self, rank: Callable[[P], float]) -> None:
        """Start with a turn in order; `rank` is higher for peers to prefer."""
        self._rank = rank
        self._taken = -1  # modulo IN_ORDER

    def take(self, waiting: deque[P]) -> P:
        """Remove and return the peer whose turn it is; there must be one."""
        self._taken = (self._taken + 1) % IN_ORDER
        if not self._taken or len(waiting) == 1:
            return waiting.popleft()
        rank, best, place = self._rank, waiting[0], 0
        highest = rank(best)
        for i, peer in enumerate(islice(waiting, MAX_COMPARED)):
            found = rank(peer)
            if found > highest:
                highest, best, place = found, peer, i
        del waiting[place]
        return best


class SendingLimit(Generic[P]):
    """Limit the number of receivers that are sent to at the same time.

    The limit is doubled for a moment from time to time and kept if much more was sent:
    then the links of the receivers are slow, not ours. It is halved in the same way.
    A receiver that takes nothing for `HELD_TIME` has stalled: it does not count, and as
    many more as have stalled are sent to. So however many of a host take nothing, one
    that takes what it is sent finds them out in a few rounds of doubling size.
    """

    def __init__(self) -> None:
        """Begin with `FIRST_LIMIT`."""
        self.limit = FIRST_LIMIT
        """Receivers that may be sent to at the same time."""
        self._receivers: dict[P, tuple[float, Hashable]] = {}  # until when, and owner
        self._stalled: dict[P, Hashable] = {}  # with owner
        self._stalled_of: Counter[Hashable] = Counter()  # owners
        self._since = 0.0  # when the period began
        self._sent = 0  # bytes sent in it
        self._batches = 0  # calls of `on_sent` in it
        self._is_binding = False  # a receiver has waited in it
        self._tried: float | None = None  # the rate before a trial, during one
        self._before = FIRST_LIMIT  # the limit before a trial
        self._pause = FIRST_PAUSE
        self._next = 0.0  # when the next trial begins
        self._goes_up = True  # whether the next trial doubles the limit

    def on_started(self, receiver: P, now: float, owner: Hashable = None) -> None:
        """Note that data for a receiver, which belongs to `owner`, waits to be sent."""
        if receiver not in self._receivers:
            self._revive(receiver)
            is_trial = self._stalled_of[owner] >= MANY_STALLED
            until = now + (TRIAL_TIME if is_trial else HELD_TIME)
            self._receivers[receiver] = until, owner

    def on_finished(self, receiver: P) -> None:
        """Note that a receiver takes more data, or has left."""
        self._receivers.pop(receiver, None)
        self._revive(receiver)

    def _revive(self, receiver: P) -> None:
        if receiver in self._stalled:
            owner = self._stalled.pop(receiver)
            self._stalled_of[owner] -= 1
            if not self._stalled_of[owner]:
                del self._stalled_of[owner]

    def has_room(self, now: float) -> bool:
        """Return True if one more receiver may be sent to."""
        if self._below_limit():
            return True
        for receiver, (until, owner) in list(self._receivers.items()):
            if until <= now:
                del self._receivers[receiver]
                self._stalled[receiver] = owner
                self._stalled_of[owner] += 1
        if self._below_limit():
            return True
        self._is_binding = True
        return False

    def _below_limit(self) -> bool:
        return len(self._receivers) < self.limit + len(self._stalled)

    @property
    def room_at(self) -> float:
        """Return when there is room again at the latest; call if there is none."""
        return min(until for until, _ in self._receivers.values())

    @property
    def receivers(self) -> list[P]:
        """Return the receivers that count."""
        return list(self._receivers)

    def on_sent(self, size: int, now: float) -> None:
        """Note that `size` bytes were sent to one receiver, and adapt the limit."""
        self._sent += size
        self._batches += 1
        passed = now - self._since
        if passed < PERIOD or self._batches < ROUNDS * self.limit:
            return
        rate, was_binding = self._sent / passed, self._is_binding
        self._since, self._sent, self._batches, self._is_binding = now, 0, 0, False
        if self._tried is not None:
            self._conclude(rate, self._tried, now)
        elif was_binding and now >= self._next:
            self._try(rate)

    def _try(self, rate: float) -> None:
        self._tried, self._before = rate, self.limit
        self._goes_up = self._goes_up or self.limit == FIRST_LIMIT
        twice, half = min(2 * self.limit, MAX_LIMIT), self.limit // 2
        self.limit = twice if self._goes_up else half

    def _conclude(self, rate: float, before: float, now: float) -> None:
        self._tried = None
        if rate >= before * (GAIN if self._goes_up else LOSS):
            self._pause, self._next = FIRST_PAUSE, 0.0
            return
        self.limit = self._before
        self._goes_up = not self._goes_up
        self._next = now + self._pause
        self._pause = min(2 * self._pause, MAX_PAUSE)
