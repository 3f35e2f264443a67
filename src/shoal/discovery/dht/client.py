"""The DHT as a way to find peers: one UDP socket, many topics.

`DhtDiscovery` owns the socket, the task of each join and the nodes remembered from
one pass to the next. What to send and whom to believe is decided in `lookup`; this
file only carries datagrams and waits. It answers no query (BEP 43).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from random import Random, SystemRandom
from typing import Self, TypeAlias

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.discovery.base import TOPIC_SIZE
from shoal.discovery.dht.bootstrap import (
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    Resolver,
    resolve_by_system,
)
from shoal.discovery.dht.endpoint import Endpoint
from shoal.discovery.dht.feed import Feed
from shoal.discovery.dht.known import KnownNodes
from shoal.discovery.dht.krpc import ID_SIZE, Node, parse_message
from shoal.discovery.dht.lookup import QUERY_TIMEOUT, K, Lookup
from shoal.discovery.dht.schedule import INTERVAL, RETRY, Schedule, Span
from shoal.errors import ProtocolError, UsageError

__all__ = ["DEFAULT_BOOTSTRAP", "DhtDiscovery"]

_Hear: TypeAlias = Callable[[list[Address]], None]


class DhtDiscovery:
    """Find and announce peers in the mainline DHT (BEP 5), as a read-only node.

    `bind` is the IPv4 address of the interface to keep to. `interval`, `retry`,
    `timeout` (all in seconds) and `rng` are for those who cannot wait, as tests.
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
        self._interval = Span(*interval)
        self._retry = Span(*retry)
        self._timeout = timeout
        self._rng = rng or SystemRandom()
        self._node_id = self._rng.randbytes(ID_SIZE)
        is_confined = scope_of(bind) is Scope.LOOPBACK
        self._bootstrap = Bootstrap(
            bootstrap, use_names=not is_confined, resolver=resolver
        )
        self._endpoint = Endpoint(bind, self._handle_datagram)
        self._known = KnownNodes()
        self._passes: set[_Pass] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._answered = 0  # nodes, in the latest pass
        self.problem: str | None = None
        """What is wrong, as a sentence for the user; None while nodes answer."""

    @property
    def reach(self) -> str:
        """Say how many nodes answered in the latest pass."""
        nodes = "1 node" if self._answered == 1 else f"{self._answered} nodes"
        return f"the DHT ({nodes} answered)"

    def join(self, topic: bytes, port: int | None) -> AsyncGenerator[Address, None]:
        """Yield the topic's peers; with a `port`, announce it for as long.

        The iterator ends only with `aclose`, its own or the discovery's; while no
        node can be reached it waits and tries again, and `problem` says why.
        Raises `UsageError` for a topic or a port that cannot be.
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
            await self._endpoint.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _iterate(
        self, topic: bytes, port: int | None
    ) -> AsyncGenerator[Address, None]:
        if self._is_closed:
            return
        feed = Feed()
        # The search goes on while the caller is busy with an address.
        task = asyncio.create_task(self._search(topic, port, feed), name="dht search")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: feed.close())
        try:
            while (address := await feed.get()) is not None:
                yield address
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def _search(self, topic: bytes, port: int | None, feed: Feed) -> None:
        """Look the topic up for ever, one pass after the other."""
        schedule = Schedule(
            rng=self._rng, port=port, interval=self._interval, retry=self._retry
        )

        def hear(peers: list[Address]) -> None:
            schedule.on_peers(peers)
            feed.put(peers)

        while True:
            is_failure = True
            try:
                lookup = await self._look_up(
                    topic, port, hear, is_repeat=schedule.was_alone
                )
            except OSError as error:
                self.problem = (
                    f"The DHT could not be asked from {self._bind} ({error}); "
                    "check the network. Trying again."
                )
            else:
                is_failure = not lookup.answered() or (
                    port is not None and not lookup.announced
                )
            await asyncio.sleep(schedule.next_wait(is_failure=is_failure))

    async def _look_up(
        self, topic: bytes, port: int | None, hear: _Hear, *, is_repeat: bool
    ) -> Lookup:
        """Make one pass, from remembered nodes if they are enough and alive.

        A repeated one, after nobody was found, starts from the bootstrap nodes too:
        if those remembered are liars, this is the way round them.
        """
        await self._endpoint.open()
        known = self._known.closest(topic, K)
        if len(known) == K and not is_repeat:
            lookup = self._make_lookup(topic, port, known, ())
            await self._drive(lookup, hear)
            if lookup.answered():
                self.problem = None
                return lookup
            # All of them silent: this machine has moved, or been asleep.
            self._known.clear()
            known = []
        first = await self._bootstrap.addresses()
        lookup = self._make_lookup(topic, port, known, first)
        await self._drive(lookup, hear)
        self.problem = None if lookup.answered() else self._describe(first)
        return lookup

    def _make_lookup(
        self,
        topic: bytes,
        port: int | None,
        nodes: Iterable[Node],
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

    async def _drive(self, lookup: Lookup, hear: _Hear) -> None:
        """Carry one pass's datagrams until it is done."""
        loop = asyncio.get_running_loop()
        current = _Pass(lookup, hear)
        self._passes.add(current)
        try:
            while True:
                for address, data in lookup.next_queries(loop.time()):
                    self._endpoint.send(data, address)
                if lookup.is_done:
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(lookup.wake_at):
                        await current.has_news.wait()
                current.has_news.clear()
                lookup.on_timeout(loop.time())
        finally:
            self._passes.discard(current)
        self._answered = len(lookup.answered())
        self._known.on_pass(lookup.answered(), lookup.failed())

    def _handle_datagram(self, data: bytes, source: Address) -> None:
        """Give a datagram to the passes that await something from its source."""
        waiting = [each for each in self._passes if each.lookup.is_awaiting(source)]
        if not waiting:
            return  # Strangers cost one look at a set, not a parse.
        try:
            message = parse_message(data)
        except ProtocolError:
            return
        for each in waiting:
            each.hear(each.lookup.on_reply(message, source))
            each.has_news.set()

    def _describe(self, tried: Sequence[Address]) -> str:
        """Say in one sentence why nobody in the DHT was reached."""
        missing = ", ".join(self._bootstrap.unresolved)
        if not tried:
            what = f"No DHT node could be asked (no address for {missing or 'any'})"
        else:
            what = f"No DHT node answered (tried {len(tried)}"
            what += f"; no address for {missing})" if missing else ")"
            if self._endpoint.send_error is not None:
                what += f": {self._endpoint.send_error}"
        return (
            f"{what}; check the network, or name another node with "
            "--dht-bootstrap HOST:PORT. Trying again."
        )


class _Pass:
    """One lookup under way and what it needs from the socket."""

    def __init__(self, lookup: Lookup, hear: _Hear) -> None:
        self.lookup = lookup
        self.hear = hear
        self.has_news = asyncio.Event()
