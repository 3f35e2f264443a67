"""One multicast socket for each IPv4 address of this machine.

One each, not one for all: the socket itself then says which interface a packet
came by, on every system and without `recvmsg`, which asyncio does not offer on
Windows; a copy for each interface leaves with that interface's address; and
Linux's limit of 20 memberships per socket is never met.
"""

import socket
import sys

__all__ = ["FALLBACK_PORT", "GROUP", "MDNS_PORT", "PORTS", "open_socket"]

GROUP = "224.0.0.251"
MDNS_PORT = 5353
FALLBACK_PORT = 15353
"""Shared by the shoals of a machine where another program keeps 5353 to itself."""
PORTS = (MDNS_PORT, FALLBACK_PORT)
"""Where questions and announcements are sent, so that nobody is left out."""

_TTL = 255  # RFC 6762 section 11; the group itself is never routed
_LINUX_MULTICAST_ALL = 49  # ip(7); the socket module does not have it


def open_socket(address: str) -> tuple[socket.socket, int]:
    """Open the socket of the interface with this IPv4 address.

    Returns it with the port that it hears. Raises OSError.
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
    # Answers are multicast to the port that asked, so where both ports are another
    # program's, or forbidden to us, any port finds peers.
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
    # Elsewhere than on Linux multicast needs this as well. On Linux it does harm: a
    # packet that only one socket wants is handed to any of the port's sockets, by
    # a hash of the addresses (seen in 6.18, early demux), so to the wrong interface.
    if sys.platform not in ("linux", "win32"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _bind(sock: socket.socket, port: int) -> None:
    # Bound to the group, no unicast packet arrives, from off the link or on it.
    # Windows cannot.
    sock.bind(("" if sys.platform == "win32" else GROUP, port))


def _join_group(sock: socket.socket, address: str) -> None:
    interface = socket.inet_aton(address)
    if sys.platform == "linux":
        # Otherwise a socket hears what any socket of this machine has joined.
        sock.setsockopt(socket.IPPROTO_IP, _LINUX_MULTICAST_ALL, 0)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _TTL)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    membership = socket.inet_aton(GROUP) + interface
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
