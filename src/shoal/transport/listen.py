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
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from shoal.errors import ForbiddenError, NetworkError, option
from shoal.net.ports import BACKLOG, bind_port
from shoal.net.socket_names import host_of

__all__ = ["Listener", "PortListener", "bind_all", "file_limit"]

C = TypeVar("C")

ACCEPT_PAUSE = 0.1  # seconds without accepting when the system has no room
EMERGENCY = 16  # connections to end when no descriptor is left
RESERVED_FILES = 32  # file descriptors reserved for files, at most a quarter of all
_UNLIMITED = 1 << 20  # file descriptors, where the system has no limit
# The client went away, or a signal came: accept the next one.
_TRANSIENT = (errno.ECONNABORTED, errno.EINTR, errno.EPROTO)


class PortListener(ABC, Generic[C]):
    """Accept connections at one port until closed; the tasks end with the listener.

    A subclass says what to do with an accepted connection, for which it keeps a `C`.
    """

    backlog = BACKLOG
    """How many connections the system may hold ready."""

    def __init__(self, hosts: Sequence[str], port: int) -> None:
        """Listen at `port` of all `hosts`; raise as `bind_all` does."""
        sockets = bind_all(hosts, port)
        self.port = next(iter(sockets.values())).getsockname()[1]
        self._loop = asyncio.get_running_loop()
        self._accepting: dict[str, asyncio.Task[None]] = {}
        self._tasks: dict[asyncio.Task[None], C | None] = {}
        # One callback object for all tasks: a flood gets no more memory.
        self._on_done = self._forget_task
        for host, listening in sockets.items():
            self._accept_at(host, listening)

    @abstractmethod
    def _on_accepted(self, accepted: socket.socket, host: str) -> None:
        """Take over a connection from a host."""

    @abstractmethod
    def _make_room(self, count: int) -> int:
        """End up to `count` dispensable connections; return how many were ended.

        Admit no more than remain until the system has room again.
        """

    @abstractmethod
    def _on_task_done(self, task: asyncio.Task[None], connection: C) -> None:
        """Close the connection that a task was started for if it still has to be."""

    def listen_on(self, hosts: Sequence[str]) -> None:
        """Listen on these addresses from now on, and on no others.

        An address on which the port cannot be opened is left out until the next call.
        """
        for gone in self._accepting.keys() - hosts:
            self._accepting.pop(gone).cancel()
        for host in hosts:
            if host not in self._accepting:
                with suppress(OSError):
                    self._accept_at(host, bind_port([host], self.port)[host])

    async def aclose(self) -> None:
        """Stop accepting; established connections stay open. Idempotent."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept_at(self, host: str, listening: socket.socket) -> None:
        self._accepting[host] = self._accept(listening)

    def _accept(self, listening: socket.socket) -> asyncio.Task[None]:
        """Accept connections of a socket until the returned task is cancelled."""
        listening.listen(self.backlog)
        task = self._run(self._accept_from(listening), None)
        # A task cancelled before its first step would close nothing.
        task.add_done_callback(lambda _: listening.close())
        return task

    def _run(
        self, work: Coroutine[Any, Any, None], connection: C | None
    ) -> asyncio.Task[None]:
        """Start a task that ends with the listener at the latest."""
        task = self._loop.create_task(work, name="shoal listener")
        self._tasks[task] = connection
        task.add_done_callback(self._on_done)
        return task

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        connection = self._tasks.pop(task)
        if connection is not None:
            self._on_task_done(task, connection)

    async def _accept_from(self, listening: socket.socket) -> None:
        """Accept connections until cancelled."""
        while True:
            try:
                accepted, address = await _accept(listening)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno not in _TRANSIENT:
                    self._make_room(EMERGENCY)
                    await asyncio.sleep(ACCEPT_PAUSE)
                continue
            # The system assigns the lowest free descriptor.
            reserve = min(RESERVED_FILES, file_limit() // 4)
            if accepted.fileno() >= file_limit() - reserve and not self._make_room(1):
                accepted.close()
            else:
                self._on_accepted(accepted, host_of(address))
            # Accepting a queued connection does not wait, so let other tasks run.
            await asyncio.sleep(0)


class Listener(PortListener[socket.socket]):
    """Pass every accepted connection to a new protocol."""

    def __init__(
        self,
        factory: Callable[[], asyncio.BufferedProtocol],
        *,
        hosts: Sequence[str],
        port: int = 0,
        make_room: Callable[[int], int] = lambda count: 0,
    ) -> None:
        """Listen at `port` of all `hosts`; port 0 chooses a free one.

        `make_room` is called when the system has no room for more connections: it
        ends up to that many and returns how many it ended. Raises as `bind_all` does.
        """
        super().__init__(hosts, port)
        self._factory = factory
        self._make_room_by = make_room

    def _make_room(self, count: int) -> int:
        return self._make_room_by(count)

    def _on_accepted(self, accepted: socket.socket, host: str) -> None:
        self._run(self._connect(accepted), accepted)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, accepted)
        except OSError:
            accepted.close()  # the client has gone already

    def _on_task_done(
        self, task: asyncio.Task[None], connection: socket.socket
    ) -> None:
        # A task cancelled before its first step has closed nothing.
        if task.cancelled():
            connection.close()


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


def bind_all(hosts: Sequence[str], port: int) -> dict[str, socket.socket]:
    """Return one listening socket per host, all on one port, as `bind_port` does.

    Raises `NetworkError` when the port is taken or this machine has none of the
    addresses, `ForbiddenError` when this user may not open the port.
    """
    try:
        return bind_port(hosts, port)
    except OSError as error:
        raise _explain(error, hosts, port) from error


def _explain(
    error: OSError, hosts: Sequence[str], port: int
) -> NetworkError | ForbiddenError:
    if error.errno == errno.EADDRINUSE and not port:
        return NetworkError(
            f"No port is free on every interface; give one with {option('--port')}."
        )
    if error.errno == errno.EADDRINUSE:
        return NetworkError(
            f"Port {port} is in use; choose another with {option('--port')}, or leave "
            "it out."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ForbiddenError(
            f"Port {port} may not be opened by this user; choose one above 1023."
        )
    return NetworkError(
        f"Cannot listen on {', '.join(hosts)}: {error.strerror}; "
        "check SHOAL_INTERFACES."
    )
