"""Convert between hosts, as text, and the socket names of the system.

A link-local IPv6 address exists on each interface, so it is complete only with its
zone, the interface (RFC 4007). We keep both in one text, such as `fe80::1%eth0`; the
system has them in two places.
"""

import errno
import socket
import sys
from typing import Any, TypeAlias

__all__ = ["ANY_HOSTS", "SocketName", "family_of", "host_of", "name_of"]

SocketName: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""As in `socket`: host and port and, for IPv6, flow information and scope id."""

ANY_HOSTS = ("0.0.0.0", "::")
"""The hosts to bind to for all addresses of this machine, IPv4 and IPv6."""


def family_of(host: str) -> socket.AddressFamily:
    """Return the address family of an IP address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def name_of(host: str, port: int) -> SocketName:
    """Return the socket name of an IP address and port.

    Raises `OSError` if the zone of the address is no interface of this machine.
    """
    if ":" not in host:
        return host, port
    address, _, zone = host.partition("%")
    if not zone or zone.isdigit():
        return address, port, 0, int(zone or 0)
    try:
        return address, port, 0, socket.if_nametoindex(zone)
    except OSError:
        raise OSError(errno.EADDRNOTAVAIL, f"there is no interface {zone}") from None


def host_of(name: tuple[Any, ...]) -> str:
    """Return the host of a socket name, with the zone of a link-local address.

    An IPv4-mapped IPv6 address is written as an IPv4 address.
    """
    host, index = str(name[0]), name[3] if len(name) == 4 else 0
    if "." in host:
        return host.removeprefix("::ffff:")
    return f"{host}%{zone_name(index)}" if index else host


def zone_name(index: int) -> str:
    """Return the zone of the interface with this number."""
    if sys.platform == "win32":  # names are not understood as zones there
        return str(index)
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)  # the interface is gone
