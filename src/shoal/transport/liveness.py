"""Have the kernel notice that the other end cannot be reached any more.

TCP alone takes a quarter of an hour to give up, and once the network is back it may
wait for half a minute before it tries again. A connection that is given up after a
few seconds is made anew as soon as there is a way. A peer that is only slow keeps its
connection: its kernel answers.
"""

import socket
from asyncio import BaseTransport
from asyncio.trsock import TransportSocket
from contextlib import suppress

__all__ = ["SILENCE_LIMIT", "has_hung_up", "watch_silence"]

SILENCE_LIMIT = 10
"""Seconds without an answer of the other end's kernel that end a connection."""
_PROBE_AFTER = 5  # seconds of silence until it is asked for a sign of life
_PROBE_EVERY = 2  # seconds
_PROBES = 3  # where the system cannot be told a time

_ENDED = (7, 8)  # what TCP_INFO begins with: TCP_CLOSE, TCP_CLOSE_WAIT


def watch_silence(transport: BaseTransport) -> None:
    """End a connection whose other end is silent for `SILENCE_LIMIT` seconds.

    So does, on Linux, a peer whose program takes nothing for so long of what is sent.
    """
    sock = transport.get_extra_info("socket")
    with suppress(OSError):  # it has ended already
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in (
                ("TCP_KEEPIDLE", _PROBE_AFTER),
                ("TCP_KEEPINTVL", _PROBE_EVERY),
                ("TCP_KEEPCNT", _PROBES),
                ("TCP_USER_TIMEOUT", 1000 * SILENCE_LIMIT),
            ):
                option = getattr(socket, name, None)
                if option is not None:
                    sock.setsockopt(socket.IPPROTO_TCP, option, value)


def has_hung_up(sock: TransportSocket) -> bool:
    """Say whether the other end has closed, even if what it said is still unread.

    Nobody can say so where the system does not: then it is noticed by reading on.
    """
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return False
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, option, 1)[0] in _ENDED
    except OSError:
        return False
