"""Describe a share at one moment; pure.

A swarm describes its part as `SwarmStatus`. `Node.status` adds what this node reads of
the share. Some fields refer to objects that change, so look at a status at once.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

from shoal.core.names.address import Address
from shoal.core.names.address_scope import NEAR_SCOPES, Scope, scope_of

if TYPE_CHECKING:
    from shoal.core.manifest.chunks import Bitfield
    from shoal.core.manifest.manifest import Manifest

__all__ = [
    "PATHS",
    "RELAYED",
    "PeerStatus",
    "PortMapping",
    "ShareStatus",
    "SwarmStatus",
    "path_of",
]

RELAYED = "relayed"
"""The source, and the path, of a peer that was met at a relay."""
PATHS = ("lan", "direct", "mapped", "punched", RELAYED, "hint", "origin")
"""The paths to a peer: how it was found, or how it reached us."""


class PeerStatus(Struct, frozen=True):
    """Describe one peer or origin."""

    key: int
    """Differs from that of every other connected peer."""
    address: str
    """Where to dial it, or where it connected from; the name of an origin."""
    source: str
    """What reported it: `lan`, `dht`, `peer`, `hint`, `swarm`, `incoming`, `origin`."""
    path: str
    """One of `PATHS`."""
    has: int
    """Chunks that it has announced."""
    received: int
    """Bytes of verified chunks that it sent."""
    sent: int
    """Bytes of chunks that were sent to it."""


class PortMapping(Struct, frozen=True):
    """Describe a port of this node that the router passes connections on to."""

    port: int
    """The TCP port of this machine."""
    outside: Address
    """Where the router, as it says, is reached from outside; of IPv6, our address."""
    method: str
    """How it was asked: by `PCP`, `NAT-PMP` or `UPnP`."""

    @property
    def is_ipv6(self) -> bool:
        """Return True if the firewall of the router lets connections by IPv6 in."""
        return ":" in self.outside.host

    @property
    def is_global(self) -> bool:
        """Return True if the router's address is one on the internet.

        Otherwise another router is between it and the internet.
        """
        return scope_of(self.outside.host) is Scope.GLOBAL


class SwarmStatus(Struct, frozen=True):
    """Describe one swarm of this node."""

    manifest: "Manifest | None"
    """None until the root record arrives."""
    have: "Bitfield | None"
    """Chunks that are verified and stored; None until it is known what to fetch."""
    requested: frozenset[int]
    """Chunks that were requested, or have arrived and are not verified."""
    peers: tuple[PeerStatus, ...]
    """Connected peers and origins."""


class ShareStatus(Struct, frozen=True):
    """Describe one share on this node, with everything that reads it."""

    manifest: "Manifest | None"
    """None until the root record arrives."""
    have: "Bitfield | None"
    """Chunks that are verified and stored, on disk or in memory; None as above."""
    requested: frozenset[int]
    """Chunks that were requested, or have arrived and are not verified."""
    reading: frozenset[int]
    """Chunks that a reader waits for, or read last."""
    peers: tuple[PeerStatus, ...]
    """Connected peers and origins."""
    mappings: tuple[PortMapping, ...] = ()
    """The ports of this node that the router maps."""


def path_of(
    source: str,
    host: str,
    *,
    mappings: Iterable[PortMapping] = (),
    is_crossed: bool = False,
) -> str:
    """Return the path to a peer that `source` reported, as one of `PATHS`.

    A hole was punched to a peer on the internet that dialled us while we dialled it
    (`is_crossed`).

    A peer that connected to us is on the LAN if its address is private or of this
    machine. Any other one came through the router, if that maps our port for its kind
    of address.
    """
    is_near = scope_of(host) in NEAR_SCOPES
    if is_crossed and source != RELAYED and not is_near:
        return "punched"
    if source in PATHS:
        return source
    if source != "incoming":
        return "direct"
    if is_near:
        return "lan"
    is_mapped = any(each.is_ipv6 == (":" in host) for each in mappings)
    return "mapped" if is_mapped else "direct"
