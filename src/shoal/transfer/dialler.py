"""Dial the peers of one share: which address, when, and how many at once.

`Dialler` owns the `PeerBook`, which knows the back-off of each address, and the `Bans`.
Each address that discovery reports is dialled once at a time, and later each time it
fails. Both kinds of share use it: its caller makes the connections.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from errno import EMFILE, ENFILE
from random import Random

from shoal.core.bans import Bans
from shoal.core.limits import DialPace
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.peerbook import PeerBook
from shoal.errors import PeerError, SelfConnectionError

__all__ = ["MAX_DIALS", "MAX_PEERS", "Dialler", "Found"]

MAX_PEERS = 64  # connections of one share at once
MAX_DIALS = 8  # connections being made at once
# By then most peers that can be dialled have answered; one behind a NAT may dial us.
PUNCH_AFTER = 3.0  # seconds that a dial to the internet counts among `MAX_DIALS`
LOOK_PERIOD = 1.0  # seconds between looks at the peer book, at most

Found = AsyncIterator[tuple[Address, str]]
"""Addresses with the name of the network that reported them."""
Attempt = Callable[[Address, str], Awaitable[object]]
"""Connect to an address that a network reported; raises `PeerError`."""


class Dialler:
    """Dial the addresses found, later each time one fails."""

    def __init__(
        self,
        attempt: Attempt,
        connected: Callable[[], int],
        rng: Random,
        pace: DialPace,
    ) -> None:
        """Start with no address; `connected` returns how many connections there are.

        `pace` is that of the node.
        """
        self._attempt = attempt
        self._connected = connected
        self._book = PeerBook(rng)
        self._pace = pace
        self.bans = Bans()
        """The addresses and hosts of peers that lied."""
        self.most_peers = MAX_PEERS
        """How many connections there may be, `MAX_PEERS` at most."""
        self._dialling = 0  # dials that count among `MAX_DIALS`
        self._waiting = 0  # dials that wait for a peer to dial us, too
        self.is_out_of_files = False
        """Whether the last dial failed because no file descriptor was left."""
        self._wake = asyncio.Event()
        self._clock = asyncio.get_running_loop().time

    def __iter__(self) -> Iterator[Address]:
        """Yield every known address."""
        return iter(self._book)

    def __len__(self) -> int:
        return len(self._book)

    @property
    def dialling(self) -> int:
        """Return how many connections are being made."""
        return self._dialling + self._waiting

    def add(self, address: Address, source: str, wait: float = 0.0) -> None:
        """Add an address that `source` reported, to be dialled in `wait` seconds."""
        if self._book.add(address, source, self._clock() + wait):
            self._wake.set()

    async def run(self, found: Iterable[Found]) -> None:
        """Dial the addresses found until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for each in found:
                tasks.create_task(self._listen(each))
            while True:
                most = min(self.most_peers, MAX_PEERS)
                slots = min(MAX_DIALS, most - self._connected()) - self._dialling
                now = self._clock()
                room = self._pace.room(now)
                for address in self._book.next_dials(now, max(0, min(slots, room))):
                    if self._must_wait(address, now):
                        continue
                    self._dialling += 1
                    self._pace.level += 1
                    tasks.create_task(self._try(address))
                due = self._book.next_due() if slots > 0 else None
                if due is not None:
                    due = max(due, now + self._pace.wait)
                self._wake.clear()
                if slots > 0 and due is None:
                    await self._wake.wait()  # there is no address to dial
                    continue
                wait = LOOK_PERIOD if due is None else max(due - now, 0.0)
                try:
                    async with asyncio.timeout(min(wait, LOOK_PERIOD)):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    def meet(self, address: Address, source: str, wait: float) -> None:
        """Dial an address in `wait` seconds, when its node dials us, says `source`."""
        when = self._clock() + wait
        self._book.add(address, source, when)
        self._book.hasten(address, when)
        self._wake.set()

    def _must_wait(self, address: Address, now: float) -> bool:
        """Return True, and dial later, if peers have claimed an address too often."""
        if not self._book.is_claim(address):
            return False
        when = self._pace.introduced_at(address, now)
        if when > now:
            self._book.postpone(address, when)
        return when > now

    def dial_now(self) -> None:
        """Dial known peers at once, whatever their back-off: a caller waits."""
        self._book.end_waits(self._clock())
        self._wake.set()

    def on_ready(self, address: Address) -> None:
        """Reset the back-off of an address whose peer has answered correctly."""
        self._book.on_ready(address)

    def on_lost(self, address: Address) -> None:
        """Dial an address again later: its connection has ended."""
        self._book.on_lost(address, self._clock())
        self._wake.set()

    def on_left(self, address: Address) -> None:
        """Wait before dialling an address again: its peer has sent goodbye."""
        self._book.on_left(address, self._clock())
        self._wake.set()

    def ban(self, address: Address) -> None:
        """Ban an address for a while: data from it did not verify."""
        now = self._clock()
        self.bans.ban(address, now)
        self._book.ban(address, now)

    def is_banned(self, address: Address) -> bool:
        """Return True if an address is banned."""
        return self.bans.is_banned(address, self._clock())

    @property
    def has_only_liars(self) -> bool:
        """Return True if every address found is banned, and there is one."""
        return bool(len(self._book)) and all(map(self.is_banned, self._book))

    async def _listen(self, found: Found) -> None:
        async for address, source in found:
            self.add(address, source)

    async def _try(self, address: Address) -> None:
        is_punch = False

        def wait_on() -> None:
            nonlocal is_punch
            is_punch = self._pace.begin_punch()
            if is_punch:
                self._dialling -= 1
                self._waiting += 1
                self._wake.set()

        timer = None
        if scope_of(address.host) is Scope.GLOBAL:
            timer = asyncio.get_running_loop().call_later(PUNCH_AFTER, wait_on)
        try:
            await self._attempt(address, self._book.source_of(address))
            self.is_out_of_files = False
        except SelfConnectionError:
            self._book.forget(address)
        except PeerError as error:
            cause = error.__cause__
            number = cause.errno if isinstance(cause, OSError) else None
            self.is_out_of_files = number in (EMFILE, ENFILE)
            self._book.on_lost(address, self._clock())
        finally:
            if timer is not None:
                timer.cancel()
            if is_punch:
                self._pace.end_punch()
                self._waiting -= 1
            else:
                self._dialling -= 1
            self._wake.set()
