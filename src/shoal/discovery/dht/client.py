"""Find peers in the DHT: one UDP socket, many topics.

`DhtDiscovery` owns the socket, one task per join, and the nodes kept from one lookup to
the next. `lookup` decides which datagrams to send and which responses to accept; this
module only sends, receives and waits. It answers no query (BEP 43).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from random import Random, SystemRandom
from typing import Self, TypeAlias

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.discovery.base import TOPIC_SIZE, AddressQueue
from shoal.discovery.dht.bootstrap import (
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    Resolver,
    resolve_by_system,
)
from shoal.discovery.dht.krpc import ID_SIZE, DhtNode, parse_message
from shoal.discovery.dht.lookup import (
    INTERVAL,
    QUERY_TIMEOUT,
    RETRY,
    K,
    Lookup,
    LookupSchedule,
    WaitRange,
)
from shoal.discovery.dht.nodes import KnownNodes
from shoal.discovery.udp import UdpClient
from shoal.errors import ProtocolError, UsageError

__all__ = ["DEFAULT_BOOTSTRAP", "MAX_WAITING", "DhtDiscovery"]

MAX_WAITING = 1000  # addresses of one join; the next lookup finds the rest again

_OnPeers: TypeAlias = Callable[[list[Address]], None]


class DhtDiscovery:
    """Find and announce peers in the mainline DHT (BEP 5), as a read-only node.

    `bind` is the local IPv4 address to send from. `interval`, `retry`, `timeout` (all
    in seconds) and `rng` exist for tests, which cannot wait.
    """

    name = "dht"

    def __init__(
        self,
        bootstrap: Sequence[Address] = DEFAULT_BOOTSTRAP,
        *,
        bind: str = "0.0.0.0",
        interval: tuple[float, float] = INTERVAL,
        retry: tuple[float, float] = RETRY,
        timeout: float = QUERY_TIMEOUT,
        resolver: Resolver = resolve_by_system,
        rng: Random | None = None,
    ) -> None:
        self._bind = bind
        self._interval = WaitRange(*interval)
        self._retry = WaitRange(*retry)
        self._timeout = timeout
        self._rng = rng or SystemRandom()
        self._node_id = self._rng.randbytes(ID_SIZE)
        is_confined = scope_of(bind) is Scope.LOOPBACK
        self._bootstrap = Bootstrap(
            bootstrap, use_names=not is_confined, resolver=resolver
        )
        self._udp = UdpClient(bind, self._on_datagram)
        self._known = KnownNodes()
        self._running: set[_RunningLookup] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._answered = 0  # nodes, in the latest lookup
        self.problem: str | None = None
        """A sentence for the user on what fails; None while nodes answer."""

    @property
    def reach(self) -> str:
        """Describe how many nodes answered in the latest lookup."""
        nodes = "1 node" if self._answered == 1 else f"{self._answered} nodes"
        return f"the DHT ({nodes} answered)"

    def join(self, topic: bytes, port: int | None) -> AsyncGenerator[Address, None]:
        """Yield the topic's peers; with a `port`, announce it meanwhile.

        Only `aclose`, the iterator's or the discovery's, ends the iterator. While no
        node can be reached, the lookup is repeated and `problem` gives the reason.
        Raises `UsageError` for an invalid topic or port.
        """
        if len(topic) != TOPIC_SIZE:
            raise UsageError(f"A topic has {TOPIC_SIZE} bytes, not {len(topic)}.")
        if port is not None and not 1 <= port <= 65535:
            raise UsageError(f"Port {port} cannot be announced; use 1 to 65535.")
        return self._iterate(topic, port)

    async def aclose(self) -> None:
        """Stop announcing, end all iterators, close the socket; idempotent."""
        self._is_closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await self._udp.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _iterate(
        self, topic: bytes, port: int | None
    ) -> AsyncGenerator[Address, None]:
        if self._is_closed:
            return
        queue = AddressQueue(MAX_WAITING)
        # The search continues while the caller handles an address.
        task = asyncio.create_task(self._search(topic, port, queue), name="dht search")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: queue.close())
        try:
            while (address := await queue.get()) is not None:
                yield address
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def _search(
        self, topic: bytes, port: int | None, queue: AddressQueue
    ) -> None:
        """Look the topic up again and again until cancelled."""
        schedule = LookupSchedule(
            rng=self._rng, port=port, interval=self._interval, retry=self._retry
        )

        def on_peers(peers: list[Address]) -> None:
            schedule.on_peers(peers)
            queue.put(peers)

        while True:
            is_failure = True
            try:
                lookup = await self._look_up(
                    topic, port, on_peers, is_repeat=schedule.was_alone
                )
            except OSError as error:
                self.problem = (
                    f"The DHT cannot be reached from {self._bind} ({error}); "
                    "check the network. Trying again."
                )
            else:
                is_failure = not lookup.answered() or (
                    port is not None and not lookup.announced
                )
            await asyncio.sleep(schedule.next_wait(is_failure=is_failure))

    async def _look_up(
        self, topic: bytes, port: int | None, on_peers: _OnPeers, *, is_repeat: bool
    ) -> Lookup:
        """Run one lookup, from the known nodes if they are enough and alive.

        A repeated lookup, after one that found no peer, also starts from the bootstrap
        nodes: the known nodes may be malicious.
        """
        await self._udp.open()
        known = self._known.closest(topic, K)
        if len(known) == K and not is_repeat:
            lookup = self._make_lookup(topic, port, known, ())
            await self._run(lookup, on_peers)
            if lookup.answered():
                self.problem = None
                return lookup
            # All are silent: this machine has changed networks, or was asleep.
            self._known.clear()
            known = []
        first = await self._bootstrap.addresses()
        lookup = self._make_lookup(topic, port, known, first)
        await self._run(lookup, on_peers)
        self.problem = None if lookup.answered() else self._describe(first)
        return lookup

    def _make_lookup(
        self,
        topic: bytes,
        port: int | None,
        nodes: Iterable[DhtNode],
        bootstrap: Iterable[Address],
    ) -> Lookup:
        return Lookup(
            topic,
            node_id=self._node_id,
            rng=self._rng,
            nodes=nodes,
            bootstrap=bootstrap,
            port=port,
            timeout=self._timeout,
        )

    async def _run(self, lookup: Lookup, on_peers: _OnPeers) -> None:
        """Send and receive the datagrams of one lookup until it is done."""
        loop = asyncio.get_running_loop()
        current = _RunningLookup(lookup, on_peers)
        self._running.add(current)
        try:
            while True:
                for address, data in lookup.next_queries(loop.time()):
                    self._udp.send(data, address)
                if lookup.is_done:
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(lookup.wake_at):
                        await current.has_changed.wait()
                current.has_changed.clear()
                lookup.on_timeout(loop.time())
        finally:
            self._running.discard(current)
        self._answered = len(lookup.answered())
        self._known.on_lookup(lookup.answered(), lookup.failed())

    def _on_datagram(self, data: bytes, source: Address) -> None:
        """Pass a datagram to the lookups that await one from its source."""
        waiting = [each for each in self._running if each.lookup.is_awaiting(source)]
        if not waiting:
            return  # a stranger's datagram costs a set lookup, not a parse
        try:
            message = parse_message(data)
        except ProtocolError:
            return
        for each in waiting:
            each.on_peers(each.lookup.on_message(message, source))
            each.has_changed.set()

    def _describe(self, tried: Sequence[Address]) -> str:
        """Return a sentence on why no node of the DHT was reached."""
        missing = ", ".join(self._bootstrap.unresolved)
        if not tried:
            what = f"No DHT node can be reached (no address for {missing or 'any'})"
        else:
            what = f"No DHT node answered (tried {len(tried)}"
            what += f"; no address for {missing})" if missing else ")"
            if self._udp.send_error is not None:
                what += f": {self._udp.send_error}"
        return (
            f"{what}; check the network, or name another node with "
            "--dht-bootstrap HOST:PORT. Trying again."
        )


class _RunningLookup:
    """Hold one lookup in progress and the receiver of its peers."""

    def __init__(self, lookup: Lookup, on_peers: _OnPeers) -> None:
        self.lookup = lookup
        self.on_peers = on_peers
        self.has_changed = asyncio.Event()
