"""One multicast socket per address of this machine.

These are its IPv4 addresses and, since one IPv6 socket per interface is enough, its
link-local IPv6 addresses: packets to the IPv6 group have them as source. If the user
allows only another IPv6 address of an interface, packets to the group are sent from
that, by a second socket. With one socket each, the socket itself tells which interface
a packet came in on, on every system and without `recvmsg`, which asyncio does not offer
on Windows. Each outgoing copy has the address of the interface it leaves by, and
Linux's limit of 20 multicast memberships per socket does not matter.
"""

import socket
import struct
import sys
from collections.abc import Iterable

from shoal.net.interfaces import Interface
from shoal.net.socket_names import family_of, name_of

__all__ = [
    "FALLBACK_PORT",
    "GROUP",
    "GROUP_V6",
    "MDNS_PORT",
    "PORTS",
    "group_of",
    "lan_interfaces",
    "open_sender",
    "open_socket",
]

GROUP, GROUP_V6 = "224.0.0.251", "ff02::fb"  # RFC 6762 section 3
MDNS_PORT = 5353
FALLBACK_PORT = 15353
"""Shared by this machine's nodes while another program has exclusive use of 5353."""
PORTS = (MDNS_PORT, FALLBACK_PORT)
"""Questions and announcements go to both (docs/protocol.md, "LAN discovery")."""

_TTL = 255  # RFC 6762 section 11; routers never forward the group
_LINUX_MULTICAST_ALL = 49  # ip(7); not in the socket module


def open_socket(address: str, name: str = "") -> tuple[socket.socket, int]:
    """Open the multicast socket of the interface with this address.

    The address is IPv4, link-local IPv6 with its zone, or another IPv6 address of the
    interface `name`. Returns the socket and the port it is bound to. Raises `OSError`.
    """
    group = group_of(address, name)
    sock = _open_bound(group)
    try:
        if ":" in group:
            _join_group_v6(sock, group)
        else:
            _join_group(sock, address)
    except OSError:
        sock.close()
        raise
    return sock, sock.getsockname()[1]


def open_sender(address: str, name: str, port: int) -> socket.socket | None:
    """Return the socket that sends to the group; None if `open_socket`'s does that.

    The system would choose the link-local address of the interface `name`. Answers go
    to `port` of the group. Raises `OSError`.
    """
    if ":" not in address or _is_link_local(address):
        return None
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        _share_port(sock)
        _bind(sock, address, port)
        _send_by(sock, socket.if_nametoindex(name))
    except OSError:
        sock.close()
        raise
    return sock


def lan_interfaces(found: Iterable[Interface]) -> list[Interface]:
    """Return the addresses to use: those of IPv6 first, one for each interface.

    Answers come first over IPv6 then, so both ends of a pair dial by that. IPv6 is not
    used on `lo`, which always has IPv4.
    """
    ipv4, ipv6 = [], dict[str, Interface]()
    for each in found:
        if not each.is_ipv6:
            ipv4.append(each)
        elif each.address != "::1":
            if _is_link_local(each.address) or each.name not in ipv6:
                ipv6[each.name] = each
    return [*ipv6.values(), *ipv4]


def group_of(address: str, name: str = "") -> str:
    """Return the group of the interface with this address, with its zone if IPv6.

    `name` is the interface of an IPv6 address that is not link-local.
    """
    return (
        f"{GROUP_V6}%{address.partition('%')[2] or name}" if ":" in address else GROUP
    )


def _is_link_local(address: str) -> bool:
    # `scope_of` would load `ipaddress`, which takes longer than a chunk to arrive.
    return address.startswith("fe80:")


def _open_bound(group: str) -> socket.socket:
    refused: OSError | None = None
    # Answers are multicast to the port that asked, so if neither port is available,
    # any other still finds peers.
    for port in (*PORTS, 0):
        sock = socket.socket(family_of(group), socket.SOCK_DGRAM)
        try:
            _share_port(sock)
            _bind(sock, group, port)
        except OSError as error:
            sock.close()
            refused = error
        else:
            return sock
    assert refused is not None
    raise refused


def _share_port(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Multicast needs this as well, except on Linux, where it does harm: Linux gives a
    # packet that only one socket wants to any socket of the port, chosen by a hash of
    # the addresses (seen in 6.18, early demux), and so to the wrong interface.
    if sys.platform not in ("linux", "win32"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _bind(sock: socket.socket, group: str, port: int) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    # A socket bound to the group receives no unicast packet. Windows cannot bind to it.
    sock.bind(("", port) if sys.platform == "win32" else name_of(group, port))


def _join_group(sock: socket.socket, address: str) -> None:
    interface = socket.inet_aton(address)
    if sys.platform == "linux":
        # Otherwise the socket receives every group that any process here has joined.
        sock.setsockopt(socket.IPPROTO_IP, _LINUX_MULTICAST_ALL, 0)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _TTL)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    membership = socket.inet_aton(GROUP) + interface
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)


def _join_group_v6(sock: socket.socket, group: str) -> None:
    index = int(name_of(group, 0)[-1])
    _send_by(sock, index)
    membership = socket.inet_pton(socket.AF_INET6, GROUP_V6) + struct.pack("@I", index)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)


def _send_by(sock: socket.socket, index: int) -> None:
    """Send to an IPv6 group by the interface of this index."""
    level = socket.IPPROTO_IPV6
    sock.setsockopt(level, socket.IPV6_MULTICAST_IF, index)
    sock.setsockopt(level, socket.IPV6_MULTICAST_HOPS, _TTL)
    sock.setsockopt(level, socket.IPV6_MULTICAST_LOOP, 1)
