"""Where the gateway listens, and by which host names requests may address it.

A malicious web page can make its own host name resolve to this machine (DNS rebinding)
and would then read the gateway as part of its own origin. So a request is answered only
if its `Host` is one of the gateway's own names. An IP address cannot be rebound.
"""

import asyncio
import ipaddress
import os
import re
import socket
from collections.abc import Sequence

from msgspec import Struct

from shoal.errors import NetworkError, UsageError
from shoal.net.ports import bind_port

__all__ = [
    "LOOPBACK",
    "AllowedHosts",
    "HttpEndpoint",
    "allowed_hosts",
    "format_host",
    "open_sockets",
    "parse_endpoint",
]

LOOPBACK = ("127.0.0.1", "::1")
"""The default addresses to listen on."""
HTTP_PORT = 80  # the default, which clients omit
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_ADDRESS = re.compile(r"(\[[0-9a-f:.]+\]|[0-9.]+)(?::([0-9]{1,5}))?")
_PORT = re.compile(r"[0-9]{1,5}")


class HttpEndpoint(Struct, frozen=True):
    """Hold the host and port to listen on."""

    host: str
    """A name or an address; empty for the IPv4 and the IPv6 loopback address."""
    port: int
    """A TCP port; 0 for any free one."""

    @property
    def is_wildcard(self) -> bool:
        """Return True if the endpoint covers every address of this machine."""
        return self.host in ("0.0.0.0", "::")

    @property
    def is_loopback(self) -> bool:
        """Return True if no other machine can reach the endpoint."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() in ("", "localhost")


def parse_endpoint(text: str) -> HttpEndpoint:
    """Parse `HOST:PORT`, `[IPV6]:PORT` or `:PORT`; raises `UsageError`."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        raise UsageError(
            f"{text[:80]!r} is not HOST:PORT; write it like 127.0.0.1:8080."
        )
    if host.startswith("[") and host.endswith("]"):
        try:
            return HttpEndpoint(str(ipaddress.IPv6Address(host[1:-1])), int(port))
        except ValueError:
            pass
    elif not host or _NAME.fullmatch(host):
        return HttpEndpoint(host, int(port))
    raise UsageError(
        f"{host[:80]!r} is not a host name; write an IPv6 address in brackets."
    )


def format_host(host: str, port: int) -> str:
    """Return `HOST:PORT` as it is written in a URL."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port == HTTP_PORT else f"{shown}:{port}"


# The names in requests.


class AllowedHosts(Struct, frozen=True):
    """Hold the gateway's own host names."""

    names: frozenset[str]
    """Each in lower case and with its port."""
    address_port: int | None
    """If set, every IP address with this port is allowed too."""

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
    names = {"localhost", *LOOPBACK}
    if endpoint.host:
        names.add(endpoint.host.lower())
    known = {format_host(name, port) for name in names}
    if port == HTTP_PORT:
        known |= {f"{each}:{port}" for each in known}
    return AllowedHosts(frozenset(known), port if endpoint.is_wildcard else None)


# The sockets to listen on.


async def open_sockets(endpoint: HttpEndpoint) -> Sequence[socket.socket]:
    """Return a listening socket for each address of an endpoint, all on one port.

    Raises `NetworkError` if the endpoint cannot be bound.
    """
    hosts = LOOPBACK if not endpoint.host else await _resolve(endpoint)
    try:
        return bind_port(hosts, endpoint.port, skip_absent=True)
    except OSError as error:
        where = format_host(endpoint.host or LOOPBACK[0], endpoint.port)
        raise NetworkError(
            f"Cannot listen at {where}: {os.strerror(error.errno or 0)}. "
            "Name another HOST:PORT with --http."
        ) from error


async def _resolve(endpoint: HttpEndpoint) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise NetworkError(
            f"{endpoint.host} has no address; name another host with --http."
        ) from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))
