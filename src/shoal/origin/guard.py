"""Which machines an origin may be on that somebody else named.

A link comes from anybody, and a server redirects to where it likes. Neither may point
this machine at what only it can reach: itself, the networks it is on, the metadata of
a cloud. Checked is the address that is about to be connected to, not its name.
"""

import asyncio
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from shoal.config.settings import Settings
from shoal.core.names.address_scope import MIN_PORT, Scope, scope_of
from shoal.errors import PeerError
from shoal.net.interfaces import list_interfaces

__all__ = ["Guard"]

WEB_PORTS = frozenset((80, 443))
HOW_TO_ASK = "name it yourself with --origin to ask it"


class Guard(AbstractResolver):
    """Resolve names, less the addresses that may not be asked."""

    def __init__(self, settings: Settings, named_host: str | None) -> None:
        """Let everything through of `named_host`, which the user named."""
        self._settings = settings
        self._named_host = named_host

    def check(self, host: str, port: int) -> None:
        """Raise `PeerError` for what may not be asked, as far as can be told by name.

        A name is looked up only when it is connected to.
        """
        if host == self._named_host:
            return
        if port not in WEB_PORTS and port < MIN_PORT:
            raise PeerError(f"port {port} is not one of a web server")
        is_address = ":" in host or host.replace(".", "").isdigit()
        if is_address and not self._allows(host):
            raise PeerError(f"{host} is not on the internet; {HOW_TO_ASK}")
        if not is_address and self._is_confined:
            raise PeerError(f"no name is looked up on these networks; {HOW_TO_ASK}")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name that may be connected to.

        Raises `OSError` when there is none, as aiohttp expects of a resolver.
        """
        is_named = host == self._named_host
        found = await asyncio.get_running_loop().getaddrinfo(
            host,
            port,
            family=socket.AF_UNSPEC if is_named else socket.AF_INET,
            type=socket.SOCK_STREAM,
        )
        results = [
            ResolveResult(
                hostname=host,
                host=str(each[4][0]),
                port=port,
                family=each[0],
                proto=each[2],
                flags=socket.AI_NUMERICHOST,
            )
            for each in found
            if is_named or self._allows(str(each[4][0]))
        ]
        if not results:
            raise OSError(f"{host} is not on the internet; {HOW_TO_ASK}")
        return results

    async def close(self) -> None:
        """Do nothing: nothing is open."""

    @property
    def _is_confined(self) -> bool:
        return self._settings.lan_only or bool(self._settings.interfaces)

    def _allows(self, host: str) -> bool:
        scope = scope_of(host)
        if scope is Scope.NONE:
            return False
        if scope is not Scope.GLOBAL and not self._settings.interfaces:
            return False
        if not self._is_confined:
            return True
        networks = list_interfaces(self._settings.interfaces)
        return any(each.is_on_subnet(host) for each in networks)
