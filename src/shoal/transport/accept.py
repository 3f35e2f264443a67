"""Accept connections without end, whatever the system runs out of.

asyncio's own server logs and then sleeps for a second when there is no file
descriptor left, and it takes the last one there is. Here some are left to files,
a half-open connection goes when there is no other way, and the loop neither spins
nor dies.
"""

import asyncio
import errno
import socket
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["accept_forever", "file_limit"]

ACCEPT_PAUSE = 0.1  # seconds without accepting when the system has no room
EMERGENCY = 16  # connections that go when there is no descriptor at all
RESERVED_FILES = 32  # file descriptors left to files, but at most a quarter of all
_UNLIMITED = 1 << 20  # file descriptors, where the system has no limit
_PASSING = (errno.ECONNABORTED, errno.EINTR, errno.EPROTO)


async def accept_forever(
    listening: socket.socket,
    on_accepted: Callable[[socket.socket, Any], None],
    make_room: Callable[[int], int],
) -> None:
    """Give every connection, and the address it is from, to `on_accepted`.

    `make_room` ends up to so many connections that can be done without, says how
    many there were, and for a while takes in no more than are left. Runs until
    cancelled; `listening` stays open.
    """
    while True:
        try:
            accepted, address = await _accept(listening)
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno not in _PASSING:
                make_room(EMERGENCY)
                await asyncio.sleep(ACCEPT_PAUSE)
            continue
        # The system gives the lowest descriptor that is free.
        if accepted.fileno() >= file_limit() - _reserve() and not make_room(1):
            accepted.close()
        else:
            on_accepted(accepted, address)
        # Those who wait already are accepted without waiting; let others run.
        await asyncio.sleep(0)


async def _accept(listening: socket.socket) -> tuple[socket.socket, Any]:
    """Accept one connection; raises `OSError`.

    Waiting and accepting are two steps, so that whoever is cancelled meanwhile has
    no connection in hand that nobody would close.
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


def _reserve() -> int:
    return min(RESERVED_FILES, file_limit() // 4)
