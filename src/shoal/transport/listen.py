"""Listen for peers, on one port of every allowed interface."""

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self

from shoal.errors import ForbiddenError, NetworkError
from shoal.transport.accept import accept_forever

__all__ = ["Listener", "bind_all"]

BACKLOG = 256  # connections the system may hold ready
TRIES = 16  # free ports tried until one is free on every interface


class Listener:
    """Accept connections until closed; `port` is the same on every interface."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        port: int,
        factory: Callable[[], asyncio.BufferedProtocol],
        make_room: Callable[[int], int],
    ) -> None:
        """Take over `sockets`, which listen at `port`; use `open`."""
        self.port = port
        self._sockets = sockets
        self._factory = factory
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        for each in sockets:
            each.setblocking(False)
            self._run(accept_forever(each, self._on_accepted, make_room))

    @classmethod
    async def open(
        cls,
        factory: Callable[[], asyncio.BufferedProtocol],
        *,
        hosts: Sequence[str] = ("0.0.0.0",),
        port: int = 0,
        make_room: Callable[[int], int] = lambda count: 0,
    ) -> Self:
        """Listen at `port` of all `hosts`; 0 chooses a free one.

        `make_room` ends up to so many connections when the system has no room for
        more, and says how many. Raises `NetworkError` when the port is taken or the
        host is not ours.
        """
        sockets, port = bind_all(hosts, port)
        return cls(sockets, port, factory, make_room)

    async def aclose(self) -> None:
        """Stop accepting; connections that stand are not touched."""
        for task in self._tasks:
            task.cancel()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for each in self._sockets:
                each.close()

    def _on_accepted(self, accepted: socket.socket, address: Any) -> None:
        def on_done(task: asyncio.Task[None]) -> None:
            # One that is cancelled before its first step has closed nothing.
            if task.cancelled():
                accepted.close()

        self._run(self._connect(accepted)).add_done_callback(on_done)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, accepted)
        except OSError:
            accepted.close()  # it has gone already

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that ends with the listener at the latest."""
        task = self._loop.create_task(work, name="shoal listener")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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
