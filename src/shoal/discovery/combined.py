"""All discoveries of a node, combined: LAN, DHT and the addresses the user named.

`Networks` makes them when they are first needed, so that a node which only dials
`--peer` opens no socket for discovery and imports no module for it. Once a port
listens, it also watches the addresses of this machine.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeAlias

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.outside import Outside
from shoal.core.report.stall import Search
from shoal.discovery.base import Discovery
from shoal.net.interfaces import Interface, list_interfaces, own_addresses

__all__ = ["HangUp", "ListenOn", "Networks"]

ListenOn: TypeAlias = Callable[[Sequence[str]], None]
"""Listen on these addresses from now on, and on no others."""
HangUp: TypeAlias = Callable[[frozenset[str]], None]
"""Close the connections that use none of these addresses."""


class Networks:
    """Own the discovery of one node."""

    def __init__(self, settings: Settings) -> None:
        self.outside = Outside()
        """How this node looks from the internet, as others report it."""
        self._settings = settings
        self._open: list[Discovery] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ports: list[tuple[ListenOn, HangUp]] = []

    def hosts(self) -> list[str]:
        """Return the addresses to listen on.

        Raises `UsageError` if an interface that the user named does not exist.
        """
        if not self._settings.interfaces:
            return ["0.0.0.0"]
        return [each.address for each in list_interfaces(self._settings.interfaces)]

    def keep_listening(
        self,
        listen_on: ListenOn,
        hang_up: HangUp = lambda addresses: None,
    ) -> None:
        """Call `listen_on` with the addresses to listen on whenever they change.

        `hang_up` is called with all IPv4 addresses of this machine: connections that
        use another one are dead. After a change, or a sleep of this machine, every
        topic is announced again, too.
        """
        self._ports.append((listen_on, hang_up))
        if self._watching is None:
            from shoal.discovery.watch import watch_network

            work = watch_network(self._settings.interfaces, self._on_change)
            self._watching = asyncio.create_task(work, name="network watch")

    def discovery(self) -> list[Discovery]:
        """Return every discovery that the settings allow."""
        if self._open is None:
            self._open = self._make()
        return self._open

    def find(self, topic: bytes) -> list[AsyncGenerator[tuple[Address, str], None]]:
        """Return one iterator per network: the topic's peers and the network's name."""
        return [_named(network, topic) for network in self.discovery()]

    def problems(self) -> tuple[str, ...]:
        """Return the current failures, as sentences for the user."""
        return tuple(each.problem for each in self._open or () if each.problem)

    def search(self) -> Search:
        """Return the state of the search for peers on all networks."""
        reach = tuple(each.reach for each in self._open or ())
        return Search(reach, self.problems())

    async def aclose(self) -> None:
        """Close every discovery; idempotent."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
            if not watching.cancelled():
                watching.result()
        for network in self._open or ():
            await network.aclose()

    def _on_change(self, interfaces: Sequence[Interface]) -> None:
        self.outside.clear()
        # A new connection to the same node would not be kept beside a dead one.
        if addresses := own_addresses():
            for _, hang_up in self._ports:
                hang_up(addresses)
        hosts = ["0.0.0.0"]
        if self._settings.interfaces:
            hosts = [each.address for each in interfaces]
            for listen_on, _ in self._ports:
                listen_on(hosts)
        for network in self._open or ():
            network.refresh(hosts)

    def _make(self) -> list[Discovery]:
        settings = self._settings
        networks: list[Discovery] = []
        if settings.peers:
            from shoal.discovery.static import StaticDiscovery

            networks.append(StaticDiscovery(settings.peers))
        if not settings.no_lan:
            from shoal.discovery.lan.client import LanDiscovery

            networks.append(LanDiscovery(interfaces=settings.interfaces))
        if not settings.lan_only:
            from shoal.discovery.dht.client import DEFAULT_BOOTSTRAP, DhtDiscovery

            bootstrap = settings.dht_bootstrap or DEFAULT_BOOTSTRAP
            networks.append(
                DhtDiscovery(
                    bootstrap, bind=self.hosts()[0], on_seen=self.outside.on_node
                )
            )
        return networks


async def _named(
    network: Discovery, topic: bytes
) -> AsyncGenerator[tuple[Address, str], None]:
    async for address in network.join(topic, None):
        yield address, network.name
