"""Keep a sealed share's connections: whom to dial, and which of two to keep.

`Acquaintances` owns the peer book and the dialling of one share. What to do with a
connection once it stands is the swarm's business.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from random import Random

from shoal.core.address import Address
from shoal.core.belief import Scope, scope_of
from shoal.core.peerbook import BAN_TIME, PeerBook
from shoal.errors import PeerError, SelfConnectionError
from shoal.transport.proven import Factory

__all__ = ["Acquaintances", "Dial", "Found"]

MAX_PEERS = 64  # connections of one share at once
MAX_DIALS = 8  # connections being made at once

Found = AsyncIterator[tuple[Address, str]]
"""Addresses with the name of the network that reported them."""
Dial = Callable[[Address, Factory], Awaitable[object]]
"""Connect what the factory makes to an address; raises `PeerError`."""
Make = Callable[[Address, str], Factory]
"""Return what makes the connection to an address that a network reported."""


class Acquaintances:
    """Dial what is found, later and later when it fails."""

    def __init__(
        self, dial: Dial, make: Make, connected: Callable[[], int], rng: Random
    ) -> None:
        """Know nobody; `connected` says how many connections there are."""
        self._banned: dict[Address, float] = {}  # until when
        self._book = PeerBook(rng)
        self._dial = dial
        self._make = make
        self._dialling: set[Address] = set()
        self._connected = connected
        self._wake = asyncio.Event()
        self._clock = asyncio.get_running_loop().time

    @property
    def found(self) -> int:
        """Return how many addresses are known."""
        return len(self._book)

    @property
    def has_only_liars(self) -> bool:
        """Say whether all that was found turned out to lie."""
        return bool(self._banned) and all(map(self.is_banned, self._book))

    def add(self, address: Address, source: str) -> None:
        """Note an address that somebody reported."""
        if self._book.add(address, source):
            self._wake.set()

    async def run(self, found: Iterable[Found]) -> None:
        """Dial what is found until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for each in found:
                tasks.create_task(self._listen(each))
            while True:
                slots = min(
                    MAX_DIALS - len(self._dialling),
                    MAX_PEERS - self._connected() - len(self._dialling),
                )
                now = self._clock()
                for address in self._book.next_dials(now, max(0, slots)):
                    self._dialling.add(address)
                    tasks.create_task(self._try(address))
                due = self._book.next_due() if slots > 0 else None
                wait = 1.0 if due is None else min(max(due - now, 0.0), 1.0)
                self._wake.clear()
                try:
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def _listen(self, found: Found) -> None:
        async for address, source in found:
            self.add(address, source)

    async def _try(self, address: Address) -> None:
        source = self._book.source_of(address)
        try:
            await self._dial(address, self._make(address, source))
        except SelfConnectionError:
            self._book.forget(address)
        except PeerError:
            self._book.on_lost(address, self._clock())
        finally:
            self._dialling.discard(address)
            self._wake.set()

    def on_ready(self, address: Address) -> None:
        """Note that a peer that was dialled speaks as it should."""
        self._book.on_ready(address)

    def on_lost(self, address: Address) -> None:
        """Dial an address again later: its connection has ended."""
        self._book.add(address, "peer")
        self._book.on_lost(address, self._clock())
        self._wake.set()

    def ban(self, address: Address) -> None:
        """Leave alone, for a while, who sent what does not verify.

        On the internet a whole host is left alone, elsewhere one port of it: many
        peers on one host are normal there.
        """
        now = self._clock()
        self._banned = {a: until for a, until in self._banned.items() if until > now}
        self._banned[address] = now + BAN_TIME
        self._book.ban(address, now)

    def is_banned(self, address: Address) -> bool:
        """Say whether a connection from there is refused."""
        now = self._clock()
        if scope_of(address.host) is not Scope.GLOBAL:
            return self._banned.get(address, 0.0) > now
        return any(
            liar.host == address.host and until > now
            for liar, until in self._banned.items()
        )
