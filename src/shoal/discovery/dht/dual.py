"""Both networks of the DHT: that of the IPv4 addresses and that of the IPv6 addresses.

They are searched and announced to at the same time, and each names nodes of the other
where that knows few (BEP 32).
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.report.units import format_count
from shoal.discovery.base import AddressQueue
from shoal.discovery.dht.bootstrap import DEFAULT_BOOTSTRAP
from shoal.discovery.dht.client import DhtDiscovery
from shoal.discovery.dht.search import MAX_WAITING
from shoal.net.interfaces import list_interfaces
from shoal.net.socket_names import ANY_HOSTS, family_of

__all__ = ["DualDht", "usable_hosts"]


class DualDht:
    """Find and announce peers in both networks of the DHT.

    `hosts` are the addresses of this machine that may be used. `options` are those of
    `DhtDiscovery`.
    """

    name = "dht"

    def __init__(
        self,
        bootstrap: Sequence[Address] = (),
        *,
        hosts: Sequence[str] = ANY_HOSTS,
        announced: Callable[[int], int] = lambda port: port,
        **options: Any,
    ) -> None:
        """Use the public bootstrap nodes unless others are named.

        `announced` returns the number that a port of ours has at our router; IPv6
        addresses are not translated.
        """
        self._hosts = tuple(hosts)
        self._is_named = _names_ipv6(bootstrap)
        nodes = bootstrap or DEFAULT_BOOTSTRAP
        ipv4 = DhtDiscovery(
            nodes,
            bind=_best(hosts, ANY_HOSTS[0]),
            is_usable=lambda: _may_use(self._hosts, ANY_HOSTS[0], self._is_named),
            announced=announced,
            **options,
        )
        ipv6 = DhtDiscovery(
            nodes,
            bind=_best(hosts, ANY_HOSTS[1]),
            is_usable=lambda: _may_use(self._hosts, ANY_HOSTS[1], self._is_named),
            **options,
        )
        ipv4.sibling, ipv6.sibling = ipv6, ipv4
        ipv6.locks = ipv4.locks
        self._clients = ipv4, ipv6

    @property
    def problem(self) -> str | None:
        """A sentence for the user on what fails; None while nodes of one answer."""
        problems = [each.problem for each in self._clients if each.is_usable()]
        return None if None in problems else next(iter(problems), None)

    @property
    def reach(self) -> str:
        """Describe how many nodes answered in the latest lookups."""
        answered = sum(each.answered for each in self._clients)
        return f"the DHT ({format_count(answered, 'node')} answered)"

    def join(
        self,
        topic: bytes,
        port: int | None,
        *,
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> AsyncGenerator[Address, None]:
        """Yield the topic's peers; with a `port`, announce it meanwhile.

        Raises `UsageError` for an invalid topic or port.
        """
        return _merged(
            [each.join(topic, port, is_awaited=is_awaited) for each in self._clients]
        )

    def refresh(self, hosts: Sequence[str]) -> None:
        """Send from some of `hosts`; look up and announce every topic at once."""
        self._hosts = tuple(hosts)
        for client, any_host in zip(self._clients, ANY_HOSTS, strict=True):
            client.refresh([_best(hosts, any_host)])

    async def aclose(self) -> None:
        """Stop announcing, end all iterators, close the sockets; idempotent."""
        for each in self._clients:
            await each.aclose()


def usable_hosts(hosts: Sequence[str], bootstrap: Iterable[Address]) -> list[str]:
    """Return the address to send from for each network that this machine can use."""
    is_named = _names_ipv6(bootstrap)
    return [_best(hosts, each) for each in ANY_HOSTS if _may_use(hosts, each, is_named)]


def _names_ipv6(bootstrap: Iterable[Address]) -> bool:
    return any(":" in each.host for each in bootstrap)


def _may_use(hosts: Iterable[str], any_host: str, is_named: bool) -> bool:
    """Return True if this machine has an address that a node can answer.

    The IPv6 nodes of the internet reach global addresses only. Those that the user has
    named by their addresses, as `is_named` tells, may be on any network.
    """
    family = family_of(any_host)
    ours = [host for host in hosts if family_of(host) == family]
    if not ours or is_named or family == socket.AF_INET:
        return bool(ours)
    if any_host in ours:
        try:
            ours = [each.address for each in list_interfaces() if each.is_ipv6]
        except OSError:
            return True  # the system does not list its addresses
    return any(scope_of(host) is Scope.GLOBAL for host in ours)


def _best(hosts: Iterable[str], any_host: str) -> str:
    """Return the host to send from, of the same family as `any_host`, or that one.

    From a link-local address only one network can be reached.
    """
    family = family_of(any_host)
    ours = [host for host in hosts if family_of(host) == family]
    if family == socket.AF_INET6:
        rank = [Scope.NONE, Scope.GLOBAL, Scope.PRIVATE, Scope.LOOPBACK, Scope.LINK]
        ours.sort(key=lambda host: rank.index(scope_of(host)))
    return next(iter(ours), any_host)


async def _merged(
    found: Sequence[AsyncGenerator[Address, None]],
) -> AsyncGenerator[Address, None]:
    """Yield what several iterators yield, until all have ended."""
    queue = AddressQueue(MAX_WAITING)

    async def forward(addresses: AsyncGenerator[Address, None]) -> None:
        try:
            async for address in addresses:
                queue.put((address,))
        finally:
            await addresses.aclose()

    tasks = [asyncio.create_task(forward(each), name="dht join") for each in found]
    joined = asyncio.gather(*tasks, return_exceptions=True)
    joined.add_done_callback(lambda _: queue.close())
    try:
        while (address := await queue.get()) is not None:
            yield address
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
