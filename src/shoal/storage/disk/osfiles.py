"""Open files of this machine: opening, reading, writing and flushing them.

Only regular files are opened for reading or writing. A link is refused unless the
caller asks to follow it, and opening a FIFO never waits for its writer. `OsFiles` is
the base of `shoal.storage.disk.osdisk.OsDisk`, which adds names and whole folders.

`translate` turns the errors of the system into those of `shoal.errors`.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from errno import EACCES, EDQUOT, EINVAL, ENOENT, ENOSPC, ENOSYS, ENOTSUP, EPERM, EROFS
from typing import NamedTuple

from shoal.errors import DiskFullError, ForbiddenError, StoreError, UsageError
from shoal.storage.disk.disk import Data, FileState, Name, NewFile, NewFiles

__all__ = [
    "FOLDER_FLAGS",
    "SAFE_FLAGS",
    "UNSUPPORTED",
    "OsFiles",
    "make_state",
    "translate",
]

SAFE_FLAGS = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a FIFO must not hang
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
"""The flags with which every file is opened."""
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
FOLDER_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | SAFE_FLAGS
"""The flags with which every folder is opened."""
UNSUPPORTED = frozenset({EINVAL, ENOSYS, ENOTSUP, EPERM})
"""The errors of a kernel or file system that does not support an operation."""
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINKS | SAFE_FLAGS
_READ = os.O_RDONLY | _NO_LINKS | SAFE_FLAGS
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_MAX_BUFFERS = 1024  # buffers; the most that Linux accepts in one pwritev
# Bytes per write call. Larger calls were up to four times slower when measured;
# docs/design.md gives possible reasons.
_SLICE = 256 * 1024
_SPARE_SIZE = 16 * 1024  # bytes; the least size of the buffer that is kept for reads
_MANY = 100  # files; creating fewer takes less time than starting a thread


class OsFiles:
    """The methods of `Disk` for open files, on this machine's file system."""

    def __init__(self) -> None:
        self._names: dict[int, object] = {}  # for messages
        self._spare: bytearray | None = None

    def open_read(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int:
        """Open a regular file for reading; refuse a link unless `follow` is set."""
        return self._open(path, os.O_RDONLY | (0 if follow else _NO_LINKS), at)

    def open_write(self, path: Name, *, at: int | None = None) -> int:
        """Open a regular file for reading and writing; create it if it is missing."""
        return self._open(path, os.O_RDWR | os.O_CREAT | _NO_LINKS, at)

    def create(
        self, path: Name, *, at: int | None = None, mode: int = 0o600
    ) -> int | None:
        """Create and open a file; return None if the name exists."""
        try:
            fd = os.open(path, _NEW, mode, dir_fd=at)
        except FileExistsError:
            return None
        except OSError as error:
            raise translate(error, self._place(path, at), "create") from error
        self._names[fd] = self._place(path, at)
        return fd

    def write_new(self, folders: Sequence[NewFiles]) -> list[int]:
        """Create files in several folders; return how many in each."""
        made = [0] * len(folders)
        turns = iter(range(len(folders)))

        def make() -> None:
            for turn in turns:
                at, files = folders[turn]
                made[turn] = self._write_new(files, at)

        if len(folders) == 1 or sum(len(files) for _, files in folders) < _MANY:
            make()
            return made
        from concurrent.futures import ThreadPoolExecutor

        # Most of the time is the kernel's work on each folder, and two threads in
        # different folders do not wait for each other.
        with ThreadPoolExecutor(1, "shoal-make") as pool:
            other = pool.submit(make)
            make()
        other.result()
        return made

    def _write_new(self, files: Sequence[NewFile], at: int) -> int:
        # There may be very many small files, so this makes the fewest calls.
        write, close = os.write, os.close
        for number, (name, data, mode) in enumerate(files):
            try:
                fd = os.open(name, _NEW, mode, dir_fd=at)
            except FileExistsError:
                return number
            except OSError as error:
                raise translate(error, self._place(name, at), "create") from error
            try:
                try:
                    done = write(fd, data)
                    while done < len(data):
                        done += write(fd, memoryview(data)[done:])
                finally:
                    close(fd)
            except OSError as error:
                raise translate(error, self._place(name, at), "write") from error
        return len(files)

    def open_directory(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int | None:
        """Open a folder for use as `at`; return None if it is missing."""
        try:
            fd = os.open(path, FOLDER_FLAGS | (0 if follow else _NO_LINKS), dir_fd=at)
        except OSError as error:
            if error.errno == ENOENT:
                return None
            raise translate(error, self._place(path, at), "open") from error
        self._names[fd] = self._place(path, at)
        return fd

    def _open(self, path: Name, flags: int, at: int | None) -> int:
        place = self._place(path, at)
        try:
            fd = os.open(path, flags | SAFE_FLAGS, 0o600, dir_fd=at)
        except OSError as error:
            raise translate(error, place, "open") from error
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
        """Fill `buffer` with the bytes at `offset`; return how many were read."""
        done = 0
        try:
            with memoryview(buffer) as view:
                while done < len(view):
                    count = os.preadv(fd, (view[done:],), offset + done)
                    if not count:
                        break
                    done += count
        except OSError as error:
            raise self._failed(error, fd, "read") from error
        return done

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, or fewer at the end of the file."""
        try:
            data = os.pread(fd, size, offset)
            while len(data) < size:
                more = os.pread(fd, size - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise self._failed(error, fd, "read") from error
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
        """Return the result of `pread_now` with `size` for each offset."""
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

    def read_small(self, path: Name, size: int) -> bytes | None:
        """Return all bytes of a file if there are `size` of them."""
        # Called for each of very many small files, so this makes the fewest calls.
        try:
            fd = os.open(path, _READ)
            try:
                data = os.read(fd, size + 1)
            finally:
                os.close(fd)
        except OSError:
            return None
        return data if len(data) == size else None

    def pwrite(self, fd: int, buffers: Sequence[Data], offset: int) -> None:
        """Write all buffers, one after the other, beginning at `offset`."""
        try:
            for some in _slices(buffers):
                offset = _write_all(fd, some, offset)
        except OSError as error:
            raise self._failed(error, fd, "write") from error

    def fdatasync(self, fd: int) -> None:
        """Flush the bytes and size of a file, so that they survive a power loss."""
        try:
            os.fdatasync(fd)
        except OSError as error:
            raise self._failed(error, fd, "flush") from error

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file to `size` bytes, or extend it with zeroes."""
        try:
            os.ftruncate(fd, size)
        except OSError as error:
            raise self._failed(error, fd, "write") from error

    def set_mode(self, fd: int, mode: int) -> None:
        """Set the permissions of a file or folder, if the file system has any."""
        try:
            os.fchmod(fd, mode)
        except OSError as error:
            # FAT and many network file systems have no permissions.
            if error.errno not in UNSUPPORTED:
                raise self._failed(error, fd, "change") from error

    def state(self, fd: int) -> FileState:
        """Return the state of an open file or folder."""
        try:
            return make_state(os.fstat(fd))
        except OSError as error:
            raise self._failed(error, fd, "examine") from error

    def lock(self, fd: int) -> bool:
        """Lock a file until it is closed; return False if it is locked already."""
        import fcntl

        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._failed(error, fd, "lock") from error
        return True

    def _place(self, path: Name, at: int | None) -> object:
        return path if at is None else _Below(self._names.get(at, "…"), path)

    def _failed(self, error: OSError, fd: int, verb: str) -> StoreError:
        return translate(error, self._names.get(fd, "a closed file"), verb)


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


def _slices(buffers: Sequence[Data]) -> Iterator[list[Data]]:
    """Yield the same bytes in lists, each small enough for one write call."""
    some: list[Data] = []
    size = 0
    for buffer in buffers:
        view = memoryview(buffer)
        while view:
            part = view[: _SLICE - size]
            some.append(part)
            size += len(part)
            view = view[len(part) :]
            if size == _SLICE or len(some) == _MAX_BUFFERS:
                yield some
                some, size = [], 0
    if some:
        yield some


def _write_all(fd: int, buffers: Sequence[Data], offset: int) -> int:
    """Write all buffers at `offset`; return the offset after them."""
    end = offset + sum(map(len, buffers))
    while (written := os.pwritev(fd, buffers, offset)) < end - offset:
        offset += written
        rest: list[Data] = []
        for buffer in buffers:
            if written < len(buffer):
                rest.append(memoryview(buffer)[written:])
            written = max(0, written - len(buffer))
        buffers = rest
    return end


class _Below(NamedTuple):
    """A name in an open folder; joined only when a message needs the text."""

    folder: object
    name: object

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


def translate(error: OSError, path: object, verb: str) -> StoreError:
    """Return the shoal error for a system error about `path`.

    `verb` is the operation that failed: open, read, write and so on.
    """
    number = error.errno
    if number in (ENOSPC, EDQUOT):
        return DiskFullError(
            f"The disk is full: there is no space for {path}. "
            "Free some space and run the command again to resume."
        )
    if number in (EACCES, EPERM, EROFS):
        return ForbiddenError(
            f"This machine does not allow shoal to {verb} {path} ({error.strerror}); "
            "change its permissions or choose another place."
        )
    return StoreError(
        f"Could not {verb} {path} ({error.strerror}); "
        "fix the problem and run the command again."
    )
