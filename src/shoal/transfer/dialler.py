"""Dial the peers of one share: whom, when, and how many at once.

`Dialler` owns the peer book. Of the many addresses that discovery reports, each is
dialled once at a time, later and later when it fails. It serves both kinds of share:
how a connection is made, and what becomes of it, is up to whoever uses it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from random import Random

from shoal.core.names.address import Address
from shoal.core.peers.peerbook import PeerBook
from shoal.errors import PeerError, SelfConnectionError

__all__ = ["MAX_DIALS", "MAX_PEERS", "Dialler", "Found"]

MAX_PEERS = 64  # connections of one share at once
MAX_DIALS = 8  # connections being made at once
LOOK_PERIOD = 1.0  # seconds between looks at the peer book, at most

Found = AsyncIterator[tuple[Address, str]]
"""Addresses with the name of the network that reported them."""
Attempt = Callable[[Address, str], Awaitable[object]]
"""Connect to an address that a network reported; raises `PeerError`."""


class Dialler:
    """Dial what is found, later and later when it fails."""

    def __init__(
        self, attempt: Attempt, connected: Callable[[], int], rng: Random
    ) -> None:
        """Know nobody; `connected` says how many connections stand."""
        self._attempt = attempt
        self._connected = connected
        self._book = PeerBook(rng)
        self._dialling = 0
        self._wake = asyncio.Event()
        self._clock = asyncio.get_running_loop().time

    def __iter__(self) -> Iterator[Address]:
        """Yield every address that is known."""
        return iter(self._book)

    def __len__(self) -> int:
        return len(self._book)

    @property
    def dialling(self) -> int:
        """Return how many connections are being made."""
        return self._dialling

    def add(self, address: Address, source: str, wait: float = 0.0) -> None:
        """Note an address that somebody reported, to be dialled in `wait` seconds."""
        if self._book.add(address, source, self._clock() + wait):
            self._wake.set()

    async def run(self, found: Iterable[Found]) -> None:
        """Dial what is found until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for each in found:
                tasks.create_task(self._listen(each))
            while True:
                slots = min(
                    MAX_DIALS - self._dialling,
                    MAX_PEERS - self._connected() - self._dialling,
                )
                now = self._clock()
                for address in self._book.next_dials(now, max(0, slots)):
                    self._dialling += 1
                    tasks.create_task(self._try(address))
                due = self._book.next_due() if slots > 0 else None
                wait = LOOK_PERIOD if due is None else max(due - now, 0.0)
                self._wake.clear()
                try:
                    async with asyncio.timeout(min(wait, LOOK_PERIOD)):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    def on_ready(self, address: Address) -> None:
        """Note that a peer that was dialled speaks as it should."""
        self._book.on_ready(address)

    def on_lost(self, address: Address) -> None:
        """Dial an address again later: its connection has ended."""
        self._book.on_lost(address, self._clock())
        self._wake.set()

    def on_left(self, address: Address) -> None:
        """Leave an address alone for a little: its peer has said goodbye."""
        self._book.on_left(address, self._clock())
        self._wake.set()

    def ban(self, address: Address) -> None:
        """Leave an address alone for a while: what it sent did not verify."""
        self._book.ban(address, self._clock())

    async def _listen(self, found: Found) -> None:
        async for address, source in found:
            self.add(address, source)

    async def _try(self, address: Address) -> None:
        try:
            await self._attempt(address, self._book.source_of(address))
        except SelfConnectionError:
            self._book.forget(address)
        except PeerError:
            self._book.on_lost(address, self._clock())
        finally:
            self._dialling -= 1
            self._wake.set()
