"""The sockets of the gateway, and how its address is written in a URL."""

import os
import socket
from collections.abc import Sequence

from shoal.core.names.http_endpoint import HttpEndpoint
from shoal.errors import NetworkError
from shoal.net.ports import bind_port
from shoal.net.resolver import look_up

__all__ = ["HTTP_PORT", "LOOPBACK", "format_host", "open_sockets"]

LOOPBACK = ("127.0.0.1", "::1")
"""The default addresses to listen on."""
HTTP_PORT = 80
"""The default port, which clients omit."""


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
