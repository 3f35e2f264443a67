"""The interface through which shoal accesses the file system.

The stores use only `Disk`. `shoal.storage.disk.osdisk` implements it for this machine;
tests implement a disk that loses power, fills up and fails. Nothing else in
`shoal.storage` opens, reads, writes or renames a file.
"""

import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

__all__ = ["UNKNOWN_BOOT", "Data", "Disk", "FileState", "Name", "NewFile", "NewFiles"]

Data: TypeAlias = bytes | bytearray | memoryview
"""Bytes to be written; a memoryview must have items of one byte."""

Name: TypeAlias = Path | str
"""A path; relative to the open folder `at` if a method is given one."""

NewFile: TypeAlias = tuple[str, Data, int]
"""A file to create: its name, its bytes, and its permissions before the umask."""

NewFiles: TypeAlias = tuple[int, Sequence[NewFile]]
"""An open folder, and the files to create in it."""

UNKNOWN_BOOT = bytes(16)
"""The boot id of a machine that does not report one; two of these never match."""


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
        return self.is_file and self.links == 1

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


class Disk(Protocol):
    """Read, write and name files.

    A file descriptor is an integer that only the disk that returned it understands.
    `at` is an open folder: a name is then looked up in that folder, even if another
    program has moved or replaced the folder's path. Methods may be called from several
    threads. Every method may raise `StoreError` or one of its subclasses.
    """

    def open_read(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int:
        """Open a regular file for reading; refuse a link unless `follow` is set.

        Raises `UsageError` if it is not a regular file.
        """

    def open_write(self, path: Name, *, at: int | None = None) -> int:
        """Open a regular file for reading and writing.

        If it is missing, create it with access for this user only.
        """

    def create(
        self, path: Name, *, at: int | None = None, mode: int = 0o600
    ) -> int | None:
        """Create and open a file; return None if the name exists.

        Its permissions are `mode` less the umask.
        """

    def write_new(self, folders: Sequence[NewFiles]) -> list[int]:
        """Create files in several folders; return how many in each.

        That is the number of all files of a folder or, if a name exists, of those
        before it. This is a faster form of `create`, `pwrite` and `close`, and may
        work in several folders at once. After an error any of the files may exist,
        each with all or some of its bytes.
        """

    def open_directory(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int | None:
        """Open a folder for use as `at`; return None if it is missing.

        Raises `StoreError` if it is not a folder, or is a link and `follow` is not
        set.
        """

    def list_directory(self, fd: int) -> list[str]:
        """Return the names in an open folder, in any order."""

    def close(self, fd: int) -> None:
        """Close a file or folder; this never fails."""

    def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int) -> int:
        """Fill `buffer` with the bytes at `offset`; return how many were read.

        That is fewer than the buffer holds only at the end of the file.
        """

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, or fewer at the end of the file."""

    def pread_now(self, fd: int, size: int, offset: int) -> bytes | None:
        """Return `size` bytes if all are in memory, otherwise None; never block."""

    def pread_many_now(
        self, fd: int, size: int, offsets: Iterable[int]
    ) -> list[bytes | None]:
        """Return the result of `pread_now` with `size` for each offset.

        For small reads this is faster than one call for each.
        """

    def read_small(self, path: Name, size: int) -> bytes | None:
        """Return all bytes of a regular file if there are `size` of them.

        Otherwise, and if the file cannot be read, return None. This is a faster form
        of `open_read`, `pread` and `close`; it does not follow links.
        """

    def pwrite(self, fd: int, buffers: Sequence[Data], offset: int) -> None:
        """Write all buffers, one after the other, beginning at `offset`."""

    def fdatasync(self, fd: int) -> None:
        """Flush the bytes and size of a file, so that they survive a power loss.

        After an error nothing that was written since the last success can be relied
        on, and another call does not help.
        """

    def sync_file_system(self, fd: int) -> bool:
        """Flush all bytes and names on the file system of `fd`.

        This takes one wait for any number of files. It reports errors of writes since
        `fd` was opened; they are final, as with `fdatasync`. Where the system cannot
        do it, return False and do nothing.
        """

    def fsync_directory(self, path: Name, *, at: int | None = None) -> None:
        """Flush the names in a folder, so that they survive a power loss."""

    def allocate(self, fd: int, size: int) -> None:
        """Make a file `size` bytes long, and reserve disk space if possible."""

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file to `size` bytes, or extend it with zeroes."""

    def set_mode(self, fd: int, mode: int) -> None:
        """Set the permissions of a file or folder, if the file system has any."""

    def umask(self) -> int:
        """Return the permission bits that this user's new files do not get."""

    def free_space(self, path: Path) -> int:
        """Return how many bytes can still be written to the file system of `path`."""

    def state(self, fd: int) -> FileState:
        """Return the state of an open file or folder."""

    def state_at(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> FileState | None:
        """Return the state of the file with this name; None if there is none."""

    def rename(
        self,
        source: Name,
        target: Name,
        *,
        at: int | None = None,
        to: int | None = None,
    ) -> None:
        """Rename a file in one step, replacing a file that has the name `target`.

        `at` is the open folder that contains `source`, `to` the one for `target`.
        """

    def rename_new(
        self,
        source: Name,
        target: Name,
        *,
        at: int | None = None,
        to: int | None = None,
    ) -> None:
        """Rename a file or folder in one step, without replacing anything.

        Raises `TargetExistsError` if `target` exists.
        """

    def make_directory(self, path: Name, *, at: int | None = None) -> None:
        """Create a folder with access for this user only, unless it exists.

        Raises `ForbiddenError` if the name is a link or belongs to another user.
        """

    def unlink(self, path: Name, *, at: int | None = None) -> None:
        """Remove a file, if it exists."""

    def remove_directory(self, path: Name, *, at: int | None = None) -> bool:
        """Remove a folder; return False and keep it if it is not empty."""

    def lock(self, fd: int) -> bool:
        """Lock a file until it is closed; return False if it is locked already."""

    def boot_id(self) -> bytes:
        """Return 16 bytes that change each time the machine starts."""
