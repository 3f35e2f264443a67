"""By which host names requests may address the gateway.

A malicious web page can make its own host name resolve to this machine (DNS rebinding)
and would then read the gateway as part of its own origin. So a request is answered only
if its `Host` is one of the gateway's own names. An IP address cannot be rebound.
"""

import ipaddress
import re
from collections.abc import Sequence

from msgspec import Struct

from shoal.core.names.http_endpoint import HttpEndpoint
from shoal.gateway.endpoint import HTTP_PORT, LOOPBACK, format_host

__all__ = ["AllowedHosts", "allowed_hosts"]

_ADDRESS = re.compile(r"(\[[0-9a-f:.]+\]|[0-9.]+)(?::([0-9]{1,5}))?")


class AllowedHosts(Struct, frozen=True):
    """Hold the gateway's own host names."""

    names: frozenset[str]
    """Each in lower case and with its port."""
    address_port: int | None
    """If set, every IP address with this port is allowed too."""
    described: str
    """The names in words. A rebound page may read this, so it has no name that the
    page cannot know: not the one that the user gave."""

    def allows(self, lines: Sequence[str]) -> bool:
        """Return True if a request with these `Host` headers is for this gateway."""
        if len(lines) != 1:
            return False
        name = lines[0].strip(" \t").lower()
        if name in self.names:
            return True
        return self.address_port is not None and self._is_address(name)

    def _is_address(self, name: str) -> bool:
        match = _ADDRESS.fullmatch(name)
        if match is None or int(match[2] or HTTP_PORT) != self.address_port:
            return False
        try:
            ipaddress.ip_address(match[1].strip("[]"))
        except ValueError:
            return False
        return (":" in match[1]) == match[1].startswith("[")


def allowed_hosts(endpoint: HttpEndpoint, port: int) -> AllowedHosts:
    """Return the names of a gateway that listens at `endpoint`, on `port`."""
    own = ("localhost", *LOOPBACK)
    described = [format_host(name, port) for name in own]
    if endpoint.is_wildcard:
        described.append(f"any IP address with port {port}")
    elif endpoint.host:
        described.append("the HOST of --http HOST:PORT")
    names = set(own)
    if endpoint.host:
        names.add(endpoint.host.lower())
    known = {format_host(name, port) for name in names}
    if port == HTTP_PORT:
        known |= {f"{each}:{port}" for each in known}
    return AllowedHosts(
        frozenset(known),
        port if endpoint.is_wildcard else None,
        f"{', '.join(described[:-1])} or {described[-1]}",
    )
