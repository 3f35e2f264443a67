"""The sockets that the gateway listens on: one for each address, all of one port."""

import asyncio
import os
import socket
from collections.abc import Sequence

from shoal.errors import NetworkError
from shoal.gateway.hosts import LOOPBACK, Endpoint, format_host
from shoal.net.ports import bind_port

__all__ = ["open_sockets"]


async def open_sockets(endpoint: Endpoint) -> Sequence[socket.socket]:
    """Return sockets that listen at an endpoint, all on the same port.

    Raises `NetworkError` when that cannot be.
    """
    hosts = LOOPBACK if not endpoint.host else await _resolve(endpoint)
    try:
        return bind_port(hosts, endpoint.port, skip_absent=True)
    except OSError as error:
        where = format_host(endpoint.host or LOOPBACK[0], endpoint.port)
        raise NetworkError(
            f"Nothing can listen at {where}: {os.strerror(error.errno or 0)}. "
            "Name another HOST:PORT with --http."
        ) from error


async def _resolve(endpoint: Endpoint) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise NetworkError(
            f"There is no address of {endpoint.host}; name another one with --http."
        ) from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))
