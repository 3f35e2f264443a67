"""The state of a file, by which changes of it are noticed."""

import os
import stat
from typing import NamedTuple

__all__ = ["FileState", "make_state"]


class FileState(NamedTuple):
    """Which file a name or descriptor refers to, and its state; from `stat`."""

    device: int
    inode: int
    size: int
    """In bytes."""
    mtime_ns: int
    """When the bytes last changed, in nanoseconds of the file system's clock."""
    links: int
    """How many names (hard links) it has; 0 after it was deleted or replaced."""
    mode: int
    owner: int
    ctime_ns: int
    """When anything about it last changed, including its mode and names."""

    @property
    def is_file(self) -> bool:
        """Return True if it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_sole_link(self) -> bool:
        """Return True if it is a regular file that has no other name."""
        # Asked of each of very many files.
        return self.links == 1 and stat.S_ISREG(self.mode)

    @property
    def is_directory(self) -> bool:
        """Return True if it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Return True if it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    def is_same_file(self, other: "FileState") -> bool:
        """Return True if both describe the same file, changed or not."""
        return self[:2] == other[:2]

    def is_same_state(self, other: "FileState") -> bool:
        """Return True if both describe the same file with the same bytes."""
        return self[:4] == other[:4]


def make_state(found: os.stat_result) -> FileState:
    """Return the state of a file from the result of `stat`."""
    # _make is faster than the constructor; this runs for each chunk that is sent.
    return FileState._make(
        (
            found.st_dev,
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
            found.st_nlink,
            found.st_mode,
            found.st_uid,
            found.st_ctime_ns,
        )
    )
