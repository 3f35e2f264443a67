"""Decide which datagrams to send before a QUIC connection, and to whom; pure.

A NAT that lets no one in lets answers in: two nodes behind such NATs each send a knock
to the other, and the later one arrives (docs/protocol.md, "QUIC"). `Punches` knows
which addresses are being dialled, answers the knocks of those who know the id, and
returns each peer that has shown that it receives at its address. A node sends no more
than it has got to an address that has not, but for one knock in a minute.
"""

from collections import OrderedDict
from collections.abc import Collection
from random import Random
from typing import NamedTuple

from msgspec import Struct

from shoal.core.crypto.knock import KnockMemory
from shoal.core.crypto.udp_knock import (
    DATAGRAM_SIZE,
    NONCE_SIZE,
    Kind,
    is_made,
    make,
    udp_key,
)
from shoal.core.dials import MAX_PUNCHES, DialPace
from shoal.core.host_limits import HostLimit
from shoal.core.limits import LeakyBucket
from shoal.core.names.address import Address
from shoal.core.names.address_scope import host_key
from shoal.core.places import first_of_crowd

__all__ = ["PUNCH_TIME", "REPEAT", "Met", "Punches"]

# NATs let answers in for 30 s after a datagram (RFC 4787 REQ-5 asks for two minutes),
# and a sharer looks for us every 15 s.
PUNCH_TIME = 25.0  # seconds for which an address is dialled with one knock
ACCEPT_TIME = 10.0  # seconds for a node that knocked to show that it receives
REPEAT = 0.5  # seconds until the last datagram is sent again, to a peer that was met
MEET_TIME = 10.0  # seconds for which it is
MAX_ACCEPTED = 64  # nodes that have knocked and not shown that they receive
MAX_PROVEN = 1024  # addresses that are remembered to have done so
TRY_RATE = 100_000.0  # keys per second that datagrams are tried with: 0.15 s of work
TRY_BURST = 20_000.0  # keys at once; twice as many as a node has shares
# So no stranger uses up what can be tried, even at a node with thousands of shares.
STRANGE_BURST = 32.0  # datagrams of one host at once that no share makes
STRANGE_RATE = 2.0  # such datagrams of one host per second

Datagram = tuple[bytes, Address]


class Met(NamedTuple):
    """A peer that knows the id, and receives at its address."""

    address: Address
    psk: bytes
    """Key of the share."""
    is_dialled: bool
    """Whether we dialled it."""
    is_client: bool
    """Whether we are the client of the connection to be made."""


class _Punch(Struct, eq=False):
    """Remember one address that is dialled, or has knocked."""

    psk: bytes
    key: bytes
    nonce: bytes
    until: float
    is_dialled: bool
    has_met: bool = False
    last: bytes = b""  # to be sent again
    repeat_at: float = 0.0


class Punches:
    """Keep the addresses at which a connection is about to be made."""

    def __init__(self, rng: Random, knocks: KnockMemory) -> None:
        """Start with none; `knocks` are those that this node has received."""
        self._rng = rng
        self._knocks = knocks
        self._punches: OrderedDict[tuple[Address, bytes], _Punch] = OrderedDict()
        self._keys: dict[bytes, bytes] = {}
        self._pace = DialPace()
        self._proven: OrderedDict[Address, None] = OrderedDict()
        self._tried = LeakyBucket(TRY_RATE)
        self._strange = HostLimit(STRANGE_BURST, STRANGE_RATE)

    def __len__(self) -> int:
        return len(self._punches)

    def dial(self, address: Address, psk: bytes, now: float) -> bytes | None:
        """Return the knock to send to an address; None if it may not be sent now.

        It may not if the address is being dialled, or has been within a minute without
        an answer, or if `MAX_PUNCHES` are.
        """
        self._expire(now)
        dialled = [at for (at, _), each in self._punches.items() if each.is_dialled]
        is_known = (address, psk) in self._punches or address in dialled
        if is_known or len(dialled) >= MAX_PUNCHES:
            return None
        if address not in self._proven and self._pace.introduced_at(address, now) > now:
            return None
        key, nonce = self._key(psk), self._rng.randbytes(NONCE_SIZE)
        punch = _Punch(psk, key, nonce, now + PUNCH_TIME, is_dialled=True)
        self._punches[address, psk] = punch
        return make(key, Kind.KNOCK, nonce)

    def end(self, address: Address, psk: bytes) -> None:
        """Stop dialling an address, or sending it again what it may have missed."""
        self._punches.pop((address, psk), None)

    def on_datagram(
        self, data: bytes, source: Address, shares: Collection[bytes], now: float
    ) -> tuple[bytes, Met | None] | None:
        """Take a datagram; `shares` are the keys of those that may be connected with.

        Returns the datagram to answer with, which may be empty, and the peer if it is
        met now. None if no share makes such a datagram: it is of another protocol, or
        of a stranger, a repetition, or one too many.
        """
        if len(data) != DATAGRAM_SIZE:
            return None
        self._expire(now)
        nonce, known = data[:NONCE_SIZE], self._known(source)
        for punch in known:
            if is_made(punch.key, Kind.REPLY, data, punch.nonce):
                is_client = punch.is_dialled and punch.nonce < nonce
                return self._meet(source, punch, nonce, now, is_client=is_client)
            if punch.is_dialled and is_made(punch.key, Kind.ACCEPT, data, punch.nonce):
                return self._meet(source, punch, nonce, now, is_client=True)
        dialled = [each.psk for each in known if each.is_dialled]
        shares = [*shares, *(psk for psk in dialled if psk not in shares)]
        return self._on_knock(data, source, shares, now)

    def next_due(self) -> float | None:
        """Return when `repetitions` has something to send; None for never."""
        due = (each.repeat_at for each in self._punches.values() if each.repeat_at)
        return min(due, default=None)

    def repetitions(self, now: float) -> list[Datagram]:
        """Return what to send again now: the peer may have missed it."""
        self._expire(now)
        again = []
        for (address, _), punch in self._punches.items():
            if punch.repeat_at and punch.repeat_at <= now:
                punch.repeat_at = now + REPEAT
                again.append((punch.last, address))
        return again

    def _meet(
        self,
        source: Address,
        punch: _Punch,
        nonce: bytes,
        now: float,
        *,
        is_client: bool,
    ) -> tuple[bytes, Met | None]:
        """Note that a peer has answered us, so that it receives at its address."""
        if punch.has_met:
            return b"", None
        punch.has_met = True
        self._proven[source] = None
        if len(self._proven) > MAX_PROVEN:
            self._proven.popitem(last=False)
        met = Met(source, punch.psk, punch.is_dialled, is_client)
        if not punch.is_dialled:
            del self._punches[source, punch.psk]  # it has had our answer
            return b"", met
        punch.last = make(punch.key, Kind.REPLY, punch.nonce, nonce)
        punch.until, punch.repeat_at = now + MEET_TIME, now + REPEAT
        return punch.last, met

    def _on_knock(
        self, data: bytes, source: Address, shares: Collection[bytes], now: float
    ) -> tuple[bytes, Met | None] | None:
        """Answer the knock of a node that knows the id of one of `shares`."""
        nonce, psk = data[:NONCE_SIZE], None
        if self._strange.allows(source.host, now):
            psk = self._opened(data, shares, now)
            if psk is None:
                self._strange.add(source.host, now)
        if psk is None or not self._knocks.spend(nonce):
            return None
        punch = self._punches.get((source, psk))
        if punch is not None and punch.is_dialled:
            if punch.nonce == nonce:
                return None  # we have dialled ourselves
            return make(punch.key, Kind.REPLY, punch.nonce, nonce), None
        accepted = [a for a, each in self._punches.items() if not each.is_dialled]
        if len(accepted) >= MAX_ACCEPTED:
            del self._punches[first_of_crowd(accepted, lambda at: host_key(at[0].host))]
        self._punches.pop((source, psk), None)
        key, ours = self._key(psk), self._rng.randbytes(NONCE_SIZE)
        until = now + ACCEPT_TIME
        self._punches[source, psk] = _Punch(psk, key, ours, until, is_dialled=False)
        return make(key, Kind.ACCEPT, ours, nonce), None

    def _known(self, address: Address) -> list[_Punch]:
        return [each for (at, _), each in self._punches.items() if at == address]

    def _opened(
        self, data: bytes, shares: Collection[bytes], now: float
    ) -> bytes | None:
        """Return which share a knock is for; every one is tried, even after that."""
        self._tried.leak(now)
        if self._tried.level > TRY_BURST:
            return None
        found = None
        for psk in shares:
            self._tried.level += 1
            if is_made(self._key(psk), Kind.KNOCK, data):
                found = psk
        return found

    def _key(self, psk: bytes) -> bytes:
        key = self._keys.get(psk)
        if key is None:
            if len(self._keys) >= TRY_BURST:
                self._keys.clear()
            key = self._keys[psk] = udp_key(psk)
        return key

    def _expire(self, now: float) -> None:
        for address in [a for a, each in self._punches.items() if each.until <= now]:
            del self._punches[address]
