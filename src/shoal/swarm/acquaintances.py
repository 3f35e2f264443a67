"""Whom of a sealed share's peers to dial, and whom to leave alone for lying.

`Acquaintances` owns the bans of one share and, through a `Dialler`, what is known of
its peers. What to do with a connection once it stands is the swarm's business.
"""

import asyncio
from collections.abc import Callable, Iterable
from random import Random

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.peers.peerbook import BAN_TIME
from shoal.transfer.dialler import Dialler, Found
from shoal.transport.sealed.proven import Dial, Factory

__all__ = ["Acquaintances"]

Make = Callable[[Address, str], Factory]
"""Return what makes the connection to an address that a network reported.

Raises `PeerError` if there should be none.
"""


class Acquaintances:
    """Dial what is found, unless it lied."""

    def __init__(
        self, dial: Dial, make: Make, connected: Callable[[], int], rng: Random
    ) -> None:
        """Know nobody; `connected` says how many connections there are."""
        self._banned: dict[Address, float] = {}  # until when
        self._dial = dial
        self._make = make
        self._dialler = Dialler(self._attempt, connected, rng)
        self._clock = asyncio.get_running_loop().time

    @property
    def found(self) -> int:
        """Return how many addresses are known."""
        return len(self._dialler)

    @property
    def has_only_liars(self) -> bool:
        """Say whether all that was found turned out to lie."""
        return bool(self._banned) and all(map(self.is_banned, self._dialler))

    async def run(self, found: Iterable[Found]) -> None:
        """Dial what is found until cancelled."""
        await self._dialler.run(found)

    async def _attempt(self, address: Address, source: str) -> None:
        await self._dial(address, self._make(address, source))

    def add(self, address: Address, source: str, wait: float = 0.0) -> None:
        """Note an address that somebody reported, to be dialled in `wait` seconds."""
        self._dialler.add(address, source, wait)

    def on_ready(self, address: Address) -> None:
        """Note that a peer that was dialled speaks as it should."""
        self._dialler.on_ready(address)

    def on_lost(self, address: Address) -> None:
        """Dial an address again later: its connection has ended."""
        self._dialler.on_lost(address)

    def on_left(self, address: Address) -> None:
        """Leave an address alone for a little: its peer has said goodbye."""
        self._dialler.on_left(address)

    def ban(self, address: Address) -> None:
        """Leave alone, for a while, who sent what does not verify.

        On the internet a whole host is left alone, elsewhere one port of it: many
        peers on one host are normal there.
        """
        now = self._clock()
        self._banned = {a: until for a, until in self._banned.items() if until > now}
        self._banned[address] = now + BAN_TIME
        self._dialler.ban(address)

    def is_banned(self, address: Address) -> bool:
        """Say whether a connection from there is refused."""
        now = self._clock()
        if scope_of(address.host) is not Scope.GLOBAL:
            return self._banned.get(address, 0.0) > now
        return any(
            liar.host == address.host and until > now
            for liar, until in self._banned.items()
        )
