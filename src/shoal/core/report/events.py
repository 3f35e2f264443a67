"""Define the events that a share reports to its watchers; pure."""

from typing import TypeAlias

from msgspec import Struct

from shoal.core.names.address import Address

__all__ = [
    "CodeChanged",
    "DownloadEvent",
    "Hashing",
    "Notice",
    "PeerComplete",
    "PeerJoined",
    "PeerLeft",
    "Preparing",
    "Progress",
    "Reachable",
    "ShareEvent",
    "Stalled",
    "Started",
]


class Preparing(Struct, frozen=True):
    """A download does something before it can start; fired when that changes."""

    step: str
    """`searching` for peers, `connecting` to those found, `asking` them what the share
    is, `listing` its files, or `checking` which chunks are on the disk already."""
    name: str | None = None
    """Name of the share; None as long as no peer has sent it."""
    looked: tuple[str, ...] = ()
    """Where peers are searched for, as `the LAN (eth0)`."""
    found: int = 0
    """Addresses that were found."""
    peers: int = 0
    """Connected peers."""


class Started(Struct, frozen=True):
    """The sizes are known, and chunks of an earlier run are checked."""

    size: int
    """Bytes of the download: of all files, or of those chosen by patterns."""
    chunk_size: int
    """Bytes of a chunk."""
    chunks: int
    """Chunks of the whole share."""
    resumed: int
    """Chunks that an earlier run verified."""
    is_verified: bool
    """Whether the content is verified by the id."""
    name: str | None = None
    """Name of the share; None for an open channel."""
    done: int = 0
    """Bytes that an earlier run verified."""


class PeerJoined(Struct, frozen=True):
    """A peer is connected and accepts requests."""

    address: Address
    source: str
    """How it was found: `lan`, `dht`, `peer` (named by the user), `hint` (by the link),
    `swarm` (by a peer), `relayed` (met at a relay), or `incoming`."""
    path: str
    """How it is reached: one of `core.report.status.PATHS`."""


class PeerLeft(Struct, frozen=True):
    """A peer has disconnected."""

    address: Address
    reason: str | None
    """Why, for a person; None if it just closed the connection."""
    is_banned: bool
    """Whether it sent data that did not verify."""
    chunks: int
    """Verified chunks that it sent."""
    has: int = 0
    """Bytes of the share that it announced; 0 on an open channel."""
    uploaded: int = 0
    """Bytes of chunks that were sent to it; 0 on an open channel."""


class PeerComplete(Struct, frozen=True):
    """A peer says that its whole copy survives a power loss; fired once for each."""

    address: Address
    number: int
    """How many peers have said so, this one included."""
    has: int
    """Bytes of the share that it has announced."""
    uploaded: int
    """Bytes of chunks that were sent to it."""


class Progress(Struct, frozen=True):
    """Chunks were verified and written; fired a few times a second at most."""

    done: int
    """Bytes verified and written, those of an earlier run included.

    With patterns, as many of the chosen bytes as the part of their chunks that is done.
    """
    size: int
    """Bytes of the download, as in `Started`."""
    rate: float
    """Bytes per second, over the last seconds."""
    peers: int
    """Connected peers that accept requests."""
    uploaded: int = 0
    """Bytes of chunks that were sent to other peers."""
    sources: int = 0
    """Peers and origins that have sent verified chunks."""


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


class Reachable(Notice, frozen=True):
    """The router passes connections from the internet on to this node."""

    address: Address
    """Where peers on the internet can dial it, as the router says."""
    method: str
    """How the router was asked: by `PCP`, `NAT-PMP` or `UPnP`."""


class Hashing(Struct, frozen=True):
    """Files are hashed to be shared; fired a few times a second at most."""

    done: int
    """Bytes hashed."""
    size: int
    """Bytes of all files; 0 while a pipe is read, whose end is not known."""


class CodeChanged(Struct, frozen=True):
    """A code was entered, or is over."""

    state: str
    """`wrong` or, for the last guess, `dead`; `given` or, for the last receiver,
    `used`; `expired`."""
    guesses_left: int
    """Wrong guesses that end the code."""
    receivers_left: int
    """Receivers that can still get the link."""


DownloadEvent: TypeAlias = (
    Preparing
    | Started
    | PeerJoined
    | PeerComplete
    | PeerLeft
    | Progress
    | Stalled
    | Notice
)
"""Any event of a download."""

ShareEvent: TypeAlias = Hashing | CodeChanged | DownloadEvent
"""Any event of a share."""
