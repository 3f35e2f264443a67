"""The order in which addresses are dialled, and how many a node dials; pure."""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Hashable
from random import Random

from shoal.core.limits import LeakyBucket
from shoal.core.names.address import Address
from shoal.core.names.address_scope import host_key

__all__ = [
    "DIAL_BURST",
    "DIAL_RATE",
    "INTRODUCTION_PERIOD",
    "MAX_INTRODUCED_PORTS",
    "MAX_INTRODUCTIONS",
    "MAX_PUNCHES",
    "DialPace",
    "DialQueue",
]

DIAL_BURST = 20.0  # dials of a node at once
DIAL_RATE = 20.0  # dials per second of all its shares together, to any address
INTRODUCTION_PERIOD = 60.0  # seconds between dials to an address that peers claim
MAX_INTRODUCED_PORTS = 8  # of one host that a node dials in that time
MAX_INTRODUCTIONS = 1024  # claimed addresses that a node dials in that time
MAX_PUNCHES = 64  # dials of a node that wait for a peer to dial us, too
SLACK = 64  # void items that a queue may keep, beyond one for each valid item


class DialQueue:
    """Keep addresses in the order in which to dial them.

    Each waits for its time. Of those whose time has come, one of the lowest rank comes
    first, chosen at random, so that a crowd does not dial the same peer. Each step
    costs at most the logarithm of the number of addresses, so that an attacker who
    reports many does not make dialling expensive.
    """

    def __init__(self, rng: Random) -> None:
        """Start empty."""
        self._rng = rng
        self._numbers: dict[Address, int] = {}  # items of other numbers are void
        self._waiting: list[tuple[float, int, int, Address]] = []  # a heap
        self._due: dict[int, list[tuple[int, Address]]] = {}  # by rank
        self._due_addresses: set[Address] = set()
        self._count = 0  # calls of `put`

    def __len__(self) -> int:
        return len(self._numbers)

    def put(self, address: Address, rank: int, when: float) -> None:
        """Have an address dialled from `when` on, instead of at any other time."""
        self.discard(address)
        self._count += 1
        self._numbers[address] = self._count
        heapq.heappush(self._waiting, (when, self._count, rank, address))
        self._sweep()

    def discard(self, address: Address) -> None:
        """Remove an address."""
        self._numbers.pop(address, None)
        self._due_addresses.discard(address)

    def take(self, now: float) -> Address | None:
        """Remove and return the address to dial now; None if there is none."""
        while self._waiting and self._waiting[0][0] <= now:
            _, number, rank, address = heapq.heappop(self._waiting)
            if self._is_valid(number, address):
                self._due_addresses.add(address)
                self._due.setdefault(rank, []).append((number, address))
        while self._due_addresses:
            number, address = self._pop_due()
            if self._is_valid(number, address):
                self.discard(address)
                return address
        return None

    def next_due(self) -> float | None:
        """Return when `take` next finds one: a time, 0 for at once, None for never."""
        if self._due_addresses:
            return 0.0
        while self._waiting and not self._is_valid(
            self._waiting[0][1], self._waiting[0][3]
        ):
            heapq.heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    def _is_valid(self, number: int, address: Address) -> bool:
        return self._numbers.get(address) == number

    def _pop_due(self) -> tuple[int, Address]:
        """Remove a random item of the lowest rank, void or not."""
        rank = min(self._due)
        items = self._due[rank]
        place = self._rng.randrange(len(items))
        items[place], items[-1] = items[-1], items[place]
        item = items.pop()
        if not items:
            del self._due[rank]
        return item

    def _sweep(self) -> None:
        """Drop void items once they are more than half of all."""
        kept = len(self._waiting) + sum(map(len, self._due.values()))
        if kept > 2 * len(self._numbers) + SLACK:
            self._waiting = [w for w in self._waiting if self._is_valid(w[1], w[3])]
            heapq.heapify(self._waiting)
            for rank, items in list(self._due.items()):
                self._due[rank] = [each for each in items if self._is_valid(*each)]
                if not self._due[rank]:
                    del self._due[rank]


class DialPace(LeakyBucket):
    """Limit how many addresses a node dials per second, for all its shares.

    A peer that reports addresses chooses where we send packets, and to how many hosts.
    A dial to the internet may wait long for a peer that dials us, too: it keeps its
    place among the first ones for a while, and is then one of `MAX_PUNCHES`.
    """

    def __init__(self) -> None:
        """Start with nothing dialled."""
        super().__init__(DIAL_RATE)
        self._punches = 0
        # When each was dialled, the latest last.
        self._introduced: OrderedDict[Address, float] = OrderedDict()
        self._hosts: Counter[Hashable] = Counter()  # of these addresses

    def introduced_at(self, address: Address, now: float) -> float:
        """Return when an address may be dialled that only peers have named.

        If that is `now`, it counts as dialled. Peers may claim the address of a victim:
        one that has not been a peer is dialled once in `INTRODUCTION_PERIOD`, and so
        are no more than `MAX_INTRODUCED_PORTS` of its host.
        """
        introduced, hosts = self._introduced, self._hosts
        while introduced:
            oldest, dialled = next(iter(introduced.items()))
            if dialled + INTRODUCTION_PERIOD > now:
                break
            del introduced[oldest]
            hosts[host_key(oldest.host)] -= 1
            if not hosts[host_key(oldest.host)]:
                del hosts[host_key(oldest.host)]
        key = host_key(address.host)
        if address in introduced:
            return introduced[address] + INTRODUCTION_PERIOD
        if hosts[key] >= MAX_INTRODUCED_PORTS or len(introduced) >= MAX_INTRODUCTIONS:
            return now + INTRODUCTION_PERIOD
        introduced[address] = now
        hosts[key] += 1
        return now

    def begin_punch(self) -> bool:
        """Let a dial wait; return False if `MAX_PUNCHES` do."""
        if self._punches >= MAX_PUNCHES:
            return False
        self._punches += 1
        return True

    def end_punch(self) -> None:
        """Note that a dial waits no more."""
        self._punches -= 1

    def room(self, now: float) -> int:
        """Return how many addresses may be dialled now."""
        self.leak(now)
        return int(DIAL_BURST - self.level)

    @property
    def wait(self) -> float:
        """Return in how many seconds there is room for one; call `room` first."""
        return self.seconds_above(DIAL_BURST - 1)
