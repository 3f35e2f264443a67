"""The one small interface through which shoal touches the file system.

`Disk` is what the stores are written against. `shoal.storage.disk.osdisk` is the real
one; tests put a disk in its place that loses power, fills up and fails. Nothing
else in `shoal.storage` opens, reads, writes or renames anything.
"""

import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

__all__ = ["UNKNOWN_BOOT", "Data", "Disk", "FileState", "Name", "NewFile", "NewFiles"]

Data: TypeAlias = bytes | bytearray | memoryview
"""What bytes are written from: one byte per item."""

Name: TypeAlias = Path | str
"""A path; where an open folder is given with it, the name of something in there."""

NewFile: TypeAlias = tuple[str, Data, int]
"""A file that is to be made: its name, its bytes, its permissions less the umask."""

NewFiles: TypeAlias = tuple[int, Sequence[NewFile]]
"""Files that are to be made, and the open folder they are to be in."""

UNKNOWN_BOOT = bytes(16)
"""The boot id of a machine that does not tell; equal to no other, not even itself."""


class FileState(NamedTuple):
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
    ctime_ns: int
    """When anything about it last changed, its mode and names included."""

    @property
    def is_file(self) -> bool:
        """Say whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_sole_link(self) -> bool:
        """Return True if it is a regular file that has no other name."""
        return self.is_file and self.links == 1

    @property
    def is_directory(self) -> bool:
        """Say whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Say whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    def is_same_file(self, other: "FileState") -> bool:
        """Say whether both are the same file, changed or not."""
        return self[:2] == other[:2]

    def is_same_state(self, other: "FileState") -> bool:
        """Say whether both are the same file with the same bytes."""
        return self[:4] == other[:4]


class Disk(Protocol):
    """Read, write and name files; every method raises `StoreError` and its kin.

    File descriptors are integers that only their own disk understands. All methods
    may be called from several threads. `at` is an open folder: what a name given
    with it leads to is in that very folder, whatever has become of its path.
    """

    def open_read(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int:
        """Open a regular file to read; `follow` a link or refuse it.

        Raises `UsageError` for what is no regular file.
        """

    def open_write(self, path: Name, *, at: int | None = None) -> int:
        """Open a regular file to read and write; make it, for us alone, if missing."""

    def create(
        self, path: Name, *, at: int | None = None, mode: int = 0o600
    ) -> int | None:
        """Make a file and open it; None when the name is taken.

        It gets the permissions `mode`, less the umask.
        """

    def write_new(self, folders: Sequence[NewFiles]) -> list[int]:
        """Make files in different folders; return how many in each.

        Those are all of a folder, in order, or those before the first whose name is
        taken. It does what `create`, `pwrite` and `close` do, in less time, in several
        folders at once if that helps. After an error any of them may be there, some
        with some of their bytes.
        """

    def open_directory(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int | None:
        """Open a folder for use as `at`, None when it is missing.

        Raises `StoreError` for anything else, a link too unless it is to `follow`.
        """

    def list_directory(self, fd: int) -> list[str]:
        """Return the names in an open folder, in no order."""

    def close(self, fd: int) -> None:
        """Close a file or folder; this never fails."""

    def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int) -> int:
        """Fill `buffer` from `offset` on; return how many bytes there were."""

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Return `size` bytes from `offset` on, or as many as there are."""

    def pread_now(self, fd: int, size: int, offset: int) -> bytes | None:
        """Return `size` bytes if memory holds them all, else None; never wait."""

    def pread_many_now(
        self, fd: int, size: int, offsets: Iterable[int]
    ) -> list[bytes | None]:
        """Return what `pread_now` would for `size` bytes from each offset on.

        Of use for small reads: they cost less than one by one.
        """

    def read_small(self, path: Name, size: int) -> bytes | None:
        """Return all bytes of a regular file if it has `size` of them, else None.

        It does what `open_read`, `pread` and `close` do, in less time; no link is
        followed. None also says that it cannot be read.
        """

    def pwrite(self, fd: int, buffers: Sequence[Data], offset: int) -> None:
        """Write all of the buffers, one after the other, from `offset` on."""

    def fdatasync(self, fd: int) -> None:
        """Wait until the file's bytes and size would survive a power loss.

        After an error nothing written since the last success may be believed, and
        asking again does not help.
        """

    def sync_file_system(self, fd: int) -> bool:
        """Wait until all bytes and names on the file system of `fd` are safe.

        That is one wait for any number of files. Errors are told of what was
        written since `fd` was opened, and as final as those of `fdatasync`. Says
        False, having done nothing, where the system cannot.
        """

    def fsync_directory(self, path: Name, *, at: int | None = None) -> None:
        """Wait until the names in a folder would survive a power loss."""

    def allocate(self, fd: int, size: int) -> None:
        """Make a file `size` bytes long and reserve the room if that is possible."""

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file to `size` bytes, or lengthen it by zeroes."""

    def set_mode(self, fd: int, mode: int) -> None:
        """Give a file or folder these permissions, where there are such things."""

    def umask(self) -> int:
        """Return which permissions this user's new files do not get."""

    def free_space(self, path: Path) -> int:
        """Return how many bytes may still be written where `path` is."""

    def state(self, fd: int) -> FileState:
        """Return the identity of an open file or folder."""

    def state_at(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> FileState | None:
        """Return the identity of what has this name, None when nothing has."""

    def rename(
        self,
        source: Name,
        target: Name,
        *,
        at: int | None = None,
        to: int | None = None,
    ) -> None:
        """Rename a file, replacing the file that `target` may be, in one step.

        `at` is the folder that `source` is in, `to` the one for `target`.
        """

    def rename_new(
        self,
        source: Name,
        target: Name,
        *,
        at: int | None = None,
        to: int | None = None,
    ) -> None:
        """Rename a file or folder in one step.

        Raises `TargetExistsError` when `target` is there, and leaves it alone.
        """

    def make_directory(self, path: Name, *, at: int | None = None) -> None:
        """Make a folder for us alone, or accept one that is ours already.

        Raises `ForbiddenError` when the name is a link or somebody else's.
        """

    def unlink(self, path: Name, *, at: int | None = None) -> None:
        """Remove a file, if it is there."""

    def remove_directory(self, path: Name, *, at: int | None = None) -> bool:
        """Remove a folder; say False, and leave it, when something is in it."""

    def lock(self, fd: int) -> bool:
        """Lock a file until it is closed; say False when another holds the lock."""

    def boot_id(self) -> bytes:
        """Return 16 bytes that differ after each start of the machine."""
