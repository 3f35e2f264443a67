"""Limit the connections of strangers: how many, for how long, and which to end first.

A connection is half-open from its acceptance to the last proof. There is a limit for
all of them and one for each global address; at either limit the oldest is ended. So a
flood evicts its own connections, while an honest peer, which needs milliseconds, gets
in between (docs/threat-model.md).

No I/O here: `HalfOpen` decides which connections to end, and its owner ends them.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from shoal.core.names.address_scope import slot_of

__all__ = ["MAX_HALF_OPEN", "MAX_PER_ADDRESS", "HalfOpen"]

MAX_HALF_OPEN = 1024  # connections
MAX_PER_ADDRESS = 16  # connections of one global IPv4 address or IPv6 /64

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
