"""Decide which addresses that others name may be dialled; pure.

A DHT node or peer that names addresses chooses where others send packets. So an address
counts only if the node that named it could have met it: a node on the internet cannot
name this machine's loopback addresses or those of its private network.
docs/protocol.md, "Peer addresses".
"""

import enum
import re
from collections.abc import Hashable
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from shoal.core.names.address import Address

__all__ = [
    "MIN_PORT",
    "NEAR_SCOPES",
    "Scope",
    "canonical_host",
    "host_key",
    "is_acceptable",
    "scope_of",
    "slot_of",
    "subnet_of",
    "zone_of",
]

MIN_PORT = (
    1024  # below are well-known services, at which an attacker could direct a crowd
)

MAX_IP_LENGTH = 64  # characters: an IPv6 address with its zone has at most 61
MAX_CACHED = 1024  # hosts whose scope is remembered, since parsing takes longest
SLOT_BITS = 64  # bits of an IPv6 address that belong to its host (RFC 4291 2.5.1)
SITE_BITS = 80  # bits of an IPv6 address that its site chooses (RFC 6177)

_ZONE = re.compile(r"[A-Za-z0-9_.~-]{1,15}")  # the name or number of an interface
# RFC 1918, and RFC 6598, which overlay networks use; RFC 4193.
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
_PRIVATE_V6 = ("fc00::/7",)
# All addresses that are assigned, and those within them that name no single host on the
# internet, or stand for an IPv4 address behind a relay (the special-purpose registry of
# IANA): protocol assignments with Teredo, documentation, 6to4.
_UNICAST_V6 = ("2000::/3",)
_SPECIAL_V6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
# The prefix by which IPv6-only networks reach IPv4 (RFC 6052 section 2.1).
_NAT64 = ("64:ff9b::/96",)
# No global address begins so. To know that avoids `ipaddress` on a LAN: the module
# takes longer to load than a chunk to arrive.
_NEAR = ("127.", "10.", "192.168.", "fe80:", "fd")


class Scope(enum.Enum):
    """Name the area in which an IP address is valid."""

    GLOBAL = enum.auto()
    """One machine on the internet."""
    PRIVATE = enum.auto()
    """One machine on a private network."""
    LINK = enum.auto()
    """One machine on the link that the zone of an IPv6 address names."""
    LOOPBACK = enum.auto()
    """This machine."""
    NONE = enum.auto()
    """No machine: unspecified, multicast, broadcast, reserved; link-local IPv4."""


NEAR_SCOPES = frozenset({Scope.PRIVATE, Scope.LINK, Scope.LOOPBACK})
"""The scopes of addresses that no machine on the internet reaches."""


def canonical_host(text: str) -> str | None:
    """Return the one way in which we write an IP address; None for any other text.

    IPv6 addresses are written as in RFC 5952, with the zone of those that are
    link-local, and IPv4-mapped ones (RFC 4291 section 2.5.5.2) as IPv4 addresses, so
    that equal hosts are equal texts.
    """
    if len(text) > MAX_IP_LENGTH:
        return None
    from ipaddress import IPv6Address, ip_address

    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    zone = zone_of(text)
    if zone and not (address.is_link_local and _ZONE.fullmatch(zone)):
        return None
    return str(address)


def zone_of(host: str) -> str:
    """Return the zone of a link-local IPv6 address, empty if it has none (RFC 4007)."""
    return host.partition("%")[2]


def scope_of(host: str) -> Scope:
    """Return the scope of an IP address; a host name has none."""
    # Not cached, because a peer may send texts of any length.
    return _scope_of(host) if len(host) <= MAX_IP_LENGTH else Scope.NONE


@lru_cache(MAX_CACHED)
def _scope_of(host: str) -> Scope:
    from ipaddress import IPv6Address

    address = _parse(host)
    if address is None:
        return Scope.NONE
    if address.is_loopback:
        return Scope.LOOPBACK
    if isinstance(address, IPv6Address):
        return Scope.LINK if address.is_link_local else _scope_of_ipv6(address)
    if any(address in network for network in _v4(_PRIVATE)):
        return Scope.PRIVATE
    if address.is_global and not address.is_multicast:
        return Scope.GLOBAL
    return Scope.NONE


def _scope_of_ipv6(address: "IPv6Address") -> Scope:
    if any(address in network for network in _v6(_PRIVATE_V6)):
        return Scope.PRIVATE
    if any(address in network for network in _v6(_NAT64)):
        # A translator that reaches private networks must not use this prefix.
        is_global = scope_of(_translated(address)) is Scope.GLOBAL
        return Scope.GLOBAL if is_global else Scope.NONE
    if any(address in network for network in _v6(_SPECIAL_V6)):
        return Scope.NONE
    is_unicast = any(address in network for network in _v6(_UNICAST_V6))
    return Scope.GLOBAL if is_unicast else Scope.NONE


def is_acceptable(address: "Address", source: str) -> bool:
    """Return True if `address` may be dialled when the node at `source` names it."""
    if not MIN_PORT <= address.port <= 65535:
        return False
    known = scope_of(source)
    match scope_of(address.host):
        case Scope.GLOBAL:
            return True
        case Scope.PRIVATE:
            return known in NEAR_SCOPES
        case Scope.LINK:
            return known is Scope.LINK and zone_of(address.host) == zone_of(source)
        case Scope.LOOPBACK:
            return known is Scope.LOOPBACK
        case Scope.NONE:
            return False


def subnet_of(host: str) -> str | None:
    """Return the /24 of a global IPv4 address, the /48 of an IPv6 one; otherwise None.

    An attacker who wants to appear as many nodes gets addresses in one subnet cheaply.
    On private networks and loopback, many nodes with one address are normal.
    """
    slot = slot_of(host)
    if scope_of(host) is not Scope.GLOBAL:
        return None
    if isinstance(slot, int):
        return f"{slot >> (SITE_BITS - SLOT_BITS):x}"
    return str(slot).rpartition(".")[0]


def slot_of(host: str) -> Hashable:
    """Return the group that `host` counts towards; None if it is in none.

    A global IPv4 address is one group, and so is an IPv6 /64: each has one owner. An
    IPv6 address that stands for an IPv4 address is in the group of that one. Behind any
    other address there may be many peers, as on one host in a test.
    """
    if host.startswith(_NEAR) or len(host) > MAX_IP_LENGTH:
        return None
    return _slot_of(host)


@lru_cache(MAX_CACHED)
def _slot_of(host: str) -> Hashable:
    from ipaddress import IPv6Address

    address = _parse(host)
    if address is None or scope_of(host) in NEAR_SCOPES:
        return None
    if isinstance(address, IPv6Address):
        relayed = address.sixtofour  # from such a relay anyone may dial us
        if relayed is not None:
            return str(relayed)
        if any(address in network for network in _v6(_NAT64)):
            return _translated(address)
        return int(address) >> SLOT_BITS
    return str(address) if address.is_global else None


def host_key(host: str) -> Hashable:
    """Return the group of a host on the internet, and otherwise the host itself.

    Limits for each host, private ones included, count by it.
    """
    slot = slot_of(host)
    return host if slot is None else slot


def _parse(host: str) -> "IPv4Address | IPv6Address | None":
    from ipaddress import ip_address

    written = canonical_host(host)
    return None if written is None else ip_address(written)


def _translated(address: "IPv6Address") -> str:
    """Return the IPv4 address in the last 32 bits."""
    from ipaddress import IPv4Address

    return str(IPv4Address(int(address) & 0xFFFFFFFF))


@cache
def _v4(texts: tuple[str, ...]) -> tuple["IPv4Network", ...]:
    from ipaddress import IPv4Network

    return tuple(map(IPv4Network, texts))


@cache
def _v6(texts: tuple[str, ...]) -> tuple["IPv6Network", ...]:
    from ipaddress import IPv6Network

    return tuple(map(IPv6Network, texts))
