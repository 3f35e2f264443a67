"""All access of shoal to the file system.

The stores use only `Disk`; tests replace it with a disk that loses power, fills up and
fails. Nothing else in `shoal.storage` opens, reads, writes or renames a file. Only
regular files are opened for reading or writing, and opening a FIFO never waits for its
writer.
"""

import os
import stat
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from errno import EEXIST, EINVAL, ENOENT, ENOSYS, ENOTDIR, ENOTEMPTY
from functools import cached_property
from pathlib import Path

from shoal.errors import ForbiddenError, UsageError
from shoal.storage.disk import linux
from shoal.storage.disk.file_state import FileState, make_state
from shoal.storage.disk.many import WholeFile, create_files, read_whole, states_of
from shoal.storage.disk.openfiles import OpenFileLimit
from shoal.storage.disk.system import (
    FOLDER_FLAGS,
    NEW_FLAGS,
    NO_LINKS,
    SAFE_FLAGS,
    UNKNOWN_BOOT,
    UNSUPPORTED,
    Below,
    Data,
    Name,
    NewFiles,
    rename_new,
    translate,
    translated,
    write_slices,
)

__all__ = ["UNKNOWN_BOOT", "Data", "Disk", "FileState", "Name", "NewFiles", "WholeFile"]

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_SPARE_SIZE = 16 * 1024  # bytes; the least size of the buffer that is kept for reads


class Disk:
    """Read, write and name files on this machine's file system.

    `at` is an open folder: a name is then looked up in that folder, even if another
    program has moved or replaced the folder's path. Methods may be called from several
    threads. Every method may raise `StoreError` or one of its subclasses.
    """

    def __init__(self) -> None:
        self._names: dict[int, object] = {}  # for messages
        self._spare: bytearray | None = None

    @cached_property
    def open_files(self) -> OpenFileLimit:
        """Return the limit of files that all shares of the node keep open."""
        return OpenFileLimit()

    def open_read(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int:
        """Open a regular file for reading; refuse a link unless `follow` is set.

        Raises `UsageError` if it is not a regular file.
        """
        return self._open(path, os.O_RDONLY | (0 if follow else NO_LINKS), at)

    def open_write(self, path: Name, *, at: int | None = None) -> int:
        """Open a regular file for reading and writing.

        If it is missing, create it with access for this user only.
        """
        return self._open(path, os.O_RDWR | os.O_CREAT | NO_LINKS, at)

    def create(
        self, path: Name, *, at: int | None = None, mode: int = 0o600
    ) -> int | None:
        """Create and open a file; return None if the name exists.

        Its permissions are `mode` less the umask.
        """
        try:
            fd = os.open(path, NEW_FLAGS, mode, dir_fd=at)
        except FileExistsError:
            return None
        except OSError as error:
            raise translate(error, self._place(path, at), "create") from error
        self._names[fd] = self._place(path, at)
        return fd

    def write_new(self, folders: Sequence[NewFiles]) -> list[int]:
        """Create files in several folders; return how many in each.

        That is the number of all files of a folder or, if a name exists, of those
        before it. This is a faster form of `create`, `pwrite` and `close`, and may
        work in several folders at once. After an error any of the files may exist,
        each with all or some of its bytes.
        """
        return create_files(folders, [self._name(at) for at, _ in folders])

    def open_directory(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int | None:
        """Open a folder for use as `at`; return None if it is missing.

        Raises `StoreError` if it is not a folder, or is a link and `follow` is not
        set.
        """
        try:
            fd = os.open(path, FOLDER_FLAGS | (0 if follow else NO_LINKS), dir_fd=at)
        except OSError as error:
            if error.errno == ENOENT:
                return None
            raise translate(error, self._place(path, at), "open") from error
        self._names[fd] = self._place(path, at)
        return fd

    def _open(self, path: Name, flags: int, at: int | None) -> int:
        place = self._place(path, at)
        with translated(place, "open"):
            fd = os.open(path, flags | SAFE_FLAGS, 0o600, dir_fd=at)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise UsageError(f"{place} is not a regular file; name one that is.")
        self._names[fd] = place
        return fd

    def close(self, fd: int) -> None:
        """Close a file or folder; this never fails."""
        self._names.pop(fd, None)
        try:
            os.close(fd)
        except OSError:
            pass  # a caller that needs the bytes on disk has flushed them before

    def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int) -> int:
        """Fill `buffer` with the bytes at `offset`; return how many were read.

        That is fewer than the buffer holds only at the end of the file.
        """
        done = 0
        with self._translated(fd, "read"), memoryview(buffer) as view:
            while done < len(view):
                count = os.preadv(fd, (view[done:],), offset + done)
                if not count:
                    break
                done += count
        return done

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, or fewer at the end of the file."""
        with self._translated(fd, "read"):
            data = os.pread(fd, size, offset)
            while len(data) < size:
                more = os.pread(fd, size - len(data), offset + len(data))
                if not more:
                    break
                data += more
        return data

    def pread_now(self, fd: int, size: int, offset: int) -> bytes | None:
        """Return `size` bytes if all are in memory, otherwise None; never block."""
        if not _NOWAIT:
            return None
        # New memory for a large read takes longer than the read, so one buffer is kept.
        # While one thread uses it the attribute is None, so no other thread can.
        spare, self._spare = self._spare, None
        if spare is None or len(spare) < size:
            spare = bytearray(max(size, _SPARE_SIZE))
        try:
            with memoryview(spare)[:size] as view:
                if os.preadv(fd, (view,), offset, _NOWAIT) != size:
                    return None
                return bytes(view)
        except OSError:  # it would block, or the file system cannot report that
            return None
        finally:
            self._spare = spare

    def pread_many_now(
        self, fd: int, size: int, offsets: Iterable[int]
    ) -> list[bytes | None]:
        """Return the result of `pread_now` with `size` for each offset.

        For small reads this is faster than one call for each.
        """
        if not _NOWAIT:
            return [None for _ in offsets]
        found: list[bytes | None] = []
        into = bytearray(size)
        buffers, read = (into,), os.preadv
        for offset in offsets:
            try:
                is_whole = read(fd, buffers, offset, _NOWAIT) == size
            except OSError:  # it would block, or the file system cannot report that
                is_whole = False
            found.append(bytes(into) if is_whole else None)
        return found

    def read_whole(self, files: Iterable[WholeFile]) -> list[bytes | None]:
        """Return all bytes of several small regular files: path, size, state.

        None stands for a file that has another size or, if one is given, another
        state, is a link, or cannot be read.
        """
        return read_whole(files)

    def pwrite(self, fd: int, buffers: Sequence[Data], offset: int) -> None:
        """Write all buffers, one after the other, beginning at `offset`."""
        with self._translated(fd, "write"):
            write_slices(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        """Flush the bytes and size of a file, so that they survive a power loss.

        After an error nothing that was written since the last success can be relied
        on, and another call does not help.
        """
        with self._translated(fd, "flush"):
            os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file to `size` bytes, or extend it with zeroes."""
        with self._translated(fd, "write"):
            os.ftruncate(fd, size)

    def set_mode(self, fd: int, mode: int) -> None:
        """Set the permissions of a file or folder, if the file system has any."""
        # FAT and many network file systems have no permissions.
        with self._translated(fd, "change", ignored=UNSUPPORTED):
            os.fchmod(fd, mode)

    def acl_of(self, path: Name, *, at: int | None = None) -> bytes | None:
        """Return the access ACL of a file; None if it, or the system, has none."""
        return linux.read_acl(path if at is None else f"/proc/self/fd/{at}/{path}")

    def set_acl(self, fd: int, acl: bytes | None) -> None:
        """Give a file an access ACL from `acl_of`; None removes the inherited one."""
        with self._translated(fd, "change", ignored=UNSUPPORTED):
            linux.write_acl(fd, acl)

    def state(self, fd: int) -> FileState:
        """Return the state of an open file or folder."""
        try:
            return make_state(os.fstat(fd))
        except OSError as error:
            raise translate(error, self._name(fd), "examine") from error

    def lock(self, fd: int) -> bool:
        """Lock a file until it is closed; return False if it is locked already."""
        import fcntl

        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise translate(error, self._name(fd), "lock") from error
        return True

    def list_directory(self, fd: int) -> list[str]:
        """Return the names in an open folder, in any order."""
        with self._translated(fd, "read"):
            return os.listdir(fd)

    def fsync_directory(self, path: Name, *, at: int | None = None) -> None:
        """Flush the names in a folder, so that they survive a power loss."""
        # A file system that does not need it reports EINVAL.
        with translated(self._place(path, at), "flush", ignored=(EINVAL,)):
            fd = os.open(path, FOLDER_FLAGS, dir_fd=at)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def free_space(self, at: Path | int) -> int:
        """Return how many bytes can be written to the file system of a path or fd."""
        with translated(at if isinstance(at, Path) else self._name(at), "examine"):
            found = os.statvfs(at)
        return (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize

    def state_at(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> FileState | None:
        """Return the state of the file with this name; None if there is none."""
        return self.states_at((path,), at=at, follow=follow)[0]

    def states_at(
        self, paths: Sequence[Name], *, at: int | None = None, follow: bool = False
    ) -> list[FileState | None]:
        """Return the result of `state_at` for each name."""
        folder = None if at is None else self._names.get(at, "…")
        return states_of(paths, at, follow, folder)

    def rename(
        self,
        source: Name,
        target: Name,
        *,
        at: int | None = None,
        to: int | None = None,
        replace: bool = True,
    ) -> None:
        """Rename a file in one step, replacing a file that has the name `target`.

        Without `replace` it may be a folder, and nothing is replaced:
        raises `TargetExistsError` if `target` exists. `at` is the open folder that
        contains `source`, `to` the one for `target`.
        """
        place = self._place(target, to)
        with translated(place, "write"):
            if replace:
                os.replace(source, target, src_dir_fd=at, dst_dir_fd=to)
            else:
                rename_new(source, target, at, to, place)

    def make_directory(self, path: Name, *, at: int | None = None) -> None:
        """Create a folder with access for this user only, unless it exists.

        Raises `ForbiddenError` if the name is a link or belongs to another user.
        """
        try:
            os.mkdir(path, 0o700, dir_fd=at)
        except FileExistsError:
            found = self.state_at(path, at=at)
            # The name can be guessed, so in /tmp another user may have created it.
            if found and not (found.is_directory and found.owner == os.geteuid()):
                raise ForbiddenError(
                    f"{self._place(path, at)} is not a folder that you own; remove it "
                    "or choose another place."
                ) from None
        except OSError as error:
            raise translate(error, self._place(path, at), "create") from error

    def unlink(self, path: Name, *, at: int | None = None) -> None:
        """Remove a file, if it exists."""
        place = self._place(path, at)
        with translated(place, "remove", ignored=(ENOENT, ENOTDIR)):
            os.unlink(path, dir_fd=at)

    def remove_directory(self, path: Name, *, at: int | None = None) -> bool:
        """Remove a folder; return False and keep it if it is not empty."""
        with translated(self._place(path, at), "remove", ignored=(ENOENT,)):
            try:
                os.rmdir(path, dir_fd=at)
            except OSError as error:
                if error.errno not in (ENOTEMPTY, EEXIST):
                    raise
                return False
        return True

    def sync_file_system(self, fd: int) -> bool:
        """Flush all bytes and names on the file system of `fd`.

        This takes one wait for any number of files. It reports errors of writes since
        `fd` was opened; they are final, as with `fdatasync`. Where the system cannot
        do it, return False and do nothing.
        """
        try:
            linux.syncfs(fd)
        except OSError as error:
            if error.errno == ENOSYS:
                return False
            raise translate(error, self._name(fd), "flush") from error
        return True

    def allocate(self, fd: int, size: int) -> None:
        """Make a file `size` bytes long, and reserve disk space if possible."""
        if size:
            with self._translated(fd, "write", ignored=UNSUPPORTED):
                linux.fallocate(fd, size)
        self.truncate(fd, size)

    def permitted(self, at: int) -> int:
        """Return the permission bits of new files in a folder, by ACL or umask."""
        return linux.permitted_by(at)

    def boot_id(self) -> bytes:
        """Return 16 bytes that change each time the machine starts."""
        return linux.read_boot_id() or UNKNOWN_BOOT

    def _place(self, path: Name, at: int | None) -> object:
        return path if at is None else Below(self._names.get(at, "…"), path)

    def _translated(
        self, fd: int, verb: str, ignored: Collection[int] = ()
    ) -> AbstractContextManager[None]:
        return translated(self._name(fd), verb, ignored)

    def _name(self, fd: int) -> object:
        return self._names.get(fd, "a closed file")
