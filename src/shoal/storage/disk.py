"""The one small interface through which shoal touches the file system.

`Disk` is what the stores are written against. `shoal.storage.osdisk` is the real
one; tests put a disk in its place that loses power, fills up and fails. Nothing
else in `shoal.storage` opens, reads, writes or renames anything.
"""

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

__all__ = ["UNKNOWN_BOOT", "Data", "Disk", "Identity"]

Data: TypeAlias = bytes | bytearray | memoryview
"""What bytes are written from: one byte per item."""

UNKNOWN_BOOT = bytes(16)
"""The boot id of a machine that does not tell; equal to no other, not even itself."""


class Identity(NamedTuple):
    """Say which file something is, and in which state."""

    device: int
    inode: int
    size: int
    """In bytes."""
    mtime_ns: int
    """When its bytes last changed, in nanoseconds of the file system's clock."""
    links: int
    """How many names it has; 0 when it was deleted or replaced."""
    mode: int
    owner: int

    @property
    def is_file(self) -> bool:
        """Say whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_directory(self) -> bool:
        """Say whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    def is_same_file(self, other: "Identity") -> bool:
        """Say whether both are the same file, changed or not."""
        return self[:2] == other[:2]

    def is_same_state(self, other: "Identity") -> bool:
        """Say whether both are the same file with the same bytes."""
        return self[:4] == other[:4]


class Disk(Protocol):
    """Read, write and name files; every method raises `StoreError` and its kin.

    File descriptors are integers that only their own disk understands. All methods
    may be called from several threads.
    """

    def open_read(self, path: Path, *, follow: bool = False) -> int:
        """Open a regular file to read; `follow` a link or refuse it.

        Raises `UsageError` for what is no regular file.
        """

    def open_write(self, path: Path) -> int:
        """Open a regular file to read and write; make it, for us alone, if missing."""

    def close(self, fd: int) -> None:
        """Close a file; this never fails."""

    def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int) -> int:
        """Fill `buffer` from `offset` on; return how many bytes there were."""

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Return `size` bytes from `offset` on, or as many as there are."""

    def pread_now(self, fd: int, size: int, offset: int) -> bytes | None:
        """Return `size` bytes if memory holds them all, else None; never wait."""

    def pwrite(self, fd: int, buffers: Sequence[Data], offset: int) -> None:
        """Write all of the buffers, one after the other, from `offset` on."""

    def fdatasync(self, fd: int) -> None:
        """Wait until the file's bytes and size would survive a power loss.

        After an error nothing written since the last success may be believed, and
        asking again does not help.
        """

    def fsync_directory(self, path: Path) -> None:
        """Wait until the names in a folder would survive a power loss."""

    def allocate(self, fd: int, size: int) -> None:
        """Make a file `size` bytes long and reserve the room if that is possible."""

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file to `size` bytes, or lengthen it by zeroes."""

    def make_public(self, fd: int) -> None:
        """Give a file the permissions that this user's new files have."""

    def free_space(self, path: Path) -> int:
        """Return how many bytes may still be written where `path` is."""

    def identity(self, fd: int) -> Identity:
        """Return the identity of an open file."""

    def identity_at(self, path: Path, *, follow: bool = False) -> Identity | None:
        """Return the identity of what has this name, None when nothing has."""

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file, replacing the file that `target` may be, in one step."""

    def rename_new(self, source: Path, target: Path) -> None:
        """Rename a file or folder in one step.

        Raises `TargetExistsError` when `target` is there, and leaves it alone.
        """

    def make_directory(self, path: Path) -> None:
        """Make a folder for us alone, or accept one that is ours already.

        Raises `ForbiddenError` when the name is a link or somebody else's.
        """

    def unlink(self, path: Path) -> None:
        """Remove a file, if it is there."""

    def remove_directory(self, path: Path) -> bool:
        """Remove a folder; say False, and leave it, when something is in it."""

    def lock(self, fd: int) -> bool:
        """Lock a file until it is closed; say False when another holds the lock."""

    def boot_id(self) -> bytes:
        """Return 16 bytes that differ after each start of the machine."""
