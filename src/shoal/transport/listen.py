"""Listen for peers, on one port of every allowed interface."""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Self, TypeVar

from shoal.core.session import Session
from shoal.errors import ForbiddenError, NetworkError
from shoal.transport.connection import Connection

__all__ = ["Listener", "bind_all"]

S = TypeVar("S", bound=Session)

BACKLOG = 256  # connections the system may hold ready
TRIES = 16  # free ports tried until one is free on every interface


class Listener:
    """Accept connections until closed; `port` is the same on every interface."""

    def __init__(self, port: int, servers: Sequence[asyncio.Server]) -> None:
        self.port = port
        self._servers = servers

    @classmethod
    async def open(
        cls,
        factory: Callable[[], Connection[S]],
        *,
        hosts: Sequence[str] = ("0.0.0.0",),
        port: int = 0,
    ) -> Self:
        """Listen at `port` of all `hosts`; 0 chooses a free one.

        Raises `NetworkError` when the port is taken or the host is not ours.
        """
        sockets, port = bind_all(hosts, port)
        loop = asyncio.get_running_loop()
        servers = [
            await loop.create_server(factory, sock=each, backlog=BACKLOG)
            for each in sockets
        ]
        return cls(port, servers)

    async def aclose(self) -> None:
        """Stop accepting; connections that stand are not touched."""
        for server in self._servers:
            server.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def bind_all(hosts: Sequence[str], port: int) -> tuple[list[socket.socket], int]:
    """Return one listening socket a host, all with one port, and that port.

    Raises `NetworkError` when the port is taken or the host is not ours.
    """
    for _ in range(TRIES):
        sockets: list[socket.socket] = []
        chosen = port
        try:
            for host in hosts:
                sockets.append(_bind_one(host, chosen))
                chosen = sockets[-1].getsockname()[1]
            return sockets, chosen
        except OSError as error:
            for each in sockets:
                each.close()
            if port or error.errno != errno.EADDRINUSE:
                raise _explain(error, hosts, port) from error
    raise NetworkError("No port is free on every interface; give one with --port.")


def _bind_one(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # A port whose last connections still linger may be taken again at once.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        # Only listening shows whether somebody else listens there.
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _explain(
    error: OSError, hosts: Sequence[str], port: int
) -> NetworkError | ForbiddenError:
    if error.errno == errno.EADDRINUSE:
        return NetworkError(
            f"Port {port} is in use; choose another with --port, or leave it out."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ForbiddenError(
            f"Port {port} may not be opened by this user; choose one above 1023."
        )
    return NetworkError(
        f"Cannot listen on {', '.join(hosts)}: {error.strerror}; "
        "check SHOAL_INTERFACES."
    )
