"""What a share looks like at one moment, for whoever shows it.

A swarm tells its part as `SwarmStatus`; `Node.status` puts those of one share
together, with what is read of it. Nothing here is a copy where a reference does: look
at it at once, it changes.
"""

from typing import Protocol

from msgspec import Struct

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address_scope import Scope, scope_of

__all__ = [
    "PATHS",
    "PeerStatus",
    "ShareStatus",
    "SwarmStatus",
    "Watchable",
    "path_of",
]

PATHS = ("lan", "direct", "hint", "origin")
"""The paths there are, by how a peer was found."""


class PeerStatus(Struct, frozen=True):
    """Say who one peer is and what it gave and took."""

    key: int
    """Tells it from others for as long as it is connected."""
    address: str
    """Where it can be dialled, or else where it came from; an origin's name."""
    source: str
    """Who reported it: `lan`, `dht`, `peer`, `hint`, `swarm`, `incoming`, `origin`."""
    path: str
    """One of `PATHS`."""
    has: int
    """Chunks that it said it has."""
    received: int
    """Bytes that it gave and that verified."""
    sent: int
    """Bytes that it was given."""


class SwarmStatus(Struct, frozen=True):
    """Say how one swarm of this node stands."""

    manifest: Manifest | None
    """None before the root record came."""
    have: Bitfield | None
    """Chunks that are verified and here; None before it is known what to fetch."""
    asked: frozenset[int]
    """Chunks that are on their way, or wait for their verdict."""
    peers: tuple[PeerStatus, ...]
    """Who is connected."""


class ShareStatus(Struct, frozen=True):
    """Say how one share stands on this node, in all that it does with it."""

    manifest: Manifest | None
    """None before the root record came."""
    have: Bitfield | None
    """Chunks that are verified and here, on the disk or in memory; None as above."""
    asked: frozenset[int]
    """Chunks that are on their way, or wait for their verdict."""
    reading: frozenset[int]
    """Chunks that a reader waits for, or read last."""
    peers: tuple[PeerStatus, ...]
    """Who is connected."""


class Watchable(Protocol):
    """Be asked how it stands, as a swarm is."""

    def status(self) -> SwarmStatus:
        """Return what is so now."""


def path_of(source: str, host: str) -> str:
    """Return the path of a peer that `source` reported, as one of `PATHS`.

    Who dialled us is on the LAN if its address is of this machine or a private
    network.
    """
    if source in PATHS:
        return source
    is_near = scope_of(host) in (Scope.PRIVATE, Scope.LOOPBACK)
    return "lan" if source == "incoming" and is_near else "direct"
