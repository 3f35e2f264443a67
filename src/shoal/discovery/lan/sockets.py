"""One multicast socket per IPv4 address of this machine.

With one socket each, the socket itself tells which interface a packet came in on, on
every system and without `recvmsg`, which asyncio does not offer on Windows. Each
outgoing copy has the address of the interface it leaves by, and Linux's limit of 20
multicast memberships per socket does not matter.
"""

import socket
import sys

__all__ = ["FALLBACK_PORT", "GROUP", "MDNS_PORT", "PORTS", "open_socket"]

GROUP = "224.0.0.251"  # RFC 6762 section 3
MDNS_PORT = 5353
FALLBACK_PORT = 15353
"""Shared by this machine's nodes while another program has exclusive use of 5353."""
PORTS = (MDNS_PORT, FALLBACK_PORT)
"""Questions and announcements go to both (docs/protocol.md, "LAN discovery")."""

_TTL = 255  # RFC 6762 section 11; routers never forward the group
_LINUX_MULTICAST_ALL = 49  # ip(7); not in the socket module


def open_socket(address: str) -> tuple[socket.socket, int]:
    """Open the multicast socket of the interface with this IPv4 address.

    Returns the socket and the port it is bound to. Raises `OSError`.
    """
    sock = _open_bound()
    try:
        _join_group(sock, address)
    except OSError:
        sock.close()
        raise
    return sock, sock.getsockname()[1]


def _open_bound() -> socket.socket:
    refused: OSError | None = None
    # Answers are multicast to the port that asked, so if neither port is available,
    # any other still finds peers.
    for port in (*PORTS, 0):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            _share_port(sock)
            _bind(sock, port)
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


def _bind(sock: socket.socket, port: int) -> None:
    # A socket bound to the group receives no unicast packet. Windows cannot bind to it.
    sock.bind(("" if sys.platform == "win32" else GROUP, port))


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
