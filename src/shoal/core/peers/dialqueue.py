"""Addresses in the order in which they are to be dialled; pure.

Each waits for its time; of those whose time has come, one of the lowest rank goes
first, and a random one of equals, so that a crowd does not all dial the same peer.
Every step costs the logarithm of how many there are at most: whoever floods us with
addresses must not make each dial dearer.
"""

import heapq
from random import Random

from shoal.core.names.address import Address

__all__ = ["DialQueue"]

SLACK = 64  # items that are void and kept all the same, beyond as many as are not


class _Item:
    """Stand for one address until it is taken, moved or discarded."""

    __slots__ = ("address", "is_due", "is_void", "rank")

    def __init__(self, address: Address, rank: int) -> None:
        self.address = address
        self.rank = rank
        self.is_due = False
        self.is_void = False


class DialQueue:
    """Keep addresses until their time comes, then until their turn."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._items: dict[Address, _Item] = {}
        self._waiting: list[tuple[float, int, _Item]] = []  # a heap
        self._due: dict[int, list[_Item]] = {}  # by rank
        self._due_count = 0
        self._count = 0  # puts so far, so that no two items are compared

    def __len__(self) -> int:
        return len(self._items)

    def put(self, address: Address, rank: int, when: float) -> None:
        """Have an address dialled from `when` on, and at no other time."""
        self.discard(address)
        item = self._items[address] = _Item(address, rank)
        self._count += 1
        heapq.heappush(self._waiting, (when, self._count, item))
        self._sweep()

    def discard(self, address: Address) -> None:
        """Have an address dialled no more."""
        item = self._items.pop(address, None)
        if item is not None:
            item.is_void = True
            self._due_count -= item.is_due

    def take(self, now: float) -> Address | None:
        """Take out the address to dial now; None when nothing is due."""
        while self._waiting and self._waiting[0][0] <= now:
            _, _, item = heapq.heappop(self._waiting)
            if not item.is_void:
                item.is_due = True
                self._due_count += 1
                self._due.setdefault(item.rank, []).append(item)
        while self._due_count:
            item = self._pop_due()
            if not item.is_void:
                self.discard(item.address)
                return item.address
        return None

    def next_due(self) -> float | None:
        """Return when the next may be taken, 0 for at once; None if there is none."""
        if self._due_count:
            return 0.0
        while self._waiting and self._waiting[0][2].is_void:
            heapq.heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    def _pop_due(self) -> _Item:
        """Take out a random item of the lowest rank, void or not."""
        rank = min(self._due)
        items = self._due[rank]
        place = self._rng.randrange(len(items))
        items[place], items[-1] = items[-1], items[place]
        item = items.pop()
        if not items:
            del self._due[rank]
        return item

    def _sweep(self) -> None:
        """Let go of what is void, once that is the greater part."""
        kept = len(self._waiting) + sum(map(len, self._due.values()))
        if kept > 2 * len(self._items) + SLACK:
            self._waiting = [each for each in self._waiting if not each[2].is_void]
            heapq.heapify(self._waiting)
            for rank, items in list(self._due.items()):
                self._due[rank] = [each for each in items if not each.is_void]
                if not self._due[rank]:
                    del self._due[rank]
