"""The sockets that the gateway listens on: one for each address, all of one port."""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence

from shoal.errors import NetworkError
from shoal.gateway.hosts import LOOPBACK, Endpoint, format_host

__all__ = ["open_sockets"]

ATTEMPTS = 16  # at finding a port that is free for every address
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # there is no such address here


async def open_sockets(endpoint: Endpoint) -> Sequence[socket.socket]:
    """Return sockets that are bound to an endpoint, all to the same port.

    Raises `NetworkError` when that cannot be.
    """
    hosts = LOOPBACK if not endpoint.host else await _resolve(endpoint)
    for attempt in range(ATTEMPTS):
        try:
            return _bind(hosts, endpoint.port)
        except OSError as error:
            is_last = attempt == ATTEMPTS - 1
            if endpoint.port or error.errno != errno.EADDRINUSE or is_last:
                where = format_host(endpoint.host or LOOPBACK[0], endpoint.port)
                raise NetworkError(
                    f"Nothing can listen at {where}: {os.strerror(error.errno or 0)}. "
                    "Name another HOST:PORT with --http."
                ) from error
    raise AssertionError("the last attempt returns or raises")


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


def _bind(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Bind to each host that there is; raises `OSError`."""
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for host in hosts:
            try:
                sockets.append(_open(host, port))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
                continue
            port = sockets[-1].getsockname()[1]
        if not sockets and absent is not None:
            raise absent
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _open(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # Elsewhere this would let two programs have one port.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` means both kinds of addresses.
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        opened.bind((host, port))
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened
