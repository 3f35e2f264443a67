"""The folder of what this user keeps between runs, and the secret in it.

The salts of shares are derived from the secret, a file of 32 random bytes. It must be
the same for every run and every process, otherwise the same files would get a different
link each time. So the complete file is created in one step, and if two processes create
it at once, the second one uses the file of the first.
"""

import os
import sys
from pathlib import Path

from shoal.errors import ForbiddenError, StoreError, TargetExistsError
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.own_folders import make_directories, opened_own

__all__ = ["SECRET_SIZE", "user_home", "user_secret"]

SECRET_SIZE = 32
"""In bytes."""

_MODE = 0o600


def user_home() -> Path:
    """Return the folder for the data that this user keeps between runs."""
    if sys.platform == "linux":
        # The same path as platformdirs returns, without the time to import that.
        home = os.environ.get("XDG_DATA_HOME", "").strip() or "~/.local/share"
        return Path(os.path.expanduser(home), "shoal")
    else:
        from platformdirs import user_data_path

        return user_data_path("shoal")


def user_secret(disk: Disk, path: Path) -> bytes:
    """Return the secret in the file `path`; create the file if it is missing.

    Raises `ShoalError` if the file cannot be created or read, or does not contain a
    secret. An existing file is then left unchanged.
    """
    if disk.state_at(path) is None:
        make_directories(disk, path.parent)
    with opened_own(disk, path.parent) as at:
        if at is None:
            raise StoreError(f"Another program removed {path.parent}; try again.")
        if disk.state_at(path.name, at=at) is None:
            _create(disk, at, path.name)
        return _read(disk, at, path)


def _create(disk: Disk, at: int, name: str) -> None:
    draft = f".{name}-{os.urandom(8).hex()}"
    fd = disk.create(draft, at=at)
    if fd is None:
        raise StoreError(f"{draft} already exists; try again.")
    try:
        disk.pwrite(fd, [os.urandom(SECRET_SIZE)], 0)
        disk.fdatasync(fd)
        disk.rename(draft, name, at=at, to=at, replace=False)
        disk.fsync_directory(".", at=at)
    except TargetExistsError:
        disk.unlink(draft, at=at)  # another process created it first
    except StoreError:
        disk.unlink(draft, at=at)
        raise
    finally:
        disk.close(fd)


def _read(disk: Disk, at: int, path: Path) -> bytes:
    fd = disk.open_read(path.name, at=at)
    try:
        state = disk.state(fd)
        if state.owner != disk.state(at).owner:
            raise ForbiddenError(f"{path} belongs to another user; remove it.")
        if state.mode & 0o777 & ~_MODE:
            disk.set_mode(fd, _MODE)
        secret = disk.pread(fd, SECRET_SIZE + 1, 0)
    finally:
        disk.close(fd)
    if len(secret) != SECRET_SIZE:
        raise StoreError(f"{path} does not contain a secret; remove it.")
    return secret
