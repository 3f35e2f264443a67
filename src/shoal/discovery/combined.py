"""All discoveries of a node, combined: LAN, DHT and the addresses the user named.

`Networks` makes them when they are first needed, so that a node which only dials
`--peer` opens no socket for discovery and imports no module for it. Once a port
listens, it also watches the addresses of this machine, and has the router map a port
that peers dial.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from shoal.config.settings import Settings
from shoal.core.limits import LeakyBucket
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.outside import Outside
from shoal.core.report.stall import Search
from shoal.core.report.status import PortMapping
from shoal.discovery.base import Discovery
from shoal.net.interfaces import Interface, list_interfaces, own_addresses
from shoal.net.socket_names import ANY_HOSTS
from shoal.transport.datagrams import can_batch

if TYPE_CHECKING:
    from shoal.discovery.dht.dual import DualDht
    from shoal.discovery.udp import Divert
    from shoal.mapping.mapper import Mapper
    from shoal.transport.sealed.port import Port

__all__ = ["HangUp", "ListenOn", "Networks"]

# A shorter download needs no mapped port, and then imports no module for it.
MAP_DELAY = 0.5  # seconds until the router is asked to map a port
# Others tell us our port, and each change has every share announced, so they are paced.
PORT_CHANGES = 3  # that are announced at once
PORT_PERIOD = 60.0  # seconds until one more is

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
        self._port_changes = LeakyBucket(1 / PORT_PERIOD)
        self._port_timer: asyncio.TimerHandle | None = None
        self._mapper: Mapper | None = None
        self._mapped: dict[tuple[int, bool], PortMapping] = {}  # by port, and if IPv6
        self._open: list[Discovery] | None = None
        self._dht: DualDht | None = None
        self._shared_udp: tuple[int, Divert] | None = None
        self._own: frozenset[str] | None = None  # addresses of this machine
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
        """Return the number that our port has on the internet, as far as is known.

        If the router has not mapped it, or another router is between that one and the
        internet, that is what peers see; but behind a NAT that changes ports, that of
        the UDP socket, if peers can be dialled by UDP.
        """
        mapping = self._mapped.get((port, False))
        if mapping is not None and mapping.is_global:
            return mapping.outside.port
        changed = None
        if self._shared_udp is not None and self._shared_udp[0] == port:
            changed = self.outside.changed_port(self._own_addresses())
        return self.outside.port(port) if changed is None else changed

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
            self._announce_port()

    @property
    def can_use_udp(self) -> bool:
        """Return True if peers can be dialled by QUIC: that needs the package qh3."""
        is_installed = can_batch and find_spec("qh3") is not None
        return is_installed and not self._settings.lan_only

    def lend_udp(self, port: "Port") -> None:
        """Have a port dial and accept peers by UDP as well, if that is possible."""
        if self.can_use_udp:
            self.share_udp(port.port, port.use_udp(self.send_udp, self.is_changing))

    def share_udp(self, port: int, divert: "Divert") -> None:
        """Let `divert` have what it wants of the datagrams to the DHT's sockets.

        These have the same number as our TCP `port`, if it is free.
        """
        self._shared_udp = port, divert
        if self._dht is not None:
            self._dht.share_udp(port, divert)

    def send_udp(self, datagrams: list[bytes], address: Address) -> None:
        """Send datagrams from the DHT's sockets; drop them if these are closed."""
        if self._dht is not None:
            self._dht.send_udp(datagrams, address)

    def is_changing(self) -> bool:
        """Return True if our NAT is known to change ports, to the same for everyone."""
        return self.outside.changed_port(self._own_addresses()) is not None

    def _own_addresses(self) -> frozenset[str]:
        if self._own is None:
            self._own = own_addresses()
        return self._own

    def _on_node(self, node: str, seen: Address, port: int) -> None:
        """Note the address at which a node of the DHT sees our UDP port."""
        ours = 0 if self._shared_udp is None else self._shared_udp[0]
        before = self.outside_port(ours)
        self.outside.on_node(node, seen, port)
        if self.outside_port(ours) != before:
            self._announce_port()

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
        for timer in (self._map_timer, self._port_timer):
            if timer is not None:
                timer.cancel()
        if self._mapper is not None:
            await self._mapper.aclose()

    def _on_change(self, interfaces: Sequence[Interface]) -> None:
        self.outside.clear()
        self._own = None
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

    def _announce_port(self) -> None:
        """Announce all again, now or later: others say that our port has changed."""
        if self._port_timer is not None:
            return
        loop = asyncio.get_running_loop()
        self._port_changes.leak(loop.time())
        wait = self._port_changes.seconds_above(PORT_CHANGES - 1)
        if wait:
            self._port_timer = loop.call_later(wait, self._on_port_time)
        else:
            self._on_port_time()

    def _on_port_time(self) -> None:
        self._port_timer = None
        self._port_changes.level += 1
        self._announce_again(self.hosts())

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

            self._dht = DualDht(
                settings.dht_bootstrap,
                hosts=self.hosts(),
                announced=self.outside_port,
                on_seen=self._on_node,
            )
            if self._shared_udp is not None:
                self._dht.share_udp(*self._shared_udp)
            networks.append(self._dht)
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
