"""What the system says of a file, in shoal's words.

Foreign errors are translated here, once: each becomes one of `shoal.errors`, with
the path and what to do next.
"""

from errno import EACCES, EDQUOT, EINVAL, ENOSPC, ENOSYS, ENOTSUP, EPERM, EROFS
from typing import NamedTuple

from shoal.errors import DiskFullError, ForbiddenError, StoreError

__all__ = ["UNSUPPORTED", "Below", "translate"]

UNSUPPORTED = frozenset({EINVAL, ENOSYS, ENOTSUP, EPERM})
"""How the system says that a file system or the kernel has no such thing."""


class Below(NamedTuple):
    """Name something in an open folder; put together only for a message."""

    folder: object
    name: object

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


def translate(error: OSError, path: object, verb: str) -> StoreError:
    """Return what shoal says when `path` could not be opened, read, written, ..."""
    number = error.errno
    if number in (ENOSPC, EDQUOT):
        return DiskFullError(
            f"The disk is full: there is no room for {path}. "
            "Free some space and run the command again to go on."
        )
    if number in (EACCES, EPERM, EROFS):
        return ForbiddenError(
            f"This machine does not allow shoal to {verb} {path} ({error.strerror}); "
            "change its permissions or choose another place."
        )
    return StoreError(
        f"Could not {verb} {path} ({error.strerror}); "
        "see to it and run the command again."
    )
