"""The bytes of real files: opening, reading, writing and flushing them.

Only regular files are ever opened to read or write: links are refused unless the
caller follows them on purpose, and nothing here waits for somebody to write into a
FIFO. It is one half of `shoal.storage.disk.osdisk.OsDisk`; `osnames` is the other.
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
"""What every file is opened with."""
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
FOLDER_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | SAFE_FLAGS
"""What every folder is opened with."""
UNSUPPORTED = frozenset({EINVAL, ENOSYS, ENOTSUP, EPERM})
"""How the system says that a file system or the kernel has no such thing."""
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINKS | SAFE_FLAGS
_READ = os.O_RDONLY | _NO_LINKS | SAFE_FLAGS
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_MAX_BUFFERS = 1024  # how many buffers Linux takes in one pwritev
# Bytes written by one call. Larger calls were up to four times slower where it was
# measured; docs/design.md says what may be behind it.
_SLICE = 256 * 1024
_SMALL = 16 * 1024  # bytes; what is read at once into memory of its own
_MANY = 100  # files; to make fewer takes less time than to start a thread


class OsFiles:
    """Do what `Disk` says of open files on this machine's file system."""

    def __init__(self) -> None:
        self._names: dict[int, object] = {}  # for messages
        self._spare: bytearray | None = None

    def open_read(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int:
        """Open a regular file to read; `follow` a link or refuse it."""
        return self._open(path, os.O_RDONLY | (0 if follow else _NO_LINKS), at)

    def open_write(self, path: Name, *, at: int | None = None) -> int:
        """Open a regular file to read and write; make it, for us alone, if missing."""
        return self._open(path, os.O_RDWR | os.O_CREAT | _NO_LINKS, at)

    def create(
        self, path: Name, *, at: int | None = None, mode: int = 0o600
    ) -> int | None:
        """Make a file and open it; None when the name is taken."""
        try:
            fd = os.open(path, _NEW, mode, dir_fd=at)
        except FileExistsError:
            return None
        except OSError as error:
            raise translate(error, self._place(path, at), "make") from error
        self._names[fd] = self._place(path, at)
        return fd

    def write_new(self, folders: Sequence[NewFiles]) -> list[int]:
        """Make files in different folders; return how many in each."""
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

        # The time goes into the system's bookkeeping, which two cores can share as
        # long as they are not in the same folder.
        with ThreadPoolExecutor(1, "shoal-make") as pool:
            other = pool.submit(make)
            make()
        other.result()
        return made

    def _write_new(self, files: Sequence[NewFile], at: int) -> int:
        # There may be very many small ones, so each goes the shortest way.
        write, close = os.write, os.close
        for number, (name, data, mode) in enumerate(files):
            try:
                fd = os.open(name, _NEW, mode, dir_fd=at)
            except FileExistsError:
                return number
            except OSError as error:
                raise translate(error, self._place(name, at), "make") from error
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
        """Open a folder for use as `at`, None when it is missing."""
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
            pass  # whoever cares about the bytes has synced them before

    def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int) -> int:
        """Fill `buffer` from `offset` on; return how many bytes there were."""
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
        """Return `size` bytes from `offset` on, or as many as there are."""
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
        """Return `size` bytes if memory holds them all, else None; never wait."""
        if not _NOWAIT:
            return None
        # Fresh memory for a large read costs more than the read: keep one buffer.
        # Taking it away while it is in use is what makes this safe with threads.
        spare, self._spare = self._spare, None
        if spare is None or len(spare) < size:
            spare = bytearray(max(size, _SMALL))
        try:
            with memoryview(spare)[:size] as view:
                if os.preadv(fd, (view,), offset, _NOWAIT) != size:
                    return None
                return bytes(view)
        except OSError:  # would wait, or cannot tell: the caller reads in a thread
            return None
        finally:
            self._spare = spare

    def pread_many_now(
        self, fd: int, size: int, offsets: Iterable[int]
    ) -> list[bytes | None]:
        """Return what `pread_now` would for `size` bytes from each offset on."""
        if not _NOWAIT:
            return [None for _ in offsets]
        found: list[bytes | None] = []
        into = bytearray(size)
        buffers, read = (into,), os.preadv
        for offset in offsets:
            try:
                is_whole = read(fd, buffers, offset, _NOWAIT) == size
            except OSError:  # would wait, or cannot tell
                is_whole = False
            found.append(bytes(into) if is_whole else None)
        return found

    def read_small(self, path: Name, size: int) -> bytes | None:
        """Return all bytes of a file if it has `size` of them."""
        # Called for each of very many small files, so it goes the shortest way.
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
        """Write all of the buffers, one after the other, from `offset` on."""
        try:
            for few in _slices(buffers):
                offset = _write_all(fd, few, offset)
        except OSError as error:
            raise self._failed(error, fd, "write") from error

    def fdatasync(self, fd: int) -> None:
        """Wait until the file's bytes and size would survive a power loss."""
        try:
            os.fdatasync(fd)
        except OSError as error:
            raise self._failed(error, fd, "flush") from error

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file to `size` bytes, or lengthen it by zeroes."""
        try:
            os.ftruncate(fd, size)
        except OSError as error:
            raise self._failed(error, fd, "write") from error

    def set_mode(self, fd: int, mode: int) -> None:
        """Give a file or folder these permissions, where there are such things."""
        try:
            os.fchmod(fd, mode)
        except OSError as error:
            # Some file systems (FAT, many network ones) know no permissions.
            if error.errno not in UNSUPPORTED:
                raise self._failed(error, fd, "change") from error

    def state(self, fd: int) -> FileState:
        """Return the identity of an open file or folder."""
        try:
            return make_state(os.fstat(fd))
        except OSError as error:
            raise self._failed(error, fd, "examine") from error

    def lock(self, fd: int) -> bool:
        """Lock a file until it is closed; say False when another holds the lock."""
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
    """Return what matters of what the system says of a file."""
    # _make is the quick way; this is called for each chunk that is sent.
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
    """Yield the same bytes in lists that are to be written by one call each."""
    few: list[Data] = []
    size = 0
    for buffer in buffers:
        view = memoryview(buffer)
        while view:
            part = view[: _SLICE - size]
            few.append(part)
            size += len(part)
            view = view[len(part) :]
            if size == _SLICE or len(few) == _MAX_BUFFERS:
                yield few
                few, size = [], 0
    if few:
        yield few


def _write_all(fd: int, buffers: Sequence[Data], offset: int) -> int:
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
