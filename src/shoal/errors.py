"""Every error that shoal raises.

The class tells which party is at fault; each class has an exit code for the command
line (the number below).

    ShoalError                  1
    ├── UsageError              2   the request cannot be fulfilled
    ├── NotFoundError           3   no peer has the share, or it has no such file
    ├── StoreError              1   a fault of this machine's file system
    │   ├── ForbiddenError      4
    │   ├── TargetExistsError   6
    │   └── DiskFullError       9
    ├── VerificationError       5   all peers send bytes that do not match the id
    ├── ManifestError           5   the link describes an invalid share
    ├── UnfinishedError         7   the download stopped half-way and can be resumed
    ├── CodeError               8   a code is wrong, or in use
    ├── NetworkError            1   a fault of this machine's network
    ├── RouterError             1   the router maps no port: sharing continues
    └── PeerError               1   a fault of one peer: the download continues

A message is a whole sentence for the user: what happened, and what to do next. It names
arguments of Python, or flags if the command line runs (`use_command_line_words`). Only
`shoal.cli` prints messages and exits.
"""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "NO_DESCRIPTORS",
    "CodeError",
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
    "RelayError",
    "RouterError",
    "SelfConnectionError",
    "ShoalError",
    "StoreError",
    "TargetExistsError",
    "UnfinishedError",
    "UsageError",
    "VerificationError",
    "bad_link",
    "first_error",
    "option",
    "run_again",
    "told",
    "use_command_line_words",
]

NO_DESCRIPTORS = (
    "This process or machine has too many files and connections open; raise the limit "
    "(ulimit -n) or end other programs."
)
"""The message for an operation that found no file descriptor."""


_words = {"are_of_command_line": False}
_ARGUMENTS = {
    "--peer": "peers",
    "--relay": "relays",
    "--origin": "origins",
    "-f": "overwrite",
}
"""The arguments of the Python API whose names are not those of their flags."""


@contextmanager
def use_command_line_words() -> Iterator[None]:
    """Let messages name flags and commands instead of the arguments of Python calls."""
    before, _words["are_of_command_line"] = _words["are_of_command_line"], True
    try:
        yield
    finally:
        _words["are_of_command_line"] = before


def told(command: str, python: str) -> str:
    """Return the words for a user of the command line, or of the Python API."""
    return command if _words["are_of_command_line"] else python


def option(flag: str, value: object = None) -> str:
    """Return how a message names an option: `--chunk-size 64`, or `chunk_size=64`."""
    name = _ARGUMENTS.get(flag, flag.lstrip("-").replace("-", "_"))
    if value is None:
        return told(flag, f"the argument {name}")
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return told(f"{flag} {value}", f"{name}={shown}")


def run_again() -> str:
    """Return `run the command again`, or what a Python program does instead."""
    return told("run the command again", "call it again")


class ShoalError(Exception):
    """Base class of every error that shoal raises."""

    exit_code = 1
    """Exit code of the command line when this error ends it."""


class UsageError(ShoalError):
    """The request itself cannot be fulfilled; a different one may be."""

    exit_code = 2


class NotFoundError(ShoalError):
    """No peer that has the share was found in time, or the share has no such file."""

    exit_code = 3


class StoreError(ShoalError):
    """The file system of this machine reported an error."""


class ForbiddenError(StoreError):
    """The file system denies permission to read or write."""

    exit_code = 4


class TargetExistsError(StoreError):
    """The target exists and was not changed."""

    exit_code = 6


class DiskFullError(StoreError):
    """The disk is full; verified chunks are kept, so the download can be resumed."""

    exit_code = 9


class VerificationError(ShoalError):
    """The available bytes do not match the id."""

    exit_code = 5


class ManifestError(ShoalError):
    """The link describes a share that shoal refuses to fetch.

    The id commits to every byte of the manifest, so every peer has the same one. The
    error ends the download before anything is written.
    """

    exit_code = 5


def bad_link(problem: str) -> ManifestError:
    """Return the error that ends the download of a share with this problem."""
    return ManifestError(
        f"This link is refused, and nothing was written: {problem}. Ask its sender for "
        "a new link."
    )


class UnfinishedError(ShoalError):
    """The download stopped half-way and can be resumed."""

    exit_code = 7
    what: str | None = None
    """What happened, without the advice to call it again; None if there is none."""

    @classmethod
    def again(cls, what: str, purpose: str = "") -> "UnfinishedError":
        """Return an error with the advice to call it again.

        `error = shoal.UnfinishedError.again("Half was copied", " to copy the rest")`:
        the message is one sentence, with the advice between the two texts.
        """
        error = cls(f"{what}; {run_again()}{purpose}.")
        error.what = f"{what}."
        return error


class CodeError(ShoalError):
    """A code is wrong, or is being used by another receiver."""

    exit_code = 8


class NetworkError(ShoalError):
    """The network of this machine reported an error."""


class RouterError(ShoalError):
    """The router of this network does not map a port.

    The message is the end of a sentence that begins with the router.
    """


class PeerError(ShoalError):
    """One peer is at fault: its connection ends, the download continues."""


class ProtocolError(PeerError):
    """A peer sent bytes or messages that the protocol does not allow."""


class RelayError(PeerError):
    """A relay cannot be reached or refuses, so no peer is met there."""


class LyingPeerError(PeerError):
    """A peer sent data that does not match its hash."""


class NotAHolderError(PeerError):
    """The peer does not know the id of the share, so it does not have the link."""


class SelfConnectionError(PeerError):
    """The peer is this node itself; its address is not dialled again."""


class PeerTimeoutError(PeerError):
    """A peer did not answer in time."""


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error in a group, or in the groups in it, that is no group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
