"""The order in which the addresses of a peer book are dialled; pure."""

import heapq
from random import Random

from shoal.core.names.address import Address

__all__ = ["DialQueue"]

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
