"""Where the gateway listens: `HOST:PORT` as the user writes it, and its sockets."""

import ipaddress
import os
import re
import socket
from collections.abc import Sequence

from msgspec import Struct

from shoal.errors import NetworkError, UsageError
from shoal.net.ports import bind_port
from shoal.net.resolver import look_up

__all__ = [
    "HTTP_PORT",
    "LOOPBACK",
    "HttpEndpoint",
    "format_host",
    "open_sockets",
    "parse_endpoint",
]

LOOPBACK = ("127.0.0.1", "::1")
"""The default addresses to listen on."""
HTTP_PORT = 80
"""The default port, which clients omit."""
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
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


async def open_sockets(endpoint: HttpEndpoint) -> Sequence[socket.socket]:
    """Return a listening socket for each address of an endpoint, all on one port.

    Raises `NetworkError` if the endpoint cannot be bound.
    """
    hosts = LOOPBACK if not endpoint.host else await _resolve(endpoint)
    try:
        return list(bind_port(hosts, endpoint.port, is_dual=True).values())
    except OSError as error:
        where = format_host(endpoint.host or LOOPBACK[0], endpoint.port)
        raise NetworkError(
            f"Cannot listen at {where}: {os.strerror(error.errno or 0)}. "
            "Name another HOST:PORT with --http."
        ) from error


async def _resolve(endpoint: HttpEndpoint) -> Sequence[str]:
    try:
        found = await look_up(endpoint.host, endpoint.port)
    except (OSError, UnicodeError) as error:
        raise NetworkError(
            f"{endpoint.host} has no address; name another host with --http."
        ) from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))
