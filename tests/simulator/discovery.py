"""How simulated nodes find each other: a LAN, a DHT, and addresses they are given."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Any

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.report.status import PortMapping
from shoal.discovery.base import Discovery
from shoal.discovery.combined import Networks
from shoal.discovery.dht import search as dht_search
from shoal.discovery.dht.krpc import DhtNode
from shoal.discovery.dht.pace import INTERVAL, RETRY
from tests.simulator.hosts import Host
from tests.simulator.loop import Process
from tests.simulator.network import Network

__all__ = ["SimNetworks"]

LAN_PERIOD = 2.0  # seconds between two reports of the addresses on a LAN
MAP_TIME = 0.1, 3.5  # seconds until a router has mapped a port
DHT_DELAY = 5.0  # seconds until a lookup has found the nodes nearest to a topic
_NODES = [DhtNode(bytes([n]) * 20, Address(f"45.99.0.{n}", 6881)) for n in range(8)]


class _Discovery:
    """One network on which nodes find each other."""

    problem: str | None = None

    def __init__(
        self, name: str, network: Network, host: Host, process: Process, period: float
    ) -> None:
        self.name = name
        self._network = network
        self._host = host
        self._process = process
        self._period = period
        self._closed = asyncio.Event()

    @property
    def reach(self) -> str:
        return f"the simulated {self.name}"

    async def join(
        self,
        topic: bytes,
        port: int | None,
        *,
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> AsyncGenerator[Address, None]:
        network, announced = self._network, None
        is_lan = self.name == "lan"
        if port is not None:
            announced = network.announce(topic, self._host, port, self._process)
        try:
            while not self._closed.is_set():
                await asyncio.sleep(network.rng.random() * self._period)
                found = list(network.look_up(topic, self._host, is_lan=is_lan))
                for address, _ in found:
                    yield address
                await asyncio.sleep(self._period / 2)
        finally:
            if announced is not None:
                network.withdraw(topic, announced)

    def refresh(self, hosts: Sequence[str]) -> None:
        """Do nothing: an address is announced as soon as it changes."""

    async def aclose(self) -> None:
        self._closed.set()


class _Dht(_Discovery):
    """The DHT, which is looked up, and asked for newcomers, as often as the real one.

    A lookup takes no time and finds everything.
    """

    def __init__(
        self,
        network: Network,
        host: Host,
        process: Process,
        announced: Callable[[int], int],
    ) -> None:
        """Announce a port by the number that `announced` returns for it."""
        super().__init__("dht", network, host, process, DHT_DELAY)
        self._announced = announced
        self._searches: dict[dht_search.Search, None] = {}

    def refresh(self, hosts: Sequence[str]) -> None:
        """Look for every topic and announce it at once."""
        for search in self._searches:
            search.is_due.set()

    async def join(
        self,
        topic: bytes,
        port: int | None,
        *,
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> AsyncGenerator[Address, None]:
        rng = self._network.rng
        search = dht_search.Search(
            topic, port, is_awaited, rng, interval=INTERVAL, retry=RETRY
        )
        self._searches[search] = None
        announced, number = None, 0
        try:
            while not self._closed.is_set():
                await asyncio.sleep(rng.random() * self._period)
                search.is_due.clear()
                if port is not None and number != self._announced(port):
                    if announced is not None:
                        self._network.withdraw(topic, announced)
                    number = self._announced(port)
                    announced = self._network.announce(
                        topic, self._host, number, self._process
                    )
                found = self._look_up(topic)
                search.schedule.on_peers(each for each in found if each.port != port)
                search.on_lookup(_NODES)
                for address in found:
                    yield address
                wait = search.schedule.next_wait(
                    is_failure=False, is_awaited=is_awaited()
                )
                async for address in self._seek(search, wait):
                    yield address
        finally:
            self._searches.pop(search, None)
            if announced is not None:
                self._network.withdraw(topic, announced)

    async def _seek(
        self, search: dht_search.Search, seconds: float
    ) -> AsyncGenerator[Address, None]:
        """Yield newcomers until the next lookup, as `DhtDiscovery` does."""
        until = self._network.time() + seconds
        while True:
            topics = sum(each.port is not None for each in self._searches)
            wait = search.seek_wait(topics)
            seek_at = until if wait is None else self._network.time() + wait
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(until, seek_at)):
                    await search.is_due.wait()
            if search.is_due.is_set() or seek_at >= until:
                return
            for address in self._look_up(search.topic):
                yield address

    def _look_up(self, topic: bytes) -> list[Address]:
        found = self._network.look_up(topic, self._host, is_lan=False)
        return [address for address, _ in found]


class _Named(_Discovery):
    """Addresses that the user named."""

    def __init__(
        self,
        addresses: Callable[[bytes], list[Address]],
        network: Network,
        host: Host,
        process: Process,
    ) -> None:
        super().__init__("peer", network, host, process, 0.0)
        self._addresses = addresses

    async def join(
        self,
        topic: bytes,
        port: int | None,
        *,
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> AsyncGenerator[Address, None]:
        for address in self._addresses(topic):
            yield address
        await self._closed.wait()


class _Mapper:
    """Ask the router of one site to map ports; it takes the place of `Mapper`."""

    problem: str | None = None

    def __init__(
        self, network: Network, host: Host, on_change: Callable[[], None]
    ) -> None:
        self.mappings: tuple[PortMapping, ...] = ()
        self._network = network
        self._host = host
        self._on_change = on_change
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def add(self, port: int) -> None:
        if port not in self._timers:
            delay = self._network.rng.uniform(*MAP_TIME)
            loop = asyncio.get_running_loop()
            self._timers[port] = loop.call_later(delay, self._map, port)

    def _map(self, port: int) -> None:
        inner, site = self._inner(port), self._host.site
        outside = site.nats[0].map(inner, keeps_port=site.maps == "same")
        self.mappings += (PortMapping(port, outside, "PCP"),)
        self._network.mappings += 1
        self._on_change()

    def _inner(self, port: int) -> Address:
        return Address(self._host.addresses[0], port)

    async def aclose(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for each in self.mappings:
            self._host.site.nats[0].unmap(self._inner(each.port))
        self._network.mappings += len(self.mappings)


class SimNetworks(Networks):
    """The networks of one node: simulated ones take the place of the real ones."""

    def __init__(
        self,
        network: Network,
        host: Host,
        process: Process,
        *,
        lan: bool = True,
        dht: bool = True,
        named: Callable[[bytes], list[Address]] | None = None,
    ) -> None:
        super().__init__(Settings())
        self._network, self._host = network, host
        simulated: list[_Discovery] = []
        if named is not None:
            simulated.append(_Named(named, network, host, process))
        if lan:
            simulated.append(_Discovery("lan", network, host, process, LAN_PERIOD))
        if dht:
            simulated.append(_Dht(network, host, process, self.outside_port))
        self._open = list[Discovery](simulated)

    def hosts(self) -> list[str]:
        return ["0.0.0.0"]

    def keep_listening(
        self,
        listen_on: Callable[[Sequence[str]], None],
        hang_up: Callable[[frozenset[str]], None] = lambda addresses: None,
    ) -> None:
        """Do nothing: the simulated network moves the ports of a host itself."""

    def _map(self) -> None:
        if not self._host.site.maps:
            return
        if self._mapper is None:
            mapper: Any = _Mapper(self._network, self._host, self._on_mapping)
            self._mapper = mapper
        super()._map()
