"""Connections of strangers: who may wait for how long, and who has to go.

A connection is half-open from its acceptance to the end of the proofs. There is a
limit to all of them and one to those of any address that is somebody's own; when
one is passed, the oldest goes. So a flood ends itself, and an honest peer, who is
through in milliseconds, gets in during it.

No I/O here: `HalfOpen` says whom to end, its owner ends them.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from shoal.core.names.address_scope import slot_of

__all__ = ["MAX_HALF_OPEN", "MAX_PER_ADDRESS", "HalfOpen"]

MAX_HALF_OPEN = 1024  # connections
MAX_PER_ADDRESS = 16  # connections of one global IPv4 address or IPv6 /64

G = TypeVar("G", bound=Hashable)


class HalfOpen(Generic[G]):
    """Keep guests in the order of their coming, each with its deadline."""

    def __init__(
        self,
        max_guests: int = MAX_HALF_OPEN,
        max_per_address: int = MAX_PER_ADDRESS,
    ) -> None:
        self._max_guests = max_guests
        self._room = max_guests  # for guests now; less while the system is short
        self._max_per_address = max_per_address
        self._guests: OrderedDict[G, tuple[Hashable, float]] = OrderedDict()
        self._slots: dict[Hashable, OrderedDict[G, None]] = {}

    def __len__(self) -> int:
        return len(self._guests)

    def admit(self, guest: G, host: str, deadline: float) -> G | None:
        """Take a guest in; return the one that has to go for it, already removed."""
        slot = slot_of(host)
        leaving: G | None = None
        if slot is not None:
            same = self._slots.setdefault(slot, OrderedDict())
            if len(same) >= self._max_per_address:
                leaving = next(iter(same))
        if leaving is None and len(self._guests) >= self._room:
            leaving = next(iter(self._guests))
        if leaving is not None:
            self.remove(leaving)
        self._guests[guest] = (slot, deadline)
        if slot is not None:
            self._slots.setdefault(slot, OrderedDict())[guest] = None
        return leaving

    def remove(self, guest: G) -> bool:
        """Forget a guest; say whether it was still here."""
        if guest not in self._guests:
            return False
        slot, _ = self._guests.pop(guest)
        if 2 * len(self._guests) <= self._room:
            self._room = self._max_guests
        if slot is not None:
            same = self._slots[slot]
            del same[guest]
            if not same:
                del self._slots[slot]
        return True

    def remove_oldest(self) -> G | None:
        """Forget the guest that has been here longest, and return it."""
        if not self._guests:
            return None
        guest = next(iter(self._guests))
        self.remove(guest)
        return guest

    def tighten(self) -> G | None:
        """Remove and return the oldest: the system has no room for all of them.

        No more than are left will be here until half of those have gone.
        """
        guest = self.remove_oldest()
        self._room = max(1, len(self._guests))
        return guest

    def remove_overdue(self, now: float) -> list[G]:
        """Forget all guests whose deadline has come, and return them."""
        overdue: list[G] = []
        while (due := self.next_deadline()) is not None and due <= now:
            guest = self.remove_oldest()
            assert guest is not None
            overdue.append(guest)
        return overdue

    def next_deadline(self) -> float | None:
        """Return when the oldest guest has to go; every guest has the same time."""
        for _, deadline in self._guests.values():
            return deadline
        return None
