"""Dial the peers of one share: which address, when, and how many at once.

`Dialler` owns the `PeerBook`, which knows the back-off of each address, and the `Bans`.
Each address that discovery reports is dialled once at a time, and later each time it
fails. Both kinds of share use it: its caller makes the connections.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from errno import EMFILE, ENFILE
from math import inf
from random import Random

from shoal.core.bans import Bans
from shoal.core.dials import DialPace
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.peerbook import PeerBook
from shoal.errors import PeerError, SelfConnectionError
from shoal.transport.dial import ATTEMPT_DELAY

__all__ = ["MAX_DIALS", "MAX_PEERS", "Dialler", "Found"]

MAX_PEERS = 64  # connections of one share at once
MAX_DIALS = 8  # connections being made at once
# By then most peers that can be dialled have answered; one behind a NAT may dial us.
PUNCH_AFTER = 3.0  # seconds that a dial to the internet counts among `MAX_DIALS`
MAX_PUT_OFF = 1024  # addresses that are remembered as put off
MAX_TIMES = 3  # that one is put off, for 0.5 to 1 s, 1 to 2 s, and 2 to 4 s
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
        *,
        has_identity: bool = True,
    ) -> None:
        """Start with no address; `connected` returns how many connections there are.

        `pace` is that of the node. `has_identity` says whether two connections with one
        node can be told from those with two.
        """
        self._attempt = attempt
        self._connected = connected
        self._book = PeerBook(rng)
        self._pace = pace
        self.bans = Bans()
        """The addresses and hosts of peers that lied."""
        self._families = _Families(has_identity)
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
        self._families.on_ready(address)
        self._book.on_ready(address)

    def on_lost(self, address: Address) -> None:
        """Dial an address again later: its connection has ended."""
        self._families.on_lost(address)
        self._book.on_lost(address, self._clock())
        self._wake.set()

    def on_left(self, address: Address) -> None:
        """Wait before dialling an address again: its peer has sent goodbye."""
        self._families.on_lost(address)
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
            source = self._book.source_of(address)
            await self._families.wait(address, source)
            await self._attempt(address, source)
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


class _Families:
    """Dial a node of the LAN once, though it has an IPv4 and an IPv6 address.

    Its answers over the two families arrive apart, and have nothing in common but the
    port. So of two addresses with one port, the one that was dialled first has
    `ATTEMPT_DELAY` to connect, and the other is put off if it has.
    """

    def __init__(self, has_identity: bool) -> None:
        # Two nodes may have the same port. Where that shows once they are connected, an
        # address is put off for some seconds only.
        self._most = MAX_TIMES if has_identity else inf
        self._first: dict[int, bool] = {}  # by port: whether IPv6 was dialled first
        self._ready: set[Address] = set()
        self._put_off: dict[Address, int] = {}  # how often

    async def wait(self, address: Address, source: str) -> None:
        """Give the other family its time; raises `PeerError` if it has connected."""
        times = self._put_off.get(address, 0)
        if source != "lan" or times >= self._most:
            return
        is_ipv6 = ":" in address.host
        first = self._first.setdefault(address.port, is_ipv6)
        if first == is_ipv6:
            return
        await asyncio.sleep(ATTEMPT_DELAY)
        ready = (each for each in self._ready if each.port == address.port)
        if any((":" in each.host) == first for each in ready):
            if times or len(self._put_off) < MAX_PUT_OFF:
                self._put_off[address] = times + 1
            raise PeerError(f"{address} seems to be a node that is connected already")

    def on_ready(self, address: Address) -> None:
        """Note that an address is connected."""
        self._ready.add(address)

    def on_lost(self, address: Address) -> None:
        """Note that it no longer is."""
        self._ready.discard(address)
