"""Define the events that a share reports to its watchers; pure."""

from typing import TypeAlias

from msgspec import Struct

from shoal.core.names.address import Address

__all__ = [
    "DownloadEvent",
    "Hashing",
    "Notice",
    "PeerJoined",
    "PeerLeft",
    "Progress",
    "ShareEvent",
    "Stalled",
    "Started",
]


class Started(Struct, frozen=True):
    """The sizes are known, and chunks of an earlier run are checked."""

    size: int
    """Bytes of the whole download."""
    chunk_size: int
    """Bytes of a chunk."""
    chunks: int
    """Chunks of the whole download."""
    resumed: int
    """Chunks that an earlier run verified."""
    is_verified: bool
    """Whether the content is verified by the id."""


class PeerJoined(Struct, frozen=True):
    """A peer is connected and accepts requests."""

    address: Address
    source: str
    """How it was found: `lan`, `dht`, `peer` (named by the user, a link or a peer), or
    `incoming`."""


class PeerLeft(Struct, frozen=True):
    """A peer has disconnected."""

    address: Address
    reason: str | None
    """Why, for a person; None if it just closed the connection."""
    is_banned: bool
    """Whether it sent data that did not verify."""
    chunks: int
    """Verified chunks that it sent."""


class Progress(Struct, frozen=True):
    """Chunks were verified and written; fired a few times a second at most."""

    done: int
    """Bytes verified and written, those of an earlier run included."""
    size: int
    """Bytes of the whole download."""
    rate: float
    """Bytes per second, over the last seconds."""
    peers: int
    """Connected peers that accept requests."""
    uploaded: int = 0
    """Bytes of chunks that were sent to other peers."""


class Stalled(Struct, frozen=True):
    """No new chunk was verified for some time."""

    seconds: float
    """Seconds since the last verified chunk, or since the start."""
    reason: str
    """Why, in a sentence."""
    cause: str
    """Why, in a word: `nobody-found`, `unreachable`, `silent`, `nobody-has`, `disk`."""


class Notice(Struct, frozen=True):
    """Something that the user should know, although the share continues."""

    text: str
    """A sentence."""


class Hashing(Struct, frozen=True):
    """Files are hashed to be shared; fired a few times a second at most."""

    done: int
    """Bytes hashed."""
    size: int
    """Bytes of all files."""


DownloadEvent: TypeAlias = Started | PeerJoined | PeerLeft | Progress | Stalled | Notice
"""Any event of a download."""

ShareEvent: TypeAlias = Hashing | DownloadEvent
"""Any event of a share."""
