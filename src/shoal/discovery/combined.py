"""All discoveries of a node, combined: LAN, DHT and the addresses the user named.

`Networks` makes them when they are first needed, so that a node which only dials
`--peer` opens no socket for discovery and imports no module for it.
"""

from collections.abc import AsyncGenerator

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.report.stall import Search
from shoal.discovery.base import Discovery
from shoal.net.interfaces import list_interfaces

__all__ = ["Networks"]


class Networks:
    """Own the discovery of one node."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: list[Discovery] | None = None

    def hosts(self) -> list[str]:
        """Return the addresses to listen on.

        Raises `UsageError` if an interface that the user named does not exist.
        """
        if not self._settings.interfaces:
            return ["0.0.0.0"]
        return [each.address for each in list_interfaces(self._settings.interfaces)]

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
        for network in self._open or ():
            await network.aclose()

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

            bind = self.hosts()[0]
            bootstrap = settings.dht_bootstrap or DEFAULT_BOOTSTRAP
            networks.append(DhtDiscovery(bootstrap, bind=bind))
        return networks


async def _named(
    network: Discovery, topic: bytes
) -> AsyncGenerator[tuple[Address, str], None]:
    async for address in network.join(topic, None):
        yield address, network.name
