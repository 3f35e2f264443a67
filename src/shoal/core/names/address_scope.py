"""Which of the addresses that others name are believed; pure.

Whoever answers a lookup chooses whom everybody else sends packets to. So an
address counts only where the node that named it could have met it: nobody on the
internet has a say about this machine's loopback or its private network.
"""

import enum
from collections.abc import Hashable
from functools import cache
from typing import TYPE_CHECKING

from shoal.core.names.address import Address

if TYPE_CHECKING:
    from ipaddress import IPv4Network

__all__ = ["MIN_PORT", "Scope", "is_believable", "scope_of", "slot_of", "subnet_of"]

MIN_PORT = 1024  # below are the services of others, worth pointing a crowd at

# RFC 1918; and RFC 6598, which overlay networks use among themselves.
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
# What begins so is no global address. On a LAN that spares us `ipaddress`, which takes
# longer to load than a chunk to come.
_NEAR = ("127.", "10.", "192.168.")


class Scope(enum.Enum):
    """How far an IPv4 address reaches."""

    GLOBAL = enum.auto()
    """One machine on the internet."""
    PRIVATE = enum.auto()
    """One machine on a network of somebody's own."""
    LOOPBACK = enum.auto()
    """This machine."""
    NONE = enum.auto()
    """Nobody to dial: unspecified, link-local, multicast, broadcast, reserved."""


def scope_of(host: str) -> Scope:
    """Return how far a dotted IPv4 address reaches; a name has no scope."""
    from ipaddress import IPv4Address

    try:
        address = IPv4Address(host)
    except ValueError:
        return Scope.NONE
    if address.is_loopback:
        return Scope.LOOPBACK
    if any(address in network for network in _private()):
        return Scope.PRIVATE
    if address.is_global and not address.is_multicast:
        return Scope.GLOBAL
    return Scope.NONE


def is_believable(address: Address, source: str) -> bool:
    """Say whether the node at `source` is believed when it names `address`."""
    if not MIN_PORT <= address.port <= 65535:
        return False
    match scope_of(address.host):
        case Scope.GLOBAL:
            return True
        case Scope.PRIVATE:
            return scope_of(source) in (Scope.PRIVATE, Scope.LOOPBACK)
        case Scope.LOOPBACK:
            return scope_of(source) is Scope.LOOPBACK
        case Scope.NONE:
            return False


def subnet_of(host: str) -> str | None:
    """Return the /24 of a global address, None for any other.

    Addresses within one /24 are cheap to have for who wants to be many nodes.
    On private networks and loopback many nodes on one address are normal.
    """
    if scope_of(host) is not Scope.GLOBAL:
        return None
    return host.rpartition(".")[0]


def slot_of(host: str) -> Hashable:
    """Return what is counted together with `host`; None: they are not.

    A global IPv4 address is somebody's, and so is a global IPv6 /64. Behind any
    other address there may be many peers, as on one host in a test.
    """
    if host.startswith(_NEAR):
        return None
    from ipaddress import IPv6Address, ip_address

    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if not address.is_global:
        return None
    if isinstance(address, IPv6Address):
        return int(address) >> 64
    return host


@cache
def _private() -> tuple["IPv4Network", ...]:
    from ipaddress import IPv4Network

    return tuple(map(IPv4Network, _PRIVATE))
