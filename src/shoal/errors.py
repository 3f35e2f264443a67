"""Every error shoal raises, with blame in the type and an exit code on each.

The tree (the number is the exit code of the command line):

    ShoalError                  1
    ├── UsageError              2   you asked for something that cannot be
    ├── NotFoundError           3   nobody has it
    ├── StoreError              1   this machine's file system
    │   ├── ForbiddenError      4
    │   ├── TargetExistsError   6
    │   └── DiskFullError       9
    ├── VerificationError       5   only wrong bytes are to be had
    ├── ManifestError           5   whoever made the link made it of bad parts
    ├── UnfinishedError         7   stopped half-way; run again to go on
    ├── NetworkError            1   this machine's network
    └── PeerError               1   a peer's fault: ends that peer, never the download
        ├── ProtocolError           it sent what the protocol does not allow
        ├── LyingPeerError          it sent bytes that do not verify
        ├── NotAHolderError         it does not know the id of a sealed share
        ├── SelfConnectionError     it is this very node
        └── PeerTimeoutError        it did not answer in time

Messages are whole sentences for the person at the keyboard and say what to do
next. Only `shoal.cli` prints them or exits.
"""

__all__ = [
    "DiskFullError",
    "ForbiddenError",
    "LyingPeerError",
    "ManifestError",
    "NetworkError",
    "NotAHolderError",
    "NotFoundError",
    "PeerError",
    "PeerTimeoutError",
    "ProtocolError",
    "SelfConnectionError",
    "ShoalError",
    "StoreError",
    "TargetExistsError",
    "UnfinishedError",
    "UsageError",
    "VerificationError",
]


class ShoalError(Exception):
    """Stand for anything that went wrong; the base of the whole tree."""

    exit_code = 1
    """What the command line exits with when this error ends it."""


class UsageError(ShoalError):
    """Say that the request itself cannot be met; ask for something else."""

    exit_code = 2


class NotFoundError(ShoalError):
    """Say that nobody who has the share was found in time."""

    exit_code = 3


class StoreError(ShoalError):
    """Say that this machine's file system would not do what was needed."""


class ForbiddenError(StoreError):
    """Say that the file system forbids reading or writing there."""

    exit_code = 4


class TargetExistsError(StoreError):
    """Say that the target is already there and was left alone."""

    exit_code = 6


class DiskFullError(StoreError):
    """Say that the disk is full; what was verified is kept for a resume."""

    exit_code = 9


class VerificationError(ShoalError):
    """Say that the bytes to be had do not match the id."""

    exit_code = 5


class ManifestError(ShoalError):
    """Say that the link itself names something that must not be fetched.

    The id commits to every byte of the manifest, so no peer is to blame and none
    has a better one: it ends the whole download, before anything is written.
    """

    exit_code = 5


class UnfinishedError(ShoalError):
    """Say that the download stopped half-way and can be resumed."""

    exit_code = 7


class NetworkError(ShoalError):
    """Say that this machine's network would not do what was needed."""


class PeerError(ShoalError):
    """Blame one peer: its connection ends, the download goes on."""


class ProtocolError(PeerError):
    """Blame a peer for bytes or messages that the protocol does not allow."""


class LyingPeerError(PeerError):
    """Blame a peer for data that does not match its hash."""


class NotAHolderError(PeerError):
    """Blame a peer for not knowing the id: whoever it is, it is no holder."""


class SelfConnectionError(PeerError):
    """Say that the peer is this node itself: forget its address."""


class PeerTimeoutError(PeerError):
    """Blame a peer for not answering in time."""
