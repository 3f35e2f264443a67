"""Bind one TCP port on several addresses of this machine."""

import errno
import os
import socket
from collections.abc import Sequence

__all__ = ["BACKLOG", "bind_port"]

TRIES = 16  # free ports tried until one is free on every address
BACKLOG = 256  # connections the system may hold ready
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # this machine lacks the address


def bind_port(
    hosts: Sequence[str], port: int, *, skip_absent: bool = False
) -> list[socket.socket]:
    """Return one non-blocking listening socket per host, all on the same port.

    `hosts` are IPv4 or IPv6 addresses. Port 0 chooses one that is free on all of
    them. With `skip_absent`, addresses that this machine does not have are left out
    while at least one remains. Raises `OSError`.
    """
    for _ in range(0 if port else TRIES - 1):
        try:
            return _bind_all(hosts, port, skip_absent=skip_absent)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _bind_all(hosts, port, skip_absent=skip_absent)


def _bind_all(
    hosts: Sequence[str], port: int, *, skip_absent: bool
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for host in hosts:
            try:
                sockets.append(_listen(host, port))
            except OSError as error:
                if not skip_absent or error.errno not in _ABSENT:
                    raise
                absent = error
            else:
                port = sockets[-1].getsockname()[1]
        if absent is not None and not sockets:
            raise absent
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # A port with lingering connections can be bound again at once. On
            # Windows the option would let two programs have the same port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` accepts both kinds of addresses.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        sock.bind((host, port))
        # Only listening shows whether another program listens on the port.
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
