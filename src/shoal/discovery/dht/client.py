"""Find peers in the DHT: one UDP socket, many topics.

`DhtDiscovery` owns the socket, one task per join, and the nodes kept from one lookup to
the next. `lookup` decides which datagrams to send and which responses to accept; this
module only sends, receives and waits. It answers no query (BEP 43).
"""

import asyncio
import socket
from collections.abc import (
    AsyncGenerator,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import nullcontext, suppress
from random import Random, SystemRandom
from typing import Self
from weakref import WeakValueDictionary

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.report.units import format_count
from shoal.discovery.base import TOPIC_SIZE
from shoal.discovery.dht.bootstrap import (
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    Resolver,
    resolve_by_system,
)
from shoal.discovery.dht.krpc import ID_SIZE, DhtNode, parse_message
from shoal.discovery.dht.lookup import MAX_QUERIES, QUERY_TIMEOUT, K, Lookup
from shoal.discovery.dht.nodes import KnownNodes
from shoal.discovery.dht.pace import (
    INTERVAL,
    MAX_SPACED,
    RETRY,
    Pace,
    Priority,
    WaitRange,
    spacing,
)
from shoal.discovery.dht.search import SEEK, SEEK_NODES, LookupTurns, Search
from shoal.discovery.udp import UdpClient
from shoal.errors import ProtocolError, UsageError, first_error
from shoal.net.socket_names import family_of

__all__ = ["DhtDiscovery"]


class DhtDiscovery:
    """Find and announce peers in the mainline DHT (BEP 5), as a read-only node.

    `bind` is the local address to send from. Nodes with IPv4 addresses and nodes with
    IPv6 addresses are two networks (BEP 32), and this is a client of that which `bind`
    belongs to; `dual.DualDht` uses both. Nothing is sent unless `is_usable`.
    `announced` returns the number by which a port of ours is dialled from the internet.
    `on_seen` is called with the host of a node, the address that it has seen us at, and
    our UDP port. The other options, times in seconds, are for tests, which cannot wait.
    """

    name = "dht"

    def __init__(
        self,
        bootstrap: Sequence[Address] = DEFAULT_BOOTSTRAP,
        *,
        bind: str = "0.0.0.0",
        interval: tuple[float, float] = INTERVAL,
        retry: tuple[float, float] = RETRY,
        seek: tuple[float, float] = SEEK,
        timeout: float = QUERY_TIMEOUT,
        resolver: Resolver = resolve_by_system,
        is_usable: Callable[[], bool] = lambda: True,
        announced: Callable[[int], int] = lambda port: port,
        rng: Random | None = None,
        on_seen: Callable[[str, Address, int], None] = lambda node, seen, port: None,
    ) -> None:
        self.sibling: DhtDiscovery | None = None
        """The client of the other network, to which the nodes found are passed on."""
        self.is_usable = is_usable
        """Returns True if this machine can send to nodes of this network."""
        self._family = family_of(bind)
        self._is_ipv6 = self._family == socket.AF_INET6
        self._bind = bind
        self._interval = WaitRange(*interval)
        self._retry = WaitRange(*retry)
        self._announced = announced
        self._seek = WaitRange(*seek)
        self._timeout = timeout
        self._rng = rng or SystemRandom()
        self._node_id = self._rng.randbytes(ID_SIZE)
        is_confined = scope_of(bind) is Scope.LOOPBACK
        self._bootstrap = Bootstrap(
            bootstrap,
            use_names=not is_confined,
            resolver=resolver,
            family=self._family,
        )
        self._on_seen = on_seen
        self.udp = UdpClient(bind, self._on_datagram)
        """The socket, which may be shared with other protocols."""
        self._known = KnownNodes()
        self._suggested: dict[Address, DhtNode] = {}
        self._pace = Pace()
        self._turns = LookupTurns()
        self._searches: set[Search] = set()
        self._running: dict[Lookup, tuple[Search, asyncio.Event]] = {}
        self.locks: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        """By topic, for both networks: of lookups that are not urgent, one runs."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.answered = 0
        """How many nodes answered in the latest lookup."""
        self.problem: str | None = None
        """A sentence for the user on what fails; None while nodes answer."""

    @property
    def reach(self) -> str:
        """Describe how many nodes answered in the latest lookup."""
        return f"the DHT ({format_count(self.answered, 'node')} answered)"

    def join(
        self,
        topic: bytes,
        port: int | None,
        *,
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> AsyncGenerator[Address, None]:
        """Yield the topic's peers; with a `port`, announce it meanwhile.

        While a caller waits for peers, as `is_awaited` tells, the lookups of this topic
        go before others, and are repeated more often until they find one. Only
        `aclose`, the iterator's or the discovery's, ends the iterator. While no node
        can be reached, the lookup is repeated and `problem` gives the reason. Raises
        `UsageError` for an invalid topic or port.
        """
        if len(topic) != TOPIC_SIZE:
            raise UsageError(f"A topic has {TOPIC_SIZE} bytes, not {len(topic)}.")
        if port is not None and not 1 <= port <= 65535:
            raise UsageError(f"Port {port} cannot be announced; use 1 to 65535.")
        search = Search(
            *(topic, port, is_awaited, self._rng),
            interval=self._interval,
            retry=self._retry,
            seek=self._seek,
        )
        return self._iterate(search)

    def refresh(self, hosts: Sequence[str]) -> None:
        """Send from one of `hosts`; look up and announce every topic at once."""
        ours = [host for host in hosts if family_of(host) == self._family]
        if ours and self._bind not in ours:
            self._bind = ours[0]
            self.udp.rebind(ours[0])
        for search in self._searches:
            search.restart()
        for _, has_changed in self._running.values():
            has_changed.set()

    async def aclose(self) -> None:
        """Stop announcing, end all iterators, close the socket; idempotent."""
        self._is_closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await self.udp.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _iterate(self, search: Search) -> AsyncGenerator[Address, None]:
        if self._is_closed:
            return
        self._searches.add(search)
        # The search continues while the caller handles an address.
        task = asyncio.create_task(self._run_search(search), name="dht search")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: search.queue.close())
        try:
            while (address := await search.queue.get()) is not None:
                yield address
        finally:
            self._searches.discard(search)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def _run_search(self, search: Search) -> None:
        """Look the topic up, and ask for newcomers, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._seek_forever(search))
                tasks.create_task(self._look_up_forever(search))
        except BaseExceptionGroup as group:
            raise first_error(group) from None

    async def _look_up_forever(self, search: Search) -> None:
        while True:
            search.is_due.clear()
            is_failure = True
            if self.is_usable():
                is_failure = not await self._look_up_in_turn(search)
            else:
                self.problem, self.answered = None, 0
            wait = search.schedule.next_wait(
                is_failure=is_failure, is_awaited=search.is_awaited()
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await search.is_due.wait()

    async def _look_up_in_turn(self, search: Search) -> bool:
        """Look the topic up once; return False if that failed."""
        priority = search.priority
        is_urgent = priority is not Priority.REPEATED
        lock = self.locks.setdefault(search.topic, asyncio.Lock())
        try:
            async with (
                nullcontext() if is_urgent else lock,
                self._turns.wait(priority),
            ):
                lookup = await self._look_up(search, priority)
        except OSError as error:
            self.problem = (
                f"The DHT cannot be reached from {self._bind} ({error}); "
                "check the network. Trying again."
            )
            return False
        nearest = lookup.nearest()
        search.was_announced |= 2 * lookup.announced > len(nearest)
        search.on_lookup(nearest)
        is_announced = search.port is None or lookup.announced > 0
        return bool(lookup.answered()) and is_announced

    async def _seek_forever(self, search: Search) -> None:
        """Ask for newcomers again and again."""
        while (wait := search.seek_wait(self._announced_topics)) is not None:
            await asyncio.sleep(wait)
            is_busy = any(search is each for each, _ in self._running.values())
            count = 1 if is_busy or self._networks > 1 else SEEK_NODES
            if not (asked := search.next_asked(count)):
                continue
            lookup = self._make_lookup(search, Priority.SEEKING, asked)
            # An error of the socket shows in the next lookup.
            with suppress(OSError):
                await self.udp.open()
                await self._exchange(search, lookup)

    @property
    def _announced_topics(self) -> int:
        return sum(each.port is not None for each in self._searches)

    @property
    def _networks(self) -> int:
        """Return how many networks of the DHT work, 1 or 2."""
        return 1 if self.sibling is None or not self.sibling.answered else 2

    async def _look_up(self, search: Search, priority: Priority) -> Lookup:
        """Run one lookup, from the known nodes if they are enough and alive.

        After a lookup that found no peer, the next one also starts from the bootstrap
        nodes: the known nodes may be malicious.
        """
        await self.udp.open()
        known = self._known.closest(search.topic, K)
        if len(known) == K and not search.schedule.was_alone:
            lookup = self._make_lookup(search, priority, known)
            await self._exchange(search, lookup)
            if lookup.answered():
                self.problem = None
                self.answered = len(lookup.answered())
                return lookup
            # All are silent: this machine has changed networks, or was asleep.
            self._known.clear()
            known = []
        first = await self._bootstrap.addresses()
        lookup = self._make_lookup(
            search, priority, [*known, *self._suggested.values()], bootstrap=first
        )
        await self._exchange(search, lookup)
        self.answered = len(lookup.answered())
        self.problem = None
        if not self.answered:
            self.problem = self._bootstrap.problem(len(first), self.udp.send_error)
        return lookup

    def _make_lookup(
        self,
        search: Search,
        priority: Priority,
        nodes: Sequence[DhtNode],
        *,
        bootstrap: Iterable[Address] = (),
    ) -> Lookup:
        port, max_queries = search.port, MAX_QUERIES
        if priority is Priority.REPEATED:
            max_queries = MAX_SPACED
        elif priority is Priority.SEEKING:
            port, max_queries = None, len(nodes)
        return Lookup(
            search.topic,
            node_id=self._node_id,
            rng=self._rng,
            nodes=nodes,
            bootstrap=bootstrap,
            port=None if port is None else self._announced(port),
            is_ipv6=self._is_ipv6,
            wants_both=self.sibling is not None and self.sibling.lacks_nodes,
            pace=self._pace,
            priority=priority,
            timeout=self._timeout,
            max_queries=max_queries,
        )

    async def _exchange(self, search: Search, lookup: Lookup) -> None:
        """Send and receive the datagrams of one lookup until it is done."""
        loop = asyncio.get_running_loop()
        has_changed = asyncio.Event()
        self._running[lookup] = search, has_changed
        try:
            while True:
                is_urgent = lookup.priority is not Priority.REPEATED
                # Once the topic has to be announced again, a lookup hurries.
                lookup.spacing = (
                    0.0
                    if is_urgent or search.is_due.is_set()
                    else spacing(self._announced_topics, self._networks, self._retry)
                )
                if lookup.port is not None and search.port is not None:
                    # The nodes that have answered may have told how a NAT changes it.
                    lookup.port = self._announced(search.port)
                for address, data in lookup.next_queries(loop.time()):
                    self.udp.send(data, address)
                if lookup.is_done:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(lookup.wake_at):
                        await has_changed.wait()
                has_changed.clear()
                lookup.on_timeout(loop.time())
        finally:
            del self._running[lookup]
        self._known.on_lookup(lookup.answered(), lookup.failed())
        if self.sibling is not None and lookup.others:
            self.sibling.suggest(lookup.others)

    @property
    def lacks_nodes(self) -> bool:
        """Return True if lookups of the other network should ask for nodes of ours."""
        return len(self._known) < K and self.is_usable()

    def suggest(self, nodes: Mapping[Address, DhtNode]) -> None:
        """Start lookups from these nodes as well, until enough others have answered."""
        is_first = not self._suggested and not len(self._known)
        self._suggested = dict(nodes)
        if is_first:
            for search in self._searches:
                search.is_due.set()

    def _on_datagram(self, data: bytes, source: Address) -> None:
        """Pass a datagram to the lookups that await one from its source."""
        waiting = [
            (lookup, *owner)
            for lookup, owner in self._running.items()
            if lookup.is_awaiting(source)
        ]
        if not waiting:
            return  # a stranger's datagram costs a set lookup, not a parse
        try:
            message = parse_message(data)
        except ProtocolError:
            return
        now = asyncio.get_running_loop().time()
        for lookup, search, has_changed in waiting:
            peers = lookup.on_message(message, source, now)
            for node, seen in lookup.take_seen():
                self._on_seen(node.host, seen, self.udp.local_port)
            ours = search.port and self._announced(search.port)
            search.schedule.on_peers(each for each in peers if each.port != ours)
            search.queue.put(peers)
            has_changed.set()
