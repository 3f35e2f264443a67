"""Whom to dial and when: addresses, back-off and bans, without any I/O.

Discovery reports the same address again and again; here it counts once. An
address that fails is tried again later and later; one that lied is left alone.

Anybody may report addresses, so there is room for so many, and for few of any one
machine on the internet. Where there is no more room, whichever has been of least use
makes some: so nobody keeps honest addresses out by naming others. What the user named
has a place of its own and is dialled first.
"""

from collections.abc import Hashable, Iterator
from random import Random

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of, slot_of
from shoal.core.peers.dialqueue import DialQueue

__all__ = ["BAN_TIME", "NAMED_SOURCES", "PeerBook"]

NAMED_SOURCES = frozenset({"peer", "hint"})  # of what the user, or the link, names
MAX_ADDRESSES = 3000  # remembered, beside those that were named
MAX_PORTS = 2  # of them with one global address: a machine needs no more
FIRST_BACKOFF = 1.0  # seconds until a failed address is dialled again
MAX_BACKOFF = 60.0  # seconds
MAX_FAILURES = 16  # counted
LEFT_TIME = 10.0  # seconds until an address that said goodbye is dialled again
LEFT_FAILURES = 4  # that a goodbye counts as, since it will hardly be back so soon
KNOWN_BACKOFF = 5.0  # seconds at most, for one that was a peer a while ago
KNOWN_TIME = 600.0  # seconds after it was lost until it is one like any other
BAN_TIME = 600.0  # seconds


class _Entry:
    """Remember one address."""

    __slots__ = (
        "failures",
        "is_banned",
        "is_connected",
        "is_named",
        "is_ready",
        "known_until",
        "not_before",
        "slot",
        "source",
        "uselessness",
        "was_peer",
    )

    def __init__(self, source: str, slot: Hashable, *, is_named: bool) -> None:
        self.source = source
        self.slot = slot  # what its ports are counted by; None: they are not
        self.is_named = is_named
        self.is_connected = False
        self.failures = 0
        self.not_before = 0.0
        self.is_ready = False
        self.is_banned = False
        self.was_peer = False
        self.known_until = 0.0
        self.uselessness: int | None = None  # None: it need not make room


class PeerBook:
    """Keep the addresses of one share's peers."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._entries: dict[Address, _Entry] = {}
        self._own: set[Address] = set()
        self._bans: dict[Address, float] = {}  # until when
        self._queue = DialQueue(rng)
        self._slots: dict[Hashable, set[Address]] = {}
        # Those that can make room, by how useless they were; the oldest first.
        self._spare: list[dict[Address, None]] = [
            {} for _ in range(2 * (MAX_FAILURES + 1))
        ]
        self._named = 0  # how many of the entries were named

    def __iter__(self) -> Iterator[Address]:
        """Yield every address that is known."""
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, address: Address, source: str, not_before: float = 0.0) -> bool:
        """Note an address that discovery reported; say whether it is news.

        If it is, it is not dialled earlier than `not_before`.
        """
        entry = self._entries.get(address)
        if entry is not None and source in NAMED_SOURCES and not entry.is_named:
            self._name(address, entry)
        if entry is not None or address in self._own:
            return False
        entry = self._enter(address, source)
        if entry is None:
            return False
        entry.not_before = max(entry.not_before, not_before)
        self._idle(address, entry)
        return True

    def source_of(self, address: Address) -> str:
        """Return the network that reported an address first."""
        entry = self._entries.get(address)
        return entry.source if entry else "unknown"

    def next_dials(self, now: float, slots: int) -> list[Address]:
        """Return up to `slots` addresses to dial now; they count as connected."""
        dials: list[Address] = []
        while len(dials) < slots and (address := self._queue.take(now)) is not None:
            entry = self._entries[address]
            entry.is_connected = True
            entry.is_banned = False
            self._keep(address, entry)
            dials.append(address)
        return dials

    def next_due(self) -> float | None:
        """Return when the next may be dialled, 0 for at once; None if there is none."""
        return self._queue.next_due()

    def on_ready(self, address: Address) -> None:
        """Note that a peer answered as it should: its failures are forgiven."""
        entry = self._entries.get(address)
        if entry is not None:
            entry.failures = 0
            entry.is_ready = entry.was_peer = True

    def on_lost(self, address: Address, now: float) -> None:
        """Note that dialling failed or the connection ended; try again later."""
        entry = self._entries.get(address)
        if entry is None:
            return
        if entry.is_ready:
            entry.is_ready = False
            entry.known_until = now + KNOWN_TIME
        # The network may be what has gone: then all go on soon after it is back.
        is_known = now < entry.known_until
        most = KNOWN_BACKOFF if is_known else MAX_BACKOFF
        wait = min(FIRST_BACKOFF * 2**entry.failures, most)
        # Half of it random, so that a crowd does not come back all at once.
        wait *= 0.5 + 0.5 * self._rng.random()
        entry.failures = min(entry.failures + 1, MAX_FAILURES)
        entry.not_before = max(entry.not_before, now + wait)
        self._idle(address, entry, is_known=is_known)

    def on_left(self, address: Address, now: float) -> None:
        """Note that a peer said goodbye: it is hardly there, but may come back."""
        entry = self._entries.get(address)
        if entry is None:
            return
        entry.is_ready = False
        entry.failures = max(entry.failures, LEFT_FAILURES)
        entry.not_before = max(entry.not_before, now + LEFT_TIME)
        self._idle(address, entry)

    def ban(self, address: Address, now: float) -> None:
        """Ban an address for `BAN_TIME`: data from it did not verify."""
        self._bans = {a: until for a, until in self._bans.items() if until > now}
        self._bans[address] = now + BAN_TIME
        entry = self._entries.get(address) or self._enter(address, "unknown")
        if entry is not None:
            entry.not_before = now + BAN_TIME
            entry.is_banned = True
            if not entry.is_connected:
                self._idle(address, entry)

    def is_banned(self, address: Address, now: float) -> bool:
        """Return True if an address is banned.

        On the internet the ban of one port bans the whole host. Elsewhere many peers
        share one host, so a ban covers one port.
        """
        if scope_of(address.host) is not Scope.GLOBAL:
            return self._bans.get(address, 0.0) > now
        return any(
            banned.host == address.host and until > now
            for banned, until in self._bans.items()
        )

    def forget(self, address: Address) -> None:
        """Never dial an address again: it is our own."""
        self._remove(address)
        self._own.add(address)

    # Entries come, wait and make room.

    def _enter(self, address: Address, source: str) -> _Entry | None:
        """Return a new entry, which may take the place of another; None: no room."""
        is_named = source in NAMED_SOURCES
        entry = _Entry(source, slot_of(address.host), is_named=is_named)
        if is_named:
            self._named += 1
        elif not self._make_room(entry):
            return None
        elif entry.slot is not None:
            self._slots.setdefault(entry.slot, set()).add(address)
        self._entries[address] = entry
        return entry

    def _make_room(self, entry: _Entry) -> bool:
        """Have another address go, if one must and can; say whether there is room."""
        same = self._slots.get(entry.slot, set())
        if len(same) >= MAX_PORTS:
            failed = [a for a in same if self._has_only_failed(a)]
            if not failed:
                return False
            leaving = max(failed, key=lambda a: self._entries[a].failures)
            # It waits as long: new ports must not mean more dials to one machine.
            entry.failures = self._entries[leaving].failures
            entry.not_before = self._entries[leaving].not_before
            self._remove(leaving)
        elif len(self._entries) - self._named >= MAX_ADDRESSES:
            spare = next((each for each in reversed(self._spare) if each), None)
            if spare is None:
                return False
            self._remove(next(iter(spare)))
        return True

    def _has_only_failed(self, address: Address) -> bool:
        uselessness = self._entries[address].uselessness
        return uselessness is not None and uselessness > MAX_FAILURES + 1

    def _idle(self, address: Address, entry: _Entry, *, is_known: bool = False) -> None:
        """Have an address dialled at its time; it may make room until then."""
        entry.is_connected = False
        rank = 0 if entry.is_named or is_known else 1 + entry.failures
        self._queue.put(address, rank, entry.not_before)
        self._keep(address, entry)
        # A liar that is forgotten would be dialled as soon as it is reported again.
        if not entry.is_named and not entry.is_banned:
            rest = 0 if entry.was_peer else MAX_FAILURES + 1
            entry.uselessness = entry.failures + rest
            self._spare[entry.uselessness][address] = None

    def _keep(self, address: Address, entry: _Entry) -> None:
        """Have an address make room for no other."""
        if entry.uselessness is not None:
            del self._spare[entry.uselessness][address]
            entry.uselessness = None

    def _name(self, address: Address, entry: _Entry) -> None:
        """Note that the user named an address, too."""
        self._forget_slot(address, entry)
        entry.is_named = True
        self._named += 1
        if not entry.is_connected:
            self._idle(address, entry)

    def _remove(self, address: Address) -> None:
        entry = self._entries.pop(address, None)
        if entry is not None:
            self._queue.discard(address)
            self._keep(address, entry)
            self._forget_slot(address, entry)
            self._named -= entry.is_named

    def _forget_slot(self, address: Address, entry: _Entry) -> None:
        same = self._slots.get(entry.slot)
        if same is not None:
            same.discard(address)
            if not same:
                del self._slots[entry.slot]
