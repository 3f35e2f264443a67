"""What a download tells whoever watches it."""

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
    """Fired when the sizes are known and what is already there is checked."""

    size: int
    """Bytes of the whole."""
    chunk_size: int
    """Bytes of a chunk."""
    chunks: int
    """Chunks of the whole."""
    resumed: int
    """Chunks verified by an earlier run."""
    is_verified: bool
    """Whether the content is checked against the id."""


class PeerJoined(Struct, frozen=True):
    """Fired when chunks can be asked of a peer."""

    address: Address
    source: str
    """The network that reported it: `lan`, `dht`, `peer`."""


class PeerLeft(Struct, frozen=True):
    """Fired when a peer is gone."""

    address: Address
    reason: str | None
    """Why, in words; None when it just closed."""
    is_banned: bool
    """Whether it sent what does not verify."""
    chunks: int
    """Verified chunks it gave."""


class Progress(Struct, frozen=True):
    """Fired as chunks are verified and written, a few times a second at most."""

    done: int
    """Bytes verified and written, those of an earlier run included."""
    size: int
    """Bytes of the whole."""
    rate: float
    """Bytes per second, over the last seconds."""
    peers: int
    """Peers that chunks are asked of."""
    uploaded: int = 0
    """Bytes of chunks that were given to others meanwhile."""


class Stalled(Struct, frozen=True):
    """Fired when nothing new was verified for a while."""

    seconds: float
    """Since the last verified chunk, or since the start."""
    reason: str
    """Why, in a sentence."""
    cause: str
    """Why, in a word: `nobody-found`, `unreachable`, `silent`, `nobody-has`, `disk`."""


class Notice(Struct, frozen=True):
    """Fired when the user should know something that stops nothing."""

    text: str
    """A sentence."""


class Hashing(Struct, frozen=True):
    """Fired while what is to be shared is hashed, a few times a second at most."""

    done: int
    """Bytes hashed."""
    size: int
    """Bytes of the whole."""


DownloadEvent: TypeAlias = Started | PeerJoined | PeerLeft | Progress | Stalled | Notice
"""What happens while something is fetched."""

ShareEvent: TypeAlias = Hashing | DownloadEvent
"""What happens while something is shared."""
