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
from collections.abc import Callable, Coroutine
from typing import Any

from shoal.core.crypto.keys import Keys, expand
from shoal.core.names.address import Address
from shoal.net.socket_names import family_of, name_of

__all__ = ["aside_port", "can_share", "connect_from", "share_port"]

# The port has a connection to this address, lingering ones included; another program
# listens on it; or the system does not let sockets share it.
_TAKEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EINVAL)

FIRST_ASIDE = 61_000  # above the ports that Linux gives to any program
ASIDE_PORTS = 4_536
ASIDE_PAUSE = 1.0  # seconds after a SYN that was refused
ANY_PAUSE = 1.0  # seconds until a known host is dialled from other ports as well

can_share = os.name == "posix" and hasattr(socket, "SO_REUSEPORT")
"""Whether sockets that dial can have the port of one that listens."""


def share_port(listening: socket.socket) -> None:
    """Let sockets of this user dial from the port of a listening socket.

    The option is set once the socket listens: before, it would let a second node listen
    on the same port.
    """
    if can_share:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def aside_port(port: int, keys: Keys) -> int:
    """Return the port that stands in for a listening port, for a share's second dial.

    Both ends compute it from each other's listening port (docs/protocol.md,
    "Simultaneous open").
    """
    made = expand(keys.psk, b"port" + port.to_bytes(2, "big"), 2)
    return FIRST_ASIDE + int.from_bytes(made, "big") % ASIDE_PORTS


async def connect_from(
    port: int,
    address: Address,
    keys: Keys,
    listen_aside: Callable[[int], None],
    *,
    number: int | None = None,
    is_known: bool = False,
) -> socket.socket:
    """Return a socket that is connected to an IP address, if possible from `port`.

    If that port has a connection to the address already, for another share, the peer
    may know us by our port aside: it is dialled from there at its own one, and at
    `address` from any port, and the first connection is used. `listen_aside` lets it
    dial us. `number` is that of `port` on the internet, if a router maps it. If the
    host `is_known` as that of a peer, it may have that connection by another number
    than `address` has: it is dialled as well as if the port were taken, if it does not
    answer. Raises `OSError` if the address cannot be reached.
    """
    if not can_share:
        return await _connect(0, address)
    ours = aside_port(number or port, keys)
    theirs = Address(address.host, aside_port(address.port, keys))

    async def connect_aside(pause: float = 0.0) -> socket.socket:
        if pause:
            await asyncio.sleep(pause)
        listen_aside(ours)
        return await _first_of(_connect(0, address), _knock_aside(ours, theirs))

    try:
        if is_known:
            late = connect_aside(ANY_PAUSE)
            return await _first_of(_connect(port, address), late, is_decided=True)
        return await _connect(port, address)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
    return await connect_aside()


async def _knock_aside(port: int, address: Address) -> socket.socket:
    """Connect to a port that a peer dials us from, as soon as it does."""
    while True:
        try:
            return await _connect(port, address)
        except ConnectionRefusedError:
            await asyncio.sleep(ASIDE_PAUSE)


async def _first_of(
    *dials: Coroutine[Any, Any, socket.socket], is_decided: bool = False
) -> socket.socket:
    """Return the socket that connects first; raise what the first dial raises.

    With `is_decided`, that ends the others as soon as the first dial has failed.
    """
    tasks = [asyncio.create_task(dial) for dial in dials]
    waiting, chosen = set(tasks), None
    try:
        while waiting and chosen is None:
            done, waiting = await asyncio.wait(
                waiting, return_when=asyncio.FIRST_COMPLETED
            )
            connected = (each for each in tasks if each in done)
            chosen = next((c for c in connected if c.exception() is None), None)
            if is_decided and tasks[0] in done:
                break
        for each in tasks:  # in their order, so that runs can be repeated
            each.cancel()
        await asyncio.wait(tasks)
        return (chosen or tasks[0]).result()
    except BaseException:  # this task may be cancelled although one has connected
        chosen = None
        raise
    finally:
        for each in tasks:
            each.cancel()
            if each is not chosen:
                each.add_done_callback(_close_connected)
        await asyncio.wait(tasks)


def _close_connected(dial: "asyncio.Task[socket.socket]") -> None:
    if not dial.cancelled() and not dial.exception():
        dial.result().close()


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
