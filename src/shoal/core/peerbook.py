"""Whom to dial and when: addresses, back-off and bans, without any I/O.

Discovery reports the same address again and again; here it counts once. An
address that fails is tried again later and later; one that lied is left alone.
"""

from collections.abc import Iterator
from random import Random

from shoal.core.address import Address

__all__ = ["BAN_TIME", "PeerBook"]

MAX_ADDRESSES = 3000  # remembered; what is beyond is forgotten
FIRST_BACKOFF = 1.0  # seconds until a failed address is dialled again
MAX_BACKOFF = 60.0  # seconds
LEFT_TIME = 10.0  # seconds until an address that said goodbye is dialled again
LEFT_FAILURES = 4  # that a goodbye counts as, since it will hardly be back so soon
KNOWN_BACKOFF = 5.0  # seconds at most, for one that was a peer a while ago
KNOWN_TIME = 600.0  # seconds after it was lost until it is one like any other
BAN_TIME = 600.0  # seconds


class _Entry:
    """Remember one address."""

    __slots__ = (
        "failures",
        "is_connected",
        "is_ready",
        "known_until",
        "not_before",
        "source",
    )

    def __init__(self, source: str) -> None:
        self.source = source
        self.is_connected = False
        self.failures = 0
        self.not_before = 0.0
        self.is_ready = False
        self.known_until = 0.0


class PeerBook:
    """Keep the addresses of one share's peers."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._entries: dict[Address, _Entry] = {}
        self._own: set[Address] = set()

    def __iter__(self) -> Iterator[Address]:
        """Yield every address that is known."""
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, address: Address, source: str) -> bool:
        """Note an address that discovery reported; say whether it is news."""
        is_full = len(self._entries) >= MAX_ADDRESSES
        if address in self._entries or address in self._own or is_full:
            return False
        self._entries[address] = _Entry(source)
        return True

    def source_of(self, address: Address) -> str:
        """Return the network that reported an address first."""
        entry = self._entries.get(address)
        return entry.source if entry else "unknown"

    def next_dials(self, now: float, slots: int) -> list[Address]:
        """Return up to `slots` addresses to dial now; they count as connected."""
        due = [a for a, e in self._idle() if e.not_before <= now]
        self._rng.shuffle(due)
        due.sort(key=lambda address: self._entries[address].failures)
        for address in due[:slots]:
            self._entries[address].is_connected = True
        return due[:slots]

    def next_due(self) -> float | None:
        """Return when the next address may be dialled; None if there is none."""
        return min((entry.not_before for _, entry in self._idle()), default=None)

    def on_ready(self, address: Address) -> None:
        """Note that a peer answered as it should: its failures are forgiven."""
        entry = self._entries.get(address)
        if entry is not None:
            entry.failures = 0
            entry.is_ready = True

    def on_lost(self, address: Address, now: float) -> None:
        """Note that dialling failed or the connection ended; try again later."""
        entry = self._entries.get(address)
        if entry is None:
            return
        entry.is_connected = False
        if entry.is_ready:
            entry.is_ready = False
            entry.known_until = now + KNOWN_TIME
        # The network may be what has gone: then all go on soon after it is back.
        most = KNOWN_BACKOFF if now < entry.known_until else MAX_BACKOFF
        wait = min(FIRST_BACKOFF * 2**entry.failures, most)
        # Half of it random, so that a crowd does not come back all at once.
        wait *= 0.5 + 0.5 * self._rng.random()
        entry.failures = min(entry.failures + 1, 16)
        entry.not_before = max(entry.not_before, now + wait)

    def on_left(self, address: Address, now: float) -> None:
        """Note that a peer said goodbye: it is hardly there, but may come back."""
        entry = self._entries.get(address)
        if entry is None:
            return
        entry.is_connected = entry.is_ready = False
        entry.failures = max(entry.failures, LEFT_FAILURES)
        entry.not_before = max(entry.not_before, now + LEFT_TIME)

    def ban(self, address: Address, now: float) -> None:
        """Leave an address alone for `BAN_TIME`: what it sent did not verify."""
        entry = self._entries.setdefault(address, _Entry("unknown"))
        entry.not_before = now + BAN_TIME

    def forget(self, address: Address) -> None:
        """Never dial an address again: it is our own."""
        self._entries.pop(address, None)
        self._own.add(address)

    def _idle(self) -> Iterator[tuple[Address, _Entry]]:
        return (
            (address, entry)
            for address, entry in self._entries.items()
            if not entry.is_connected
        )
