"""Listen for peers on one port of every allowed interface.

asyncio's own server logs and then sleeps for a second when the process has no file
descriptor left, and it uses the last one. The accept loop here reserves some
descriptors for files, ends half-open connections when the system runs short, and
neither spins nor stops.
"""

import asyncio
import errno
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self

from shoal.errors import ForbiddenError, NetworkError
from shoal.net.ports import bind_port

__all__ = ["Listener", "accept_forever", "bind_all", "file_limit"]

ACCEPT_PAUSE = 0.1  # seconds without accepting when the system has no room
EMERGENCY = 16  # connections to end when no descriptor is left
RESERVED_FILES = 32  # file descriptors reserved for files, at most a quarter of all
_UNLIMITED = 1 << 20  # file descriptors, where the system has no limit
# The client went away, or a signal came: accept the next one.
_TRANSIENT = (errno.ECONNABORTED, errno.EINTR, errno.EPROTO)


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
        """Listen at `port` of all `hosts`; port 0 chooses a free one.

        `make_room` is called when the system has no room for more connections: it
        ends up to that many and returns how many it ended. Raises `NetworkError` or
        `ForbiddenError` as `bind_all` does.
        """
        sockets, port = bind_all(hosts, port)
        return cls(sockets, port, factory, make_room)

    async def aclose(self) -> None:
        """Stop accepting; established connections stay open."""
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
            # A task cancelled before its first step has closed nothing.
            if task.cancelled():
                accepted.close()

        self._run(self._connect(accepted)).add_done_callback(on_done)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, accepted)
        except OSError:
            accepted.close()  # the client has gone already

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


async def accept_forever(
    listening: socket.socket,
    on_accepted: Callable[[socket.socket, Any], None],
    make_room: Callable[[int], int],
) -> None:
    """Pass every accepted connection, and its address, to `on_accepted`.

    `make_room` ends up to that many dispensable connections, returns how many it
    ended, and admits no more than remain until the shortage is over. Runs until
    cancelled; `listening` stays open.
    """
    while True:
        try:
            accepted, address = await _accept(listening)
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno not in _TRANSIENT:
                make_room(EMERGENCY)
                await asyncio.sleep(ACCEPT_PAUSE)
            continue
        # The system assigns the lowest free descriptor.
        reserve = min(RESERVED_FILES, file_limit() // 4)
        if accepted.fileno() >= file_limit() - reserve and not make_room(1):
            accepted.close()
        else:
            on_accepted(accepted, address)
        # Accepting a queued connection does not wait, so let other tasks run.
        await asyncio.sleep(0)


async def _accept(listening: socket.socket) -> tuple[socket.socket, Any]:
    """Accept one connection; raises `OSError`.

    Waiting and accepting are separate steps: a task cancelled while it waits holds
    no connection that nothing would close.
    """
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        return await loop.sock_accept(listening)
    ready = asyncio.Event()
    loop.add_reader(listening, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(listening)
    accepted, address = listening.accept()
    accepted.setblocking(False)
    return accepted, address


def file_limit() -> int:
    """Return how many file descriptors this process may have."""
    if sys.platform == "win32":
        return _UNLIMITED
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def bind_all(hosts: Sequence[str], port: int) -> tuple[list[socket.socket], int]:
    """Return one listening socket per host, all on one port, and that port.

    Raises `NetworkError` when the port is taken or this machine does not have a host's
    address, `ForbiddenError` when this user may not open the port.
    """
    try:
        sockets = bind_port(hosts, port)
    except OSError as error:
        raise _explain(error, hosts, port) from error
    return sockets, sockets[0].getsockname()[1]


def _explain(
    error: OSError, hosts: Sequence[str], port: int
) -> NetworkError | ForbiddenError:
    if error.errno == errno.EADDRINUSE and not port:
        return NetworkError("No port is free on every interface; give one with --port.")
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
