"""When nodes of the DHT are sent packets, and when topics are looked up; pure.

libtorrent, which most nodes of the DHT use, ignores an address for five minutes after
about 50 packets from it within ten seconds. So a `Pace`, which all lookups of this node
share, spreads the packets to each node over time. `LookupQueue` decides in which order
lookups run: the next share of a thousand is announced while another lookup still waits
for responses, but a lookup that a caller waits for runs first. `LookupSchedule` says
when a topic is looked up again, and which lookups are spaced: a share that nobody
fetches costs 20 packets a minute.
"""

import enum
import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from random import Random
from typing import NamedTuple

from shoal.core.names.address import Address

__all__ = [
    "INTERVAL",
    "JITTER",
    "MAX_IN_WINDOW",
    "MAX_SPACED",
    "PACKETS",
    "PLACES",
    "RETRY",
    "SPACED",
    "SPACING",
    "WINDOW",
    "LookupQueue",
    "LookupSchedule",
    "Pace",
    "Priority",
    "WaitRange",
    "spacing",
]

SPACING = 0.3  # seconds between two packets to one node
WINDOW = 10.0  # seconds
MAX_IN_WINDOW = 30  # packets to one node in a window


class Priority(enum.IntEnum):
    """Tell which lookups go first."""

    AWAITED = 0
    """A caller waits for peers."""
    FIRST = 1
    """A share that has not been announced yet."""
    REPEATED = 2
    """An announcement that nodes still remember, or a caller that has waited long."""
    SEEKING = 3
    """A question for newcomers; it does not wait in the queue."""


PACKETS = {
    Priority.AWAITED: MAX_IN_WINDOW,
    Priority.FIRST: 20,
    Priority.REPEATED: 20,
    Priority.SEEKING: 10,
}
"""The packets to one node in a window, up to which another one may be sent."""
PLACES = {Priority.AWAITED: 16, Priority.FIRST: 12, Priority.REPEATED: 8}
"""The lookups that run at once, up to which another one may start."""


class Pace:
    """Remember when each node was sent a packet, and say when the next one may go.

    What is remembered are the packets of the last `WINDOW` seconds.
    """

    def __init__(self) -> None:
        self._sent: dict[Address, deque[float]] = {}  # the latest node is the last

    def __len__(self) -> int:
        """Return the number of nodes that are remembered."""
        return len(self._sent)

    def ready_at(self, address: Address, priority: Priority) -> float:
        """Return the earliest time for a packet to a node, 0 for a node never sent any.

        Those of a lower priority leave packets to the others (`PACKETS`).
        """
        sent = self._sent.get(address)
        if not sent:
            return 0.0
        allowed = PACKETS[priority]
        ready = sent[-1] + SPACING
        if len(sent) >= allowed:
            ready = max(ready, sent[-allowed] + WINDOW)
        return ready

    def on_packet(self, address: Address, now: float) -> None:
        """Note that a node is sent a packet now."""
        sent = self._sent.pop(address, None)
        if sent is None:
            sent = deque(maxlen=MAX_IN_WINDOW)
        sent.append(now)
        self._sent[address] = sent
        while (oldest := next(iter(self._sent))) != address:
            if self._sent[oldest][-1] > now - WINDOW:
                break
            del self._sent[oldest]


class LookupQueue:
    """Decide which lookups run, of those that want to.

    A lookup is a number that `add` returns. It runs once `is_running` is True, until
    `remove`, which also takes one out that has not started.
    """

    def __init__(self, places: Mapping[Priority, int] = PLACES) -> None:
        """Start a lookup while fewer run than its priority has `places`."""
        self._places = places
        self._numbers = itertools.count()
        self._waiting: list[tuple[Priority, int]] = []
        self._running: set[int] = set()
        self._removed: set[int] = set()

    def add(self, priority: Priority) -> int:
        """Add a lookup; it may run at once."""
        number = next(self._numbers)
        heapq.heappush(self._waiting, (priority, number))
        self._start()
        return number

    def is_running(self, number: int) -> bool:
        """Return True once a lookup may run."""
        return number in self._running

    def remove(self, number: int) -> list[int]:
        """Take a lookup out; return those that may run from now on in its place."""
        if number in self._running:
            self._running.remove(number)
            return self._start()
        self._removed.add(number)
        return []

    def _start(self) -> list[int]:
        started = []
        while self._waiting:
            priority, number = self._waiting[0]
            if number in self._removed:
                self._removed.remove(number)
            elif len(self._running) < self._places[priority]:
                self._running.add(number)
                started.append(number)
            else:
                break
            heapq.heappop(self._waiting)
        return started


class WaitRange(NamedTuple):
    """Bound a wait from both sides."""

    shortest: float
    """Seconds."""
    longest: float
    """Seconds."""


# docs/protocol.md, "DHT discovery"; nodes forget a peer after about 30 minutes.
INTERVAL = WaitRange(600.0, 900.0)
RETRY = WaitRange(5.0, 60.0)  # the first wait, and the longest while we are alone
# Some of the first lookups may be quick, if need be those after 0, 5, 15, 35 and 75 s.
EARLY_LOOKUPS = 5
JITTER = 0.25  # of a wait shorter than the interval, by which it may be shortened


class LookupSchedule:
    """Decide after each lookup of a topic how long to wait before the next.

    Peers come and go most in a topic's first minutes: one node looks the topic up
    before another has announced it, two announce at once, an old entry is out of date.
    So lookups follow each other quickly at first and slow down to `interval`
    (docs/protocol.md, "DHT discovery"). While a caller waits and no other peer has been
    found, the wait stays within `retry`: a download should not wait much longer than
    necessary for its first source. All waits are random, so that the lookups of many
    shares do not come at once.

    The packets of a lookup are spaced unless it `is_early`. Peers that come later ask
    for newcomers, and are asked for, between lookups.
    """

    def __init__(
        self,
        *,
        rng: Random,
        port: int | None = None,
        interval: WaitRange = INTERVAL,
        retry: WaitRange = RETRY,
    ) -> None:
        self._rng = rng
        self._port = port
        self._interval = interval
        self._retry = retry
        self._next_wait = retry.shortest
        self._is_alone = True
        self.lookups = 0
        """How many lookups have ended since the first one, or since a restart."""
        self.was_alone = False
        """Whether the previous lookup found no peer; False before the first lookup."""

    def on_peers(self, peers: Iterable[Address]) -> None:
        """Note the peers that the current lookup has found."""
        # A peer with our own port is most likely our own announcement: we do not know
        # the address at which others see us.
        if any(peer.port != self._port for peer in peers):
            self._is_alone = False

    def restart(self) -> None:
        """Let the next lookups follow each other quickly, as at first."""
        self._next_wait = self._retry.shortest
        self.lookups = 0

    @property
    def is_early(self) -> bool:
        """Return True if the current lookup is one of the first ones."""
        return self.lookups < EARLY_LOOKUPS

    def next_wait(self, *, is_failure: bool, is_awaited: bool = True) -> float:
        """Return the seconds until the next lookup.

        `is_failure` is True if no node responded, or none accepted the announcement;
        `is_awaited` is False if no caller waits for peers.
        """
        self.lookups += 1
        wait = self._next_wait
        self._next_wait = min(wait * 2, self._interval.longest)
        if is_failure or (self._is_alone and is_awaited):
            wait = min(wait, self._retry.longest)
        if wait >= self._interval.shortest:
            wait = self._rng.uniform(*self._interval)
        else:
            wait *= self._rng.uniform(1 - JITTER, 1)
        self.was_alone = self._is_alone
        self._is_alone = True
        return wait


# Within a minute, so many packets of a lookup and six questions are fewer than 20. A
# token is valid for five minutes, by which time a lookup has announced.
SPACED = 5.0  # seconds between the packets of a lookup that is not urgent
MAX_SPACED = 64  # queries of such a lookup
MIN_RETRIED = 6  # packets of such a lookup in the longest wait between lookups


def spacing(topics: int, networks: int, retry: WaitRange) -> float:
    """Return the seconds between the packets of a lookup that is not urgent.

    That is `SPACED` if there is one topic, and one of the `networks` of the DHT works.
    With many `topics` few lookups run at once, and may send more for each of them.
    There are some packets within the longest wait of `retry`, which is short in tests.
    """
    share = min(1.0, PLACES[Priority.REPEATED] / max(1, topics))
    return min(SPACED * networks * share, retry.longest / MIN_RETRIED)
