"""Which peers are not used because data from them did not verify; pure.

A liar that was dialled is banned by its address. The port of one that dialled us is
only a claim: if it were banned, a liar could have its neighbour banned. And on the
internet many nodes may be behind one address, where a liar can have another port each
time. So a host with several liars is distrusted: a node still serves the peers there,
and still uses those that have sent right chunks, but tries only one more of them at a
time (docs/protocol.md, "Bans").
"""

from collections.abc import Hashable

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, host_key, scope_of

__all__ = ["BAN_TIME", "MAX_LIARS", "TRIAL_TIME", "Bans"]

BAN_TIME = 600.0  # seconds
MAX_LIARS = 4  # liars at one host from which on it is distrusted
# A trial wastes a chunk at most. A liar with a hundred connections delays others at its
# host by 5 minutes.
TRIAL_TIME = 3.0  # seconds until another peer at a distrusted host is tried


class Bans:
    """Remember the liars of one share."""

    def __init__(self) -> None:
        """Start without any."""
        self._bans: dict[Address, float] = {}  # until when
        self._liars: dict[Hashable, list[float]] = {}  # when they lied, by host
        self._trials: dict[Hashable, float] = {}  # when a peer of such a host was tried

    def ban(self, address: Address, now: float) -> None:
        """Ban an address for `BAN_TIME`: data from it did not verify."""
        self._bans = {a: until for a, until in self._bans.items() if until > now}
        self._bans[address] = now + BAN_TIME

    def is_banned(self, address: Address, now: float) -> bool:
        """Return True if an address is banned."""
        return self._bans.get(address, 0.0) > now

    def note_liar(self, host: str, now: float, *, dialled: bool) -> None:
        """Count a peer whose data did not verify, unless banning its address is enough.

        It is if the peer was dialled and its host is no global address.
        """
        if _is_certain(host, dialled):
            return
        for each in list(self._liars):
            recent = [when for when in self._liars[each] if now - when < BAN_TIME]
            if recent:
                self._liars[each] = recent
            else:
                del self._liars[each], self._trials[each]
        key = host_key(host)
        # Older ones than these change nothing.
        self._liars[key] = [*self._liars.get(key, [])[1 - MAX_LIARS :], now]
        self._trials[key] = now

    def is_distrusted(self, host: str, now: float, *, dialled: bool) -> bool:
        """Return True if `MAX_LIARS` peers at a host have lied within `BAN_TIME`.

        `dialled` is True for a peer there that was dialled.
        """
        if _is_certain(host, dialled):
            return False
        times = self._liars.get(host_key(host), [])
        return len(times) >= MAX_LIARS and now - times[0] < BAN_TIME

    def may_try(self, host: str, now: float, *, dialled: bool) -> bool:
        """Return True if data may be requested from one more peer at a host.

        Of a distrusted host, one peer is tried in `TRIAL_TIME`: there may be honest
        ones among its liars. The caller requests from a peer if this returns True.
        """
        if self.is_distrusted(host, now, dialled=dialled):
            key = host_key(host)
            if now - self._trials[key] < TRIAL_TIME:
                return False
            self._trials[key] = now
        return True


def _is_certain(host: str, dialled: bool) -> bool:
    """Return True if all that a peer does is known to come from one host and port."""
    return dialled and scope_of(host) is not Scope.GLOBAL
