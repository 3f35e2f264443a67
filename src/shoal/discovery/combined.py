"""All discoveries of a node, combined: LAN, DHT and the addresses the user named.

`Networks` makes them when they are first needed, so that a node which only dials
`--peer` opens no socket for discovery and imports no module for it. Once a port
listens, it also watches the addresses of this machine, and has the router map a port
that peers dial.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.outside import Outside
from shoal.core.report.stall import Search
from shoal.core.report.status import PortMapping
from shoal.discovery.base import Discovery
from shoal.net.interfaces import Interface, list_interfaces, own_addresses
from shoal.net.socket_names import ANY_HOSTS

if TYPE_CHECKING:
    from shoal.mapping.mapper import Mapper

__all__ = ["HangUp", "ListenOn", "Networks"]

# A shorter download needs no mapped port, and then imports no module for it.
MAP_DELAY = 0.5  # seconds until the router is asked to map a port

ListenOn: TypeAlias = Callable[[Sequence[str]], None]
"""Listen on these addresses from now on, and on no others."""
HangUp: TypeAlias = Callable[[frozenset[str]], None]
"""Close the connections that use none of these addresses."""


class Networks:
    """Own the discovery of one node."""

    def __init__(
        self,
        settings: Settings,
        *,
        on_mapped: Callable[[PortMapping], None] = lambda mapping: None,
    ) -> None:
        """Prepare; `on_mapped` is called with each new mapping of a port."""
        self.outside = Outside()
        """How this node looks from the internet, as others report it."""
        self._settings = settings
        self._on_mapped = on_mapped
        self._to_map: set[int] = set()
        self._map_timer: asyncio.TimerHandle | None = None
        self._mapper: Mapper | None = None
        self._mapped: dict[tuple[int, bool], PortMapping] = {}  # by port, and if IPv6
        self._open: list[Discovery] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ports: list[tuple[ListenOn, HangUp]] = []

    def hosts(self) -> list[str]:
        """Return the addresses to listen on.

        Raises `UsageError` if an interface that the user named does not exist.
        """
        if not self._settings.interfaces:
            return list(ANY_HOSTS)
        found = list_interfaces(self._settings.interfaces)
        return [each.address for each in found]

    def keep_listening(
        self,
        listen_on: ListenOn,
        hang_up: HangUp = lambda addresses: None,
    ) -> None:
        """Call `listen_on` with the addresses to listen on whenever they change.

        `hang_up` is called with all IP addresses of this machine: connections that
        use another one are dead. After a change, or a sleep of this machine, every
        topic is announced again, too.
        """
        self._ports.append((listen_on, hang_up))
        if self._watching is None:
            from shoal.discovery.watch import watch_network

            work = watch_network(self._settings.interfaces, self._on_change)
            self._watching = asyncio.create_task(work, name="network watch")

    def map_port(self, port: int) -> None:
        """Have the router pass connections on to a TCP port, if the settings allow.

        The router is asked in the background, after `MAP_DELAY`; idempotent.
        """
        if self._settings.no_map or self._settings.lan_only:
            return
        self._to_map.add(port)
        if self._map_timer is None:
            loop = asyncio.get_running_loop()
            self._map_timer = loop.call_later(MAP_DELAY, self._map)

    def _map(self) -> None:
        from shoal.mapping.mapper import Mapper

        if self._mapper is None:
            self._mapper = Mapper(
                interfaces=self._settings.interfaces,
                multicasts=not self._settings.no_lan,
                on_change=self._on_mapping,
            )
        for port in self._to_map:
            self._mapper.add(port)
        self._map_timer = None

    async def until_mapped(self) -> str | None:
        """Ask the router at once, and wait for its first answer for each port.

        Returns why a port is not mapped, as a sentence; None if all are.
        """
        if self._map_timer is not None:
            self._map_timer.cancel()
            self._map()
        if self._mapper is None:
            return None
        await self._mapper.until_tried()
        return self._mapper.problem

    @property
    def mappings(self) -> tuple[PortMapping, ...]:
        """Return the ports that the router maps now."""
        return () if self._mapper is None else self._mapper.mappings

    def port_for(self, port: int, host: str) -> int:
        """Return the number by which a peer at `host` can dial our TCP port.

        From the IPv4 internet that is the router's port, if that is mapped to ours.
        """
        is_near = ":" in host or scope_of(host) is not Scope.GLOBAL
        return port if is_near else self.outside_port(port)

    def outside_port(self, port: int) -> int:
        """Return the number that our TCP port has on the internet, as far as is known.

        If the router has not mapped it, or another router is between that one and the
        internet, that is what peers see.
        """
        mapping = self._mapped.get((port, False))
        if mapping is None or not mapping.is_global:
            return self.outside.port(port)
        return mapping.outside.port

    def is_own(self, address: Address, port: int) -> bool:
        """Return True if our TCP port has this address on the internet.

        The DHT returns it as that of a peer. Behind most NATs it cannot be dialled.
        """
        host = self.outside.host
        return host == address.host and address.port == self.outside_port(port)

    def on_seen(self, peer: str, seen: Address, port: int) -> None:
        """Note the address at which a peer sees our TCP port."""
        before = self.outside_port(port)
        self.outside.on_peer(peer, seen, port)
        if self.outside_port(port) != before:
            self._announce_again(self.hosts())

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
        if self._map_timer is not None:
            self._map_timer.cancel()
        if self._mapper is not None:
            await self._mapper.aclose()

    def _on_change(self, interfaces: Sequence[Interface]) -> None:
        self.outside.clear()
        # A new connection to the same node would not be kept beside a dead one.
        if addresses := own_addresses():
            for _, hang_up in self._ports:
                hang_up(addresses)
        hosts = list(ANY_HOSTS)
        if self._settings.interfaces:
            hosts = [each.address for each in interfaces]
            for listen_on, _ in self._ports:
                listen_on(hosts)
        self._announce_again(hosts)
        if self._mapper is not None:
            self._mapper.restart()

    def _announce_again(self, hosts: Sequence[str]) -> None:
        for network in self._open or ():
            network.refresh(hosts)

    def _on_mapping(self) -> None:
        """Announce a port by the number that it has on the internet now."""
        before = self._mapped
        self._mapped = {(each.port, each.is_ipv6): each for each in self.mappings}
        for key, mapping in self._mapped.items():
            if before.get(key) != mapping:
                self._on_mapped(mapping)
        if _moved(before) != _moved(self._mapped):
            self._announce_again(self.hosts())

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
            from shoal.discovery.dht.dual import DualDht

            networks.append(
                DualDht(
                    settings.dht_bootstrap,
                    hosts=self.hosts(),
                    announced=self.outside_port,
                    on_seen=self.outside.on_node,
                )
            )
        return networks


def _moved(mapped: dict[tuple[int, bool], PortMapping]) -> dict[int, int]:
    """Return the ports that have another number on the internet, with that."""
    return {
        port: mapping.outside.port
        for (port, is_ipv6), mapping in mapped.items()
        if not is_ipv6 and port != mapping.outside.port
    }


async def _named(
    network: Discovery, topic: bytes
) -> AsyncGenerator[tuple[Address, str], None]:
    async for address in network.join(topic, None):
        yield address, network.name
