"""How simulated nodes find each other: a LAN, a DHT, and addresses they are given."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from shoal.core.names.address import Address
from shoal.core.report.stall import Search
from shoal.core.report.status import PortMapping
from tests.simulator.hosts import Host
from tests.simulator.loop import Process
from tests.simulator.network import Network

__all__ = ["SimNetworks"]

LAN_PERIOD = 2.0  # seconds between two reports of the addresses on a LAN
DHT_PERIOD = 5.0  # seconds between two lookups


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

    async def aclose(self) -> None:
        self._closed.set()


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


async def _with_name(
    network: _Discovery, topic: bytes
) -> AsyncGenerator[tuple[Address, str], None]:
    async for address in network.join(topic, None):
        yield address, network.name


class SimNetworks:
    """The discovery networks of one node; they take the place of `Networks`."""

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
        self._open: list[_Discovery] = []
        if named is not None:
            self._open.append(_Named(named, network, host, process))
        if lan:
            self._open.append(_Discovery("lan", network, host, process, LAN_PERIOD))
        if dht:
            self._open.append(_Discovery("dht", network, host, process, DHT_PERIOD))

    def hosts(self) -> list[str]:
        return ["0.0.0.0"]

    def keep_listening(
        self,
        listen_on: Callable[[Sequence[str]], None],
        hang_up: Callable[[frozenset[str]], None] = lambda addresses: None,
    ) -> None:
        """Do nothing: the simulated network moves the ports of a host itself."""

    def port_for(self, port: int, host: str) -> int:
        """Return the port itself: no simulated NAT changes it."""
        return port

    def map_port(self, port: int) -> None:
        """Do nothing: no simulated router maps a port."""

    @property
    def mappings(self) -> tuple[PortMapping, ...]:
        """Return none."""
        return ()

    def on_seen(self, peer: str, seen: Address, port: int) -> None:
        """Do nothing: the simulated DHT announces each host as it is seen."""

    def discovery(self) -> list[_Discovery]:
        return self._open

    def find(self, topic: bytes) -> list[AsyncGenerator[tuple[Address, str], None]]:
        return [_with_name(network, topic) for network in self._open]

    def problems(self) -> tuple[str, ...]:
        return ()

    def search(self) -> Search:
        return Search(tuple(each.reach for each in self._open))

    async def aclose(self) -> None:
        for each in self._open:
            await each.aclose()
