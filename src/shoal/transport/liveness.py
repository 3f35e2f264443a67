"""Have the kernel notice that the other end of a connection is unreachable.

TCP alone gives up after a quarter of an hour, and once the network is back it may wait
half a minute before it retransmits. A connection that ends after a few seconds is
redialled as soon as the network is back. A peer that is merely slow keeps its
connection, because its kernel still answers.
"""

import socket
import sys
from asyncio import BaseTransport
from asyncio.trsock import TransportSocket
from contextlib import suppress

__all__ = ["SILENCE_LIMIT", "has_hung_up", "round_trip", "watch_silence"]

SILENCE_LIMIT = 10
"""Seconds without an answer from the other end's kernel that end a connection."""
_PROBE_AFTER = 5  # seconds of silence until the kernel sends a keepalive probe
_PROBE_EVERY = 2  # seconds between probes
_PROBES = 3  # unanswered probes, where the system has no TCP_USER_TIMEOUT

_RTT = slice(68, 72)  # bytes of TCP_INFO: the smoothed round trip, in microseconds
_ENDED = (7, 8)  # first byte of TCP_INFO: TCP_CLOSE, TCP_CLOSE_WAIT


def watch_silence(transport: BaseTransport) -> None:
    """End a connection when its other end is silent for `SILENCE_LIMIT` seconds.

    On Linux, a peer that accepts no sent data for that long also ends it.
    """
    sock = transport.get_extra_info("socket")
    with suppress(OSError):  # the connection has ended already
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
    """Return True if the other end has closed, even if its last bytes are unread.

    Always False on systems without TCP_INFO; there, reading finds the end.
    """
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return False
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, option, 1)[0] in _ENDED
    except OSError:
        return False


def round_trip(sock: TransportSocket) -> float:
    """Return the seconds that a packet takes to the other end and back.

    Always 0 on systems other than Linux.
    """
    if sys.platform != "linux":
        return 0.0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT.stop)
    except OSError:
        return 0.0
    return int.from_bytes(info[_RTT], sys.byteorder) / 1e6
