"""Which addresses to dial, and when: the back-off; pure.

Discovery reports the same address again and again; the book counts it once. An address
that fails is dialled again after longer and longer pauses, and one that is banned once
the ban ends.

Anyone may report addresses, so the book is limited. A full book forgets the least
useful address, so that an attacker who reports many does not push out honest peers.
Addresses that the user named do not count towards the limit and are dialled first.

Many nodes may be behind one address, or on one machine, so many ports of one host are
remembered. An attacker may report a victim with many ports, so only a few that have
never been a peer are dialled at a time. If one fails, the next waits as long.
"""

from collections.abc import Hashable, Iterator
from random import Random

from msgspec import Struct, field

from shoal.core.bans import BAN_TIME
from shoal.core.dials import DialQueue
from shoal.core.names.address import Address
from shoal.core.names.address_scope import MIN_PORT, Scope, host_key, scope_of

__all__ = ["NAMED_SOURCES", "SWARM", "PeerBook"]

SWARM = "swarm"  # the network of addresses that peers pass on

NAMED_SOURCES = frozenset({"peer", "hint"})  # addresses that the user or the link names
MAX_ADDRESSES = 3000  # addresses in a book, not counting named ones
MAX_PORTS = 64  # addresses with one host, behind which many nodes may be
MAX_UNPROVEN = 2  # of these, dialled at a time although they have never been a peer
MAX_UNPROVEN_NEAR = 4  # the same for a private or loopback address
FIRST_BACKOFF = 1.0  # seconds until a failed address is dialled again
MAX_BACKOFF = 60.0  # seconds
MAX_FAILURES = 16  # failures of one address that count
LEFT_TIME = 10.0  # seconds until an address that said goodbye is dialled again
LEFT_FAILURES = 4  # failures that a goodbye counts as, since a peer that left is gone
KNOWN_BACKOFF = 5.0  # seconds at most, for an address that was a peer recently
KNOWN_TIME = 600.0  # seconds that an address counts as a recent peer after it is lost


class _Entry(Struct, eq=False):
    """Remember one address."""

    source: str
    group: Hashable  # the host whose ports are counted
    is_named: bool
    is_connected: bool = False
    failures: int = 0
    not_before: float = 0.0
    is_ready: bool = False
    is_banned: bool = False
    was_peer: bool = False
    is_hastened: bool = False  # the next dial is due to an introduction
    known_until: float = 0.0
    uselessness: int | None = None  # None: it cannot be forgotten


class _Group(Struct, eq=False):
    """Remember the addresses of one host that were not named."""

    most: int  # unproven ones that are dialled at a time
    addresses: set[Address] = field(default_factory=set)
    unproven: set[Address] = field(default_factory=set)  # dialled without a success
    waiting: dict[Address, None] = field(default_factory=dict)  # until one of these is


class PeerBook:
    """Keep the addresses of one share's peers."""

    def __init__(self, rng: Random) -> None:
        """Start without addresses."""
        self._rng = rng
        self._entries: dict[Address, _Entry] = {}
        self._own: set[Address] = set()
        self._queue = DialQueue(rng)
        self._groups: dict[Hashable, _Group] = {}
        # Addresses that can be forgotten, by uselessness; the oldest come first.
        self._spare: list[dict[Address, None]] = [
            {} for _ in range(2 * (MAX_FAILURES + 1))
        ]
        self._named = 0  # entries that were named

    def __iter__(self) -> Iterator[Address]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, address: Address, source: str, not_before: float = 0.0) -> bool:
        """Note an address that discovery reported; return True if it is new.

        A new address is not dialled before `not_before`. A port below `MIN_PORT` is
        noted only if the user or the link names it.
        """
        if address.port < MIN_PORT and source not in NAMED_SOURCES:
            return False
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

    def hasten(self, address: Address, when: float) -> None:
        """Dial a known address at `when`, whatever its back-off: it is dialling us.

        One that is banned or connected waits, and so do more ports of a host than are
        dialled at a time.
        """
        entry = self._entries.get(address)
        if entry is not None and not (entry.is_connected or entry.is_banned):
            entry.is_hastened = True
            entry.not_before = when
            self._idle(address, entry)

    def is_claim(self, address: Address) -> bool:
        """Return True if only the word of another peer makes us dial an address now."""
        entry = self._entries.get(address)
        if entry is None or entry.was_peer or entry.is_named:
            return False
        is_global = scope_of(address.host) is Scope.GLOBAL
        return is_global and (entry.source == SWARM or entry.is_hastened)

    def postpone(self, address: Address, when: float) -> None:
        """Dial an address that `next_dials` has returned no sooner than at `when`."""
        entry = self._entries.get(address)
        if entry is not None:
            entry.not_before = max(entry.not_before, when)
            self._idle(address, entry)

    def next_dials(self, now: float, slots: int) -> list[Address]:
        """Return up to `slots` addresses to dial now, as connected; IPv6 is first."""
        dials: list[Address] = []
        while len(dials) < slots and (address := self._queue.take(now)) is not None:
            entry = self._entries[address]
            entry.is_connected = True
            entry.is_banned = False
            self._keep(address, entry)
            dials.append(address)
        return sorted(dials, key=lambda address: ":" not in address.host)

    def next_due(self) -> float | None:
        """Return when to dial next: a time, 0 for at once, None for never."""
        return self._queue.next_due()

    def end_waits(self, now: float) -> None:
        """Dial named addresses and former peers now; anyone may report the others."""
        for address, entry in self._entries.items():
            is_waiting = not (entry.is_connected or entry.is_banned)
            if is_waiting and (entry.is_named or entry.was_peer):
                entry.not_before = min(entry.not_before, now)
                self._idle(address, entry, is_known=True)

    def on_ready(self, address: Address) -> None:
        """Note that a peer answered correctly: its failures are forgotten."""
        entry = self._entries.get(address)
        if entry is not None and not entry.is_banned:
            entry.failures, entry.not_before = 0, 0.0
            entry.is_ready = entry.was_peer = True
            self._prove(address, entry)

    def on_lost(self, address: Address, now: float) -> None:
        """Note that dialling failed or the connection ended; dial again later."""
        entry = self._entries.get(address)
        if entry is None:
            return
        if entry.is_ready:
            entry.is_ready = False
            entry.known_until = now + KNOWN_TIME
        entry.is_hastened = False
        # If the network failed rather than the peer, all peers return soon after it.
        is_known = now < entry.known_until
        most = KNOWN_BACKOFF if is_known else MAX_BACKOFF
        wait = min(FIRST_BACKOFF * 2**entry.failures, most)
        # Half of it is random, so that a crowd does not return at the same moment.
        wait *= 0.5 + 0.5 * self._rng.random()
        entry.failures = min(entry.failures + 1, MAX_FAILURES)
        entry.not_before = max(entry.not_before, now + wait)
        self._idle(address, entry, is_known=is_known)
        group = self._groups.get(entry.group)
        if group is not None and group.waiting and address in group.unproven:
            self._queue.discard(address)
            self._dial_next(group, address, entry)
            group.waiting[address] = None

    def on_left(self, address: Address, now: float) -> None:
        """Note that a peer said goodbye: it has probably left, but may come back."""
        entry = self._entries.get(address)
        if entry is None:
            return
        entry.is_ready = False
        entry.failures = max(entry.failures, LEFT_FAILURES)
        entry.not_before = max(entry.not_before, now + LEFT_TIME)
        self._idle(address, entry)

    def ban(self, address: Address, now: float) -> None:
        """Dial an address no sooner than in `BAN_TIME`: it is banned until then."""
        entry = self._entries.get(address) or self._enter(address, "unknown")
        if entry is not None:
            entry.not_before = now + BAN_TIME
            entry.is_banned = True
            if not entry.is_connected:
                self._idle(address, entry)

    def forget(self, address: Address) -> None:
        """Never dial an address again: it is our own."""
        self._remove(address)
        self._own.add(address)

    # Entries are added, wait, and are forgotten.

    def _enter(self, address: Address, source: str) -> _Entry | None:
        """Return a new entry, in place of another if need be; None if it is full."""
        is_named = source in NAMED_SOURCES
        entry = _Entry(source, host_key(address.host), is_named)
        if is_named:
            self._named += 1
        elif not self._make_room(entry):
            return None
        else:
            is_near = scope_of(address.host) is not Scope.GLOBAL
            most = MAX_UNPROVEN_NEAR if is_near else MAX_UNPROVEN
            group = self._groups.setdefault(entry.group, _Group(most))
            group.addresses.add(address)
        self._entries[address] = entry
        return entry

    def _make_room(self, entry: _Entry) -> bool:
        """Forget another address if necessary; return True if there is room."""
        group = self._groups.get(entry.group)
        if group is not None and len(group.addresses) >= MAX_PORTS:
            # The uselessness of an address that was never a peer is above this.
            least = MAX_FAILURES + 1
            failed = [
                address
                for address in group.addresses
                if (self._entries[address].uselessness or 0) > least
            ]
            if not failed:
                return False
            leaving = max(failed, key=lambda a: self._entries[a].failures)
            # The new one waits as long: new ports must not mean more dials to a host.
            entry.failures = self._entries[leaving].failures
            entry.not_before = self._entries[leaving].not_before
            self._remove(leaving)
        elif len(self._entries) - self._named >= MAX_ADDRESSES:
            spare = next((each for each in reversed(self._spare) if each), None)
            if spare is None:
                return False
            self._remove(next(iter(spare)))
        return True

    # The ports of one host.

    def _may_dial(self, address: Address, entry: _Entry) -> bool:
        """Return True if an address need not wait for other ports of its host."""
        group = self._groups.get(entry.group)
        if group is None or entry.is_named or entry.was_peer:
            return True
        if address not in group.unproven and len(group.unproven) >= group.most:
            group.waiting[address] = None
            return False
        group.waiting.pop(address, None)
        group.unproven.add(address)
        return True

    def _prove(self, address: Address, entry: _Entry) -> None:
        """Note that an address is a peer: another port of its host is dialled."""
        group = self._groups.get(entry.group)
        if group is not None:
            group.waiting.pop(address, None)
            if address in group.unproven:
                self._dial_next(group, address)

    def _dial_next(
        self, group: _Group, address: Address, failed: _Entry | None = None
    ) -> None:
        """Dial another port instead of an unproven one, no sooner than that one."""
        group.unproven.discard(address)
        following = next(iter(group.waiting), None)
        if following is not None:
            entry = self._entries[following]
            if failed is not None:
                entry.failures = max(entry.failures, failed.failures)
                entry.not_before = max(entry.not_before, failed.not_before)
            self._idle(following, entry)

    def _idle(self, address: Address, entry: _Entry, *, is_known: bool = False) -> None:
        """Dial an address when its time comes; until then it may be forgotten."""
        entry.is_connected = False
        if self._may_dial(address, entry):
            rank = 0 if entry.is_named or is_known else 1 + entry.failures
            self._queue.put(address, rank, entry.not_before)
        self._keep(address, entry)
        # A forgotten liar would be dialled as soon as it is reported again.
        if not entry.is_named and not entry.is_banned:
            rest = 0 if entry.was_peer else MAX_FAILURES + 1
            entry.uselessness = entry.failures + rest
            self._spare[entry.uselessness][address] = None

    def _keep(self, address: Address, entry: _Entry) -> None:
        """Do not forget an address for the sake of another."""
        if entry.uselessness is not None:
            del self._spare[entry.uselessness][address]
            entry.uselessness = None

    def _name(self, address: Address, entry: _Entry) -> None:
        """Note that the user named a known address."""
        self._leave_group(address, entry)
        entry.is_named = True
        self._named += 1
        if not entry.is_connected:
            self._idle(address, entry)

    def _remove(self, address: Address) -> None:
        entry = self._entries.pop(address, None)
        if entry is not None:
            self._queue.discard(address)
            self._keep(address, entry)
            self._leave_group(address, entry)
            self._named -= entry.is_named

    def _leave_group(self, address: Address, entry: _Entry) -> None:
        group = self._groups.get(entry.group)
        if group is None or address not in group.addresses:
            return
        group.addresses.discard(address)
        group.waiting.pop(address, None)
        if address in group.unproven:
            self._dial_next(group, address, entry)
        if not group.addresses:
            del self._groups[entry.group]
