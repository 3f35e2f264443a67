"""The file system of this machine, behind the `Disk` interface.

`osfiles` has the methods for open files. Here are those for names, for whole file
systems, and for the machine itself.
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
    """Implement `Disk` on this machine's file system."""

    def list_directory(self, fd: int) -> list[str]:
        """Return the names in an open folder, in any order."""
        try:
            return os.listdir(fd)
        except OSError as error:
            raise self._failed(error, fd, "read") from error

    def fsync_directory(self, path: Name, *, at: int | None = None) -> None:
        """Flush the names in a folder, so that they survive a power loss."""
        try:
            fd = os.open(path, FOLDER_FLAGS, dir_fd=at)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno != EINVAL:  # a file system that does not need it
                raise translate(error, self._place(path, at), "flush") from error

    def free_space(self, path: Path) -> int:
        """Return how many bytes can still be written to the file system of `path`."""
        try:
            found = os.statvfs(path)
        except OSError as error:
            raise translate(error, path, "examine") from error
        return (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize

    def state_at(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> FileState | None:
        """Return the state of the file with this name; None if there is none."""
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
        """Rename a file in one step, replacing a file that has the name `target`."""
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
        """Rename a file or folder in one step, without replacing anything."""
        try:
            try:
                rename_without_replacing(str(source), str(target), at, to)
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                _rename_new_without_renameat2(source, target, at, to)
        except OSError as error:
            place = self._place(target, to)
            if error.errno in (EEXIST, ENOTEMPTY):
                raise TargetExistsError(
                    f"Another program created {place}, which was left unchanged; "
                    "choose another name."
                ) from error
            raise translate(error, place, "write") from error

    def make_directory(self, path: Name, *, at: int | None = None) -> None:
        """Create a folder with access for this user only, unless it exists."""
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
        try:
            os.unlink(path, dir_fd=at)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise translate(error, self._place(path, at), "remove") from error

    def remove_directory(self, path: Name, *, at: int | None = None) -> bool:
        """Remove a folder; return False and keep it if it is not empty."""
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
        """Flush the whole file system of `fd`; return False if that is not possible."""
        try:
            syncfs(fd)
        except OSError as error:
            if error.errno == ENOSYS:
                return False
            raise self._failed(error, fd, "flush") from error
        return True

    def allocate(self, fd: int, size: int) -> None:
        """Make a file `size` bytes long, and reserve disk space if possible."""
        if size:
            try:
                fallocate(fd, size)
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise self._failed(error, fd, "write") from error
        self.truncate(fd, size)

    def umask(self) -> int:
        """Return the umask; `os.umask` would change it for all threads for a moment."""
        try:
            with open("/proc/self/status", encoding="ascii", errors="replace") as file:
                for line in file:
                    if line.startswith("Umask:"):
                        return int(line.split()[1], 8)
        except (OSError, ValueError):
            pass
        return 0o022

    def boot_id(self) -> bytes:
        """Return 16 bytes that change each time the machine starts."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                boot = bytes.fromhex(file.read().strip().replace("-", ""))
        except (OSError, ValueError):
            return UNKNOWN_BOOT
        return boot if len(boot) == len(UNKNOWN_BOOT) else UNKNOWN_BOOT


def _rename_new_without_renameat2(
    source: Name, target: Name, at: int | None, to: int | None
) -> None:
    """Rename without replacing, where the kernel cannot do that in one call.

    A file gets the new name as a second one, which fails if the name exists, and then
    loses the old one. A folder cannot have two names; `os.rename` replaces a folder
    only if it is empty.
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
        # No hard links either (FAT): create the new name, then rename over it.
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
