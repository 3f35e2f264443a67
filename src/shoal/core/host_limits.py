"""Limit what each host of strangers may do, and how many connections they have; pure.

`HostLimit` counts what a host does: handshakes that fail, and peers that arrive.
`HalfOpen` limits connections: how many, for how long, and which to end first. A
connection is half-open from its acceptance to the last proof. There is a limit for
all of them and one for each global address; at either limit the oldest is ended. So a
flood evicts its own connections, while an honest peer, which needs milliseconds, gets
in between (docs/threat-model.md).

The owner of a `HalfOpen` ends the connections that it returns.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from shoal.core.limits import LeakyBucket
from shoal.core.names.address_scope import host_key, slot_of

__all__ = [
    "ARRIVAL_BURST",
    "ARRIVAL_RATE",
    "MAX_HALF_OPEN",
    "MAX_PER_ADDRESS",
    "ArrivalLimit",
    "HalfOpen",
    "HostLimit",
]

MAX_HALF_OPEN = 1024  # connections
MAX_PER_ADDRESS = 16  # connections of one global IPv4 address or IPv6 /64
HANDSHAKE_BURST = 64.0  # failed handshakes at once; more than a busy host causes
HANDSHAKE_RATE = 10.0  # failed handshakes per second; each costs 0.1 ms of work
ARRIVAL_BURST = 384.0  # peers of one host and share at once: twice as many as places
ARRIVAL_RATE = 20.0  # peers per second; with `ARRIVAL_CHUNKS` each costs up to 5 ms
ARRIVAL_CHUNKS = 1 << 18  # of a share; with more, a peer counts as several
MAX_HOSTS = 1024  # hosts that each limit remembers

C = TypeVar("C", bound=Hashable)


class HalfOpen(Generic[C]):
    """Keep half-open connections in order of arrival, each with its deadline."""

    def __init__(
        self,
        max_connections: int = MAX_HALF_OPEN,
        max_per_address: int = MAX_PER_ADDRESS,
    ) -> None:
        self._max_connections = max_connections
        self._room = max_connections  # fewer while the system runs short
        self._max_per_address = max_per_address
        self._connections: OrderedDict[C, tuple[Hashable, float]] = OrderedDict()
        self._slots: dict[Hashable, OrderedDict[C, None]] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: C, host: str, deadline: float) -> C | None:
        """Add a connection; return the one evicted for it, already removed."""
        slot = slot_of(host)
        evicted: C | None = None
        if slot is not None:
            same = self._slots.setdefault(slot, OrderedDict())
            if len(same) >= self._max_per_address:
                evicted = next(iter(same))
        if evicted is None and len(self._connections) >= self._room:
            evicted = next(iter(self._connections))
        if evicted is not None:
            self.remove(evicted)
        self._connections[connection] = (slot, deadline)
        if slot is not None:
            self._slots.setdefault(slot, OrderedDict())[connection] = None
        return evicted

    def remove(self, connection: C) -> None:
        """Remove a connection; idempotent."""
        if connection not in self._connections:
            return
        slot, _ = self._connections.pop(connection)
        if 2 * len(self._connections) <= self._room:
            self._room = self._max_connections
        if slot is not None:
            same = self._slots[slot]
            del same[connection]
            if not same:
                del self._slots[slot]

    def remove_oldest(self) -> C | None:
        """Remove and return the oldest connection, None if there is none."""
        if not self._connections:
            return None
        connection = next(iter(self._connections))
        self.remove(connection)
        return connection

    def tighten(self) -> C | None:
        """Remove and return the oldest connection: the system has no room for all.

        The limit drops to the number that remain, until half of those have gone.
        """
        connection = self.remove_oldest()
        self._room = max(1, len(self._connections))
        return connection

    def remove_overdue(self, now: float) -> list[C]:
        """Remove and return all connections whose deadline has passed."""
        overdue: list[C] = []
        while (due := self.next_deadline()) is not None and due <= now:
            connection = self.remove_oldest()
            assert connection is not None
            overdue.append(connection)
        return overdue

    def next_deadline(self) -> float | None:
        """Return the deadline of the oldest connection, the first to pass."""
        for _, deadline in self._connections.values():
            return deadline
        return None


class HostLimit:
    """Bound how often each host does something.

    The listener counts handshakes that fail: any client that knows the link, or has
    recorded a knock, can make us answer without ever confirming its knock. A host may
    run any number of honest peers, because completed handshakes are not counted there.
    A host at its limit is allowed `rate` more per second until it stops.
    """

    def __init__(
        self, burst: float = HANDSHAKE_BURST, rate: float = HANDSHAKE_RATE
    ) -> None:
        """Allow `burst` of one host at once, and `rate` more per second."""
        self.weight = 1.0
        """As how many each one counts; at most as many as are allowed at once."""
        self._burst = burst
        self._rate = rate
        # The host that was counted last comes last.
        self._counts: OrderedDict[Hashable, LeakyBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def allows(self, host: str, now: float) -> bool:
        """Return True if a host is below its limit."""
        count = self._counts.get(host_key(host))
        if count is None:
            return True
        count.leak(now)
        return count.level <= self._burst - self.weight

    def admits(self, host: str, now: float) -> bool:
        """Return True if a host is below its limit, and count one more of it then."""
        is_allowed = self.allows(host, now)
        if is_allowed:
            self.add(host, now)
        return is_allowed

    def add(self, host: str, now: float) -> None:
        """Count one more of a host."""
        key = host_key(host)
        count = self._counts.setdefault(key, LeakyBucket(self._rate))
        count.leak(now)
        # No more than the burst, so a host that stops is soon allowed again.
        count.level = min(count.level + self.weight, self._burst)
        self._counts.move_to_end(key)
        if len(self._counts) > MAX_HOSTS:
            self._counts.popitem(last=False)


class ArrivalLimit(HostLimit):
    """Bound how many peers of each host arrive at one share.

    A hello with half a bitfield costs milliseconds.
    """

    def __init__(self) -> None:
        """Start with a share of few chunks."""
        super().__init__(ARRIVAL_BURST, ARRIVAL_RATE)

    def know_size(self, chunks: int) -> None:
        """Count each peer as several if the share has very many chunks."""
        self.weight = max(1.0, chunks / ARRIVAL_CHUNKS)
