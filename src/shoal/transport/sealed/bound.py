"""Connect from the port that this node listens on.

A NAT lets packets in that come from where a machine has sent some to, at the port that
it has sent them from. So a node dials peers on the internet from its listening port. If
both ends do, a SYN of one finds the way that a SYN of the other has opened. A socket
waits long enough for both to be looking at the same time (docs/protocol.md,
"Simultaneous open").
"""

import asyncio
import errno
import os
import socket

from shoal.core.names.address import Address
from shoal.net.socket_names import family_of, name_of

__all__ = ["can_share", "connect_from", "share_port"]

# The port has a connection to this address, lingering ones included; another program
# listens on it; or the system does not let sockets share it.
_TAKEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EINVAL)

can_share = os.name == "posix" and hasattr(socket, "SO_REUSEPORT")
"""Whether sockets that dial can have the port of one that listens."""


def share_port(listening: socket.socket) -> None:
    """Let sockets of this user dial from the port of a listening socket.

    The option is set once the socket listens: before, it would let a second node listen
    on the same port.
    """
    if can_share:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


async def connect_from(port: int, address: Address) -> socket.socket:
    """Return a socket that is connected to an IP address, if possible from `port`.

    From another port if that one has a connection to the address already, or had one
    until recently. Raises `OSError` if the address cannot be reached.
    """
    if can_share:
        try:
            return await _connect(port, address)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
    return await _connect(0, address)


async def _connect(port: int, address: Address) -> socket.socket:
    family = family_of(address.host)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("", port))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, name_of(address.host, address.port))
    except BaseException:
        sock.close()
        raise
    return sock
