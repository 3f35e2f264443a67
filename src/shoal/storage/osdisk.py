"""The real disk: this machine's file system behind the `Disk` interface.

Foreign errors are translated here, once: whatever the system says becomes one of
`shoal.errors`, with the path and what to do next. Only regular files are ever
opened: links are refused unless the caller follows them on purpose, and nothing
here waits for somebody to write into a FIFO.
"""

import os
import stat
from collections.abc import Sequence
from errno import (
    EACCES,
    EDQUOT,
    EEXIST,
    EINVAL,
    ENOSPC,
    ENOSYS,
    ENOTEMPTY,
    ENOTSUP,
    EPERM,
    EROFS,
)
from pathlib import Path

from shoal.errors import (
    DiskFullError,
    ForbiddenError,
    StoreError,
    TargetExistsError,
    UsageError,
)
from shoal.storage.disk import UNKNOWN_BOOT, Data, Identity

__all__ = ["OsDisk", "translate"]

_SAFE = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a FIFO must not hang
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_MAX_BUFFERS = 1024  # how many buffers Linux takes in one pwritev
_SMALL = 16 * 1024  # bytes; what is read at once into memory of its own
_UNSUPPORTED = frozenset({EINVAL, ENOSYS, ENOTSUP, EPERM})


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


class OsDisk:
    """Do what `Disk` says on this machine's file system."""

    def __init__(self) -> None:
        self._names: dict[int, Path] = {}  # for messages
        self._spare: bytearray | None = None

    def open_read(self, path: Path, *, follow: bool = False) -> int:
        """Open a regular file to read; `follow` a link or refuse it."""
        return self._open(path, os.O_RDONLY | (0 if follow else _NO_LINKS))

    def open_write(self, path: Path) -> int:
        """Open a regular file to read and write; make it, for us alone, if missing."""
        return self._open(path, os.O_RDWR | os.O_CREAT | _NO_LINKS)

    def _open(self, path: Path, flags: int) -> int:
        try:
            fd = os.open(path, flags | _SAFE, 0o600)
        except OSError as error:
            raise translate(error, path, "open") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise UsageError(f"{path} is not a regular file; name one that is.")
        self._names[fd] = path
        return fd

    def close(self, fd: int) -> None:
        """Close a file; this never fails."""
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

    def pwrite(self, fd: int, buffers: Sequence[Data], offset: int) -> None:
        """Write all of the buffers, one after the other, from `offset` on."""
        try:
            for first in range(0, len(buffers), _MAX_BUFFERS):
                few = buffers[first : first + _MAX_BUFFERS]
                offset = _write_all(fd, few, offset)
        except OSError as error:
            raise self._failed(error, fd, "write") from error

    def fdatasync(self, fd: int) -> None:
        """Wait until the file's bytes and size would survive a power loss."""
        try:
            os.fdatasync(fd)
        except OSError as error:
            raise self._failed(error, fd, "flush") from error

    def fsync_directory(self, path: Path) -> None:
        """Wait until the names in a folder would survive a power loss."""
        try:
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _SAFE)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno != EINVAL:  # a file system that needs no such thing
                raise translate(error, path, "flush") from error

    def allocate(self, fd: int, size: int) -> None:
        """Make a file `size` bytes long and reserve the room if that is possible."""
        from shoal.storage.linux import fallocate

        if size:
            try:
                fallocate(fd, size)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise self._failed(error, fd, "write") from error
        self.truncate(fd, size)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file to `size` bytes, or lengthen it by zeroes."""
        try:
            os.ftruncate(fd, size)
        except OSError as error:
            raise self._failed(error, fd, "write") from error

    def make_public(self, fd: int) -> None:
        """Give a file the permissions that this user's new files have."""
        try:
            os.fchmod(fd, 0o666 & ~_umask())
        except OSError as error:
            # Some file systems (FAT, many network ones) know no permissions.
            if error.errno not in _UNSUPPORTED:
                raise self._failed(error, fd, "change") from error

    def free_space(self, path: Path) -> int:
        """Return how many bytes may still be written where `path` is."""
        try:
            found = os.statvfs(path)
        except OSError as error:
            raise translate(error, path, "examine") from error
        return (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize

    def identity(self, fd: int) -> Identity:
        """Return the identity of an open file."""
        try:
            return _identity(os.fstat(fd))
        except OSError as error:
            raise self._failed(error, fd, "examine") from error

    def identity_at(self, path: Path, *, follow: bool = False) -> Identity | None:
        """Return the identity of what has this name, None when nothing has."""
        try:
            return _identity(os.stat(path, follow_symlinks=follow))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise UsageError(f"{str(path)!r} cannot be the name of a file.") from error
        except OSError as error:
            raise translate(error, path, "examine") from error

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file, replacing the file that `target` may be, in one step."""
        try:
            os.replace(source, target)
        except OSError as error:
            raise translate(error, target, "write") from error

    def rename_new(self, source: Path, target: Path) -> None:
        """Rename a file or folder in one step, never onto something else."""
        from shoal.storage.linux import rename_without_replacing

        try:
            try:
                rename_without_replacing(str(source), str(target))
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                _rename_new_by_other_means(source, target)
        except OSError as error:
            if error.errno in (EEXIST, ENOTEMPTY):
                raise TargetExistsError(
                    f"{target} has come to exist meanwhile, and was left alone."
                ) from error
            raise translate(error, target, "write") from error

    def make_directory(self, path: Path) -> None:
        """Make a folder for us alone, or accept one that is ours already."""
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            found = self.identity_at(path)
            # Its name can be foretold, so in /tmp somebody may have been first.
            if found and not (found.is_directory and found.owner == os.geteuid()):
                raise ForbiddenError(
                    f"{path} is not a folder of yours; remove it or choose another "
                    "place."
                ) from None
        except OSError as error:
            raise translate(error, path, "make") from error

    def unlink(self, path: Path) -> None:
        """Remove a file, if it is there."""
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise translate(error, path, "remove") from error

    def remove_directory(self, path: Path) -> bool:
        """Remove a folder; say False, and leave it, when something is in it."""
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (ENOTEMPTY, EEXIST):
                return False
            raise translate(error, path, "remove") from error
        return True

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

    def boot_id(self) -> bytes:
        """Return 16 bytes that differ after each start of the machine."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                boot = bytes.fromhex(file.read().strip().replace("-", ""))
        except (OSError, ValueError):
            return UNKNOWN_BOOT
        return boot if len(boot) == len(UNKNOWN_BOOT) else UNKNOWN_BOOT

    def _failed(self, error: OSError, fd: int, verb: str) -> StoreError:
        return translate(error, self._names.get(fd, "a closed file"), verb)


def _identity(found: os.stat_result) -> Identity:
    # _make is the quick way; this is called for each chunk that is sent.
    return Identity._make(
        (
            found.st_dev,
            found.st_ino,
            found.st_size,
            found.st_mtime_ns,
            found.st_nlink,
            found.st_mode,
            found.st_uid,
        )
    )


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


def _rename_new_by_other_means(source: Path, target: Path) -> None:
    """Rename without replacing where the kernel cannot do it in one call.

    A file gets its second name (which fails if there is one) before it loses the
    first. For a folder `os.rename` itself refuses all but an empty folder.
    """
    if stat.S_ISDIR(os.lstat(source).st_mode):
        os.rename(source, target)
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        # No hard links either (FAT): claim the name, then rename onto the claim.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE))
        os.replace(source, target)
    else:
        os.unlink(source)


def _umask() -> int:
    """Return the umask without changing it, which would disturb other threads."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except (OSError, ValueError):
        pass
    return 0o022
