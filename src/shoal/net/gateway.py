"""Find the router that this machine reaches the internet through.

The kernel is asked for the route to an address on the internet (rtnetlink(7),
RTM_GETROUTE), so that a VPN and policy routing count; no packet is sent.
"""

import socket
import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

from shoal.net.socket_names import family_of, host_of

__all__ = ["Gateway", "find_gateway"]

NETLINK_TIMEOUT = 5.0  # seconds for the kernel to answer
MAX_ANSWER = 1 << 16  # bytes

_SOMEWHERE = {False: "1.1.1.1", True: "2600::"}  # any addresses on the internet
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, lengths, …, flags
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_REQUEST = 1  # NLM_F_REQUEST
_NEW_ROUTE, _GET_ROUTE = 24, 26  # message types
_DESTINATION, _INTERFACE, _GATEWAY, _SOURCE = 1, 4, 5, 7  # attribute types


class Gateway(NamedTuple):
    """Name the router of this machine, and the way to it."""

    address: str
    """Its IP address on our network, with its zone if that is link-local."""
    interface: str
    """The interface that it is reached through, such as `eth0`."""
    local: str
    """Our own address on that interface."""


def find_gateway(
    allowed: Sequence[str] = (), *, is_ipv6: bool = False
) -> Gateway | None:
    """Return the router to the internet; None if there is none that may be used.

    That is the router of IPv6 if `is_ipv6`, otherwise that of IPv4. With `allowed`,
    only if the name or address of the interface is in it. On systems other than Linux
    none is found.
    """
    if sys.platform != "linux":
        return None
    try:
        found = _ask_kernel(_SOMEWHERE[is_ipv6])
    except (OSError, struct.error):  # no route, or a sandbox without rtnetlink
        return None
    if found is None or (allowed and not {found.interface, found.local} & {*allowed}):
        return None
    return found


def _ask_kernel(destination: str) -> Gateway | None:
    family = family_of(destination)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
        sock.settimeout(NETLINK_TIMEOUT)
        wanted = socket.inet_pton(family, destination)
        request = _ROUTE.pack(family, 8 * len(wanted), 0, 0, 0, 0, 0, 0, 0)
        request += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(wanted), _DESTINATION) + wanted
        size = _HEADER.size + len(request)
        sock.send(_HEADER.pack(size, _GET_ROUTE, _REQUEST, 1, 0) + request)
        answer = sock.recv(MAX_ANSWER)
    size, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _NEW_ROUTE:
        return None  # an error: there is no route
    values = _attributes(answer[_HEADER.size + _ROUTE.size : size])
    if not {_INTERFACE, _GATEWAY, _SOURCE} <= values.keys():
        return None  # a point-to-point link has no router that maps ports
    (index,) = struct.unpack("=I", values[_INTERFACE])
    host, local = (socket.inet_ntop(family, values[n]) for n in (_GATEWAY, _SOURCE))
    zone = index if host.startswith("fe80:") else 0
    gateway = host_of((host, 0, 0, zone))
    return Gateway(gateway, socket.if_indextoname(index), local)


def _attributes(data: bytes) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        values[kind] = data[offset + _ATTRIBUTE.size : offset + size]
        offset += max(_ATTRIBUTE.size, -(-size // 4) * 4)
    return values
