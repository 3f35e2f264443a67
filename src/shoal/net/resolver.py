"""Look up host names in threads that no one waits for.

The system's resolver blocks, for ten seconds and more if no name server answers. The
loop's executor would not do: the program waits for its threads at exit, so a name that
is not found would delay the end of a download that other peers have completed.
"""

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar

__all__ = ["MAX_LOOKUPS", "AddressInfo", "call_in_daemon", "look_up"]

MAX_LOOKUPS = 64  # threads at once, in this process

AddressInfo: TypeAlias = tuple[
    socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]
]
"""As `socket.getaddrinfo` returns it."""

T = TypeVar("T")

_places = threading.BoundedSemaphore(MAX_LOOKUPS)


async def look_up(host: str, port: int) -> list[AddressInfo]:
    """Return the addresses of a host for TCP, in the order of the system.

    Raises `OSError`, or `UnicodeError` for a name that does not fit DNS.
    """
    return await call_in_daemon(partial(_ask_system, host, port), host)


def _ask_system(host: str, port: int) -> list[AddressInfo]:
    return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


async def call_in_daemon(work: Callable[[], T], name: str) -> T:
    """Return what `work` finds for a name, or raise what it raises; it may block.

    If the caller is cancelled, `work` continues in its thread, until the process ends.
    Raises `OSError` while `MAX_LOOKUPS` other calls are not complete.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(done: Callable[[], None]) -> None:
        if not answer.done():
            done()

    def run() -> None:
        done: Callable[[], None]
        try:
            done = partial(answer.set_result, work())
        except Exception as error:
            done = partial(answer.set_exception, error)
        finally:
            _places.release()
        # The loop may be closed by now; then no task waits for the answer.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, done)

    if not _places.acquire(blocking=False):
        raise OSError(errno.EAGAIN, "too many names are being looked up")
    try:
        threading.Thread(target=run, name=f"resolve {name}", daemon=True).start()
    except RuntimeError:  # no more threads
        _places.release()
        raise OSError(errno.EAGAIN, "there is no thread to look up a name") from None
    return await answer
