"""Decide which addresses that others name may be dialled; pure.

A DHT node or peer that names addresses chooses where others send packets. So an address
counts only if the node that named it could have met it: a node on the internet cannot
name this machine's loopback addresses or those of its private network.
docs/protocol.md, "Peer addresses".
"""

import enum
from collections.abc import Hashable
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Network

    from shoal.core.names.address import Address

__all__ = [
    "MIN_PORT",
    "Scope",
    "host_key",
    "is_acceptable",
    "scope_of",
    "slot_of",
    "subnet_of",
]

MIN_PORT = (
    1024  # below are well-known services, at which an attacker could direct a crowd
)

MAX_CACHED = 1024  # hosts whose scope is remembered, since parsing takes longest

# RFC 1918, and RFC 6598, which overlay networks use.
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
# No global address begins so. To know that avoids `ipaddress` on a LAN: the module
# takes longer to load than a chunk to arrive.
_NEAR = ("127.", "10.", "192.168.")


class Scope(enum.Enum):
    """Name the area in which an IPv4 address is valid."""

    GLOBAL = enum.auto()
    """One machine on the internet."""
    PRIVATE = enum.auto()
    """One machine on a private network."""
    LOOPBACK = enum.auto()
    """This machine."""
    NONE = enum.auto()
    """No machine: unspecified, link-local, multicast, broadcast, reserved."""


@lru_cache(MAX_CACHED)
def scope_of(host: str) -> Scope:
    """Return the scope of a dotted IPv4 address; a host name has none."""
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


def is_acceptable(address: "Address", source: str) -> bool:
    """Return True if `address` may be dialled when the node at `source` names it."""
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

    An attacker who wants to appear as many nodes gets addresses in one /24 cheaply. On
    private networks and loopback, many nodes with one address are normal.
    """
    if scope_of(host) is not Scope.GLOBAL:
        return None
    return host.rpartition(".")[0]


@lru_cache(MAX_CACHED)
def slot_of(host: str) -> Hashable:
    """Return the group that `host` counts towards; None if it is in none.

    A global IPv4 address is one group, and so is a global IPv6 /64: each has one owner.
    Behind any other address there may be many peers, as on one host in a test.
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


def host_key(host: str) -> Hashable:
    """Return the group of a global host, and otherwise the host itself.

    Limits for each host, private ones included, count by it.
    """
    slot = slot_of(host)
    return host if slot is None else slot


@cache
def _private() -> tuple["IPv4Network", ...]:
    from ipaddress import IPv4Network

    return tuple(map(IPv4Network, _PRIVATE))
