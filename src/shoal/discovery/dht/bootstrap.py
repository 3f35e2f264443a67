"""Resolve the names of the DHT's bootstrap nodes to addresses.

The system's resolver blocks, so it runs in threads that nothing waits for at exit.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Sequence
from functools import partial

from shoal.core.names.address import Address
from shoal.errors import option
from shoal.net.resolver import call_in_daemon
from shoal.net.socket_names import family_of

__all__ = ["DEFAULT_BOOTSTRAP", "Bootstrap", "resolve_by_system"]

DEFAULT_BOOTSTRAP = (
    Address("router.bittorrent.com", 6881),
    Address("router.utorrent.com", 6881),
    Address("dht.transmissionbt.com", 6881),  # has IPv6 addresses, too
    Address("dht.libtorrent.org", 25401),  # the same
)

RESOLVE_TIMEOUT = 5.0  # seconds for all names together
RESOLVE_AGAIN = 300.0  # seconds that the resolver's answer is kept
MAX_ADDRESSES = 4  # taken from one name

Resolver = Callable[[str, socket.AddressFamily], list[str]]
"""Return the addresses of a name in one family; blocks, raises `OSError`."""


def resolve_by_system(host: str, family: socket.AddressFamily) -> list[str]:
    """Return the addresses of a name from the system's resolver."""
    found = socket.getaddrinfo(host, None, family, socket.SOCK_DGRAM)
    return [str(each[4][0]) for each in found]


class Bootstrap:
    """Resolve the bootstrap nodes of one address family and cache their addresses.

    Without `use_names`, names other than `localhost` are skipped: a node restricted
    to loopback cannot use them and must not query the network.
    """

    def __init__(
        self,
        nodes: Sequence[Address],
        *,
        use_names: bool = True,
        resolver: Resolver = resolve_by_system,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> None:
        self._nodes = tuple(
            node for node in nodes if _literal_family(node.host) in (None, family)
        )
        self._family = family
        self._use_names = use_names
        self._resolver = resolver
        self._cache: dict[str, tuple[float, list[str]]] = {}
        self._lock = asyncio.Lock()
        self.unresolved: tuple[str, ...] = ()
        """The names that the last call of `addresses` could not resolve."""

    async def addresses(self) -> list[Address]:
        """Return the addresses of all nodes whose names resolve; raises nothing."""
        async with self._lock:
            names = list(dict.fromkeys(node.host for node in self._nodes))
            found = dict(
                zip(names, await asyncio.gather(*map(self._find, names)), strict=True)
            )
        self.unresolved = tuple(name for name in names if not found[name])
        return [
            Address(host, node.port)
            for node in self._nodes
            for host in found[node.host]
        ]

    def problem(self, tried: int, send_error: OSError | None) -> str:
        """Return a sentence on why none of the `tried` addresses has answered."""
        missing = ", ".join(self.unresolved)
        if not tried:
            what = f"No DHT node can be reached (no address for {missing or 'any'})"
        else:
            what = f"No DHT node answered (tried {tried}"
            what += f"; no address for {missing})" if missing else ")"
            if send_error is not None:
                what += f": {send_error}"
        return (
            f"{what}; check the network, or name another node with "
            f"{option('--dht-bootstrap', 'HOST:PORT')}. Trying again."
        )

    async def _find(self, name: str) -> list[str]:
        if _literal_family(name) is not None:
            return [name]
        if name == "localhost":
            return ["::1" if self._family == socket.AF_INET6 else "127.0.0.1"]
        if not self._use_names:
            return []
        now = asyncio.get_running_loop().time()
        resolved_at, hosts = self._cache.get(name, (0.0, []))
        if not hosts or now > resolved_at + RESOLVE_AGAIN:
            with contextlib.suppress(OSError, ValueError):
                resolve = partial(self._resolver, name, self._family)
                async with asyncio.timeout(RESOLVE_TIMEOUT):
                    hosts = (await call_in_daemon(resolve, name))[:MAX_ADDRESSES]
                self._cache[name] = (now, hosts)
        return hosts


def _literal_family(host: str) -> socket.AddressFamily | None:
    """Return the family of an IP address; None for a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return family_of(host)
