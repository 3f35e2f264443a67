"""Bind one TCP port on several addresses of this machine."""

import errno
import os
import socket
from collections.abc import Sequence

from shoal.net.socket_names import family_of, name_of

__all__ = ["BACKLOG", "bind_port"]

TRIES = 16  # free ports tried until one is free on every address
BACKLOG = 256  # connections the system may hold ready
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # this machine lacks the address


def bind_port(
    hosts: Sequence[str], port: int, *, is_dual: bool = False
) -> dict[str, socket.socket]:
    """Return one non-blocking listening socket per host, all on the same port.

    `hosts` are IP addresses. Port 0 chooses one that is free on all of them. Addresses
    that this machine does not have are left out while at least one remains: a system
    may lack IPv6, and an interface may have lost its address. With `is_dual`, `::`
    accepts IPv4 as well. Raises `OSError`.
    """
    for _ in range(0 if port else TRIES - 1):
        try:
            return _bind_all(hosts, port, is_dual=is_dual)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _bind_all(hosts, port, is_dual=is_dual)


def _bind_all(
    hosts: Sequence[str], port: int, *, is_dual: bool
) -> dict[str, socket.socket]:
    sockets: dict[str, socket.socket] = {}
    absent: OSError | None = None
    try:
        for host in hosts:
            try:
                sockets[host] = _listen(host, port, is_dual=is_dual)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
            else:
                port = sockets[host].getsockname()[1]
        if absent is not None and not sockets:
            raise absent
    except OSError:
        for each in sockets.values():
            each.close()
        raise
    return sockets


def _listen(host: str, port: int, *, is_dual: bool) -> socket.socket:
    family = family_of(host)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # A port with lingering connections can be bound again at once. On
            # Windows the option would let two programs have the same port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_dual)
        sock.bind(name_of(host, port))
        # Only listening shows whether another program listens on the port.
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
