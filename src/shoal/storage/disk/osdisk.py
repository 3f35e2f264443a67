"""The names of real files: looking them up, making, changing and removing them.

It is one half of `shoal.storage.disk.osdisk.OsDisk`; `osfiles` is the other.
"""

import os
import stat
from errno import EEXIST, EINVAL, ENOSYS, ENOTEMPTY
from pathlib import Path

from shoal.errors import ForbiddenError, TargetExistsError, UsageError
from shoal.storage.disk.disk import UNKNOWN_BOOT, FileState, Name
from shoal.storage.disk.linux import fallocate, rename_without_replacing, syncfs
from shoal.storage.disk.osfiles import (
    FOLDER_FLAGS,
    SAFE_FLAGS,
    UNSUPPORTED,
    OsFiles,
    make_state,
    translate,
)

__all__ = ["OsDisk"]


class OsDisk(OsFiles):
    """Do what `Disk` says of names on this machine's file system."""

    def list_directory(self, fd: int) -> list[str]:
        """Return the names in an open folder, in no order."""
        try:
            return os.listdir(fd)
        except OSError as error:
            raise self._failed(error, fd, "read") from error

    def fsync_directory(self, path: Name, *, at: int | None = None) -> None:
        """Wait until the names in a folder would survive a power loss."""
        try:
            fd = os.open(path, FOLDER_FLAGS, dir_fd=at)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno != EINVAL:  # a file system that needs no such thing
                raise translate(error, self._place(path, at), "flush") from error

    def free_space(self, path: Path) -> int:
        """Return how many bytes may still be written where `path` is."""
        try:
            found = os.statvfs(path)
        except OSError as error:
            raise translate(error, path, "examine") from error
        return (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize

    def state_at(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> FileState | None:
        """Return the identity of what has this name, None when nothing has."""
        try:
            return make_state(os.stat(path, dir_fd=at, follow_symlinks=follow))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise UsageError(f"{str(path)!r} cannot be the name of a file.") from error
        except OSError as error:
            raise translate(error, self._place(path, at), "examine") from error

    def rename(
        self,
        source: Name,
        target: Name,
        *,
        at: int | None = None,
        to: int | None = None,
    ) -> None:
        """Rename a file, replacing the file that `target` may be, in one step."""
        try:
            os.replace(source, target, src_dir_fd=at, dst_dir_fd=to)
        except OSError as error:
            raise translate(error, self._place(target, to), "write") from error

    def rename_new(
        self,
        source: Name,
        target: Name,
        *,
        at: int | None = None,
        to: int | None = None,
    ) -> None:
        """Rename a file or folder in one step, never onto something else."""
        try:
            try:
                rename_without_replacing(str(source), str(target), at, to)
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                _rename_new_by_other_means(source, target, at, to)
        except OSError as error:
            place = self._place(target, to)
            if error.errno in (EEXIST, ENOTEMPTY):
                raise TargetExistsError(
                    f"{place} has come to exist meanwhile, and was left alone."
                ) from error
            raise translate(error, place, "write") from error

    def make_directory(self, path: Name, *, at: int | None = None) -> None:
        """Make a folder for us alone, or accept one that is ours already."""
        try:
            os.mkdir(path, 0o700, dir_fd=at)
        except FileExistsError:
            found = self.state_at(path, at=at)
            # Its name can be foretold, so in /tmp somebody may have been first.
            if found and not (found.is_directory and found.owner == os.geteuid()):
                raise ForbiddenError(
                    f"{self._place(path, at)} is not a folder of yours; remove it or "
                    "choose another place."
                ) from None
        except OSError as error:
            raise translate(error, self._place(path, at), "make") from error

    def unlink(self, path: Name, *, at: int | None = None) -> None:
        """Remove a file, if it is there."""
        try:
            os.unlink(path, dir_fd=at)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise translate(error, self._place(path, at), "remove") from error

    def remove_directory(self, path: Name, *, at: int | None = None) -> bool:
        """Remove a folder; say False, and leave it, when something is in it."""
        try:
            os.rmdir(path, dir_fd=at)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (ENOTEMPTY, EEXIST):
                return False
            raise translate(error, self._place(path, at), "remove") from error
        return True

    def sync_file_system(self, fd: int) -> bool:
        """Wait until all on the file system of `fd` is safe; False if impossible."""
        try:
            syncfs(fd)
        except OSError as error:
            if error.errno == ENOSYS:
                return False
            raise self._failed(error, fd, "flush") from error
        return True

    def allocate(self, fd: int, size: int) -> None:
        """Make a file `size` bytes long and reserve the room if that is possible."""
        if size:
            try:
                fallocate(fd, size)
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise self._failed(error, fd, "write") from error
        self.truncate(fd, size)

    def umask(self) -> int:
        """Return the umask without changing it, which would disturb other threads."""
        try:
            with open("/proc/self/status", encoding="ascii", errors="replace") as file:
                for line in file:
                    if line.startswith("Umask:"):
                        return int(line.split()[1], 8)
        except (OSError, ValueError):
            pass
        return 0o022

    def boot_id(self) -> bytes:
        """Return 16 bytes that differ after each start of the machine."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                boot = bytes.fromhex(file.read().strip().replace("-", ""))
        except (OSError, ValueError):
            return UNKNOWN_BOOT
        return boot if len(boot) == len(UNKNOWN_BOOT) else UNKNOWN_BOOT


def _rename_new_by_other_means(
    source: Name, target: Name, at: int | None, to: int | None
) -> None:
    """Rename without replacing where the kernel cannot do it in one call.

    A file gets its second name (which fails if there is one) before it loses the
    first. A folder cannot have two; `os.rename` itself refuses all but an empty one.
    """
    if stat.S_ISDIR(os.stat(source, dir_fd=at, follow_symlinks=False).st_mode):
        if _exists(target, to):
            raise FileExistsError(EEXIST, os.strerror(EEXIST))
        os.rename(source, target, src_dir_fd=at, dst_dir_fd=to)
        return
    try:
        os.link(source, target, src_dir_fd=at, dst_dir_fd=to, follow_symlinks=False)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        # No hard links either (FAT): claim the name, then rename onto the claim.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE_FLAGS
        os.close(os.open(target, flags, 0o600, dir_fd=to))
        os.replace(source, target, src_dir_fd=at, dst_dir_fd=to)
    else:
        os.unlink(source, dir_fd=at)


def _exists(path: Name, at: int | None) -> bool:
    try:
        os.stat(path, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
