"""The user's secret, from which the salts of shares are derived.

It is a file of 32 random bytes. It must be the same for every run and every process,
otherwise the same files would get a different link each time. So the complete file is
created in one step, and if two processes create it at once, the second one uses the
file of the first.
"""

import os
from pathlib import Path

from shoal.errors import StoreError, TargetExistsError
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.folders import make_directories

__all__ = ["SECRET_SIZE", "user_secret"]

SECRET_SIZE = 32
"""In bytes."""

_MODE = 0o600


def user_secret(disk: Disk, path: Path) -> bytes:
    """Return the secret in the file `path`; create the file if it is missing.

    Raises `ShoalError` if the file cannot be created or read, or does not contain a
    secret. An existing file is then left unchanged.
    """
    if disk.state_at(path) is None:
        make_directories(disk, path.parent)
        _create(disk, path)
    return _read(disk, path)


def _create(disk: Disk, path: Path) -> None:
    draft = path.with_name(f".{path.name}-{os.urandom(8).hex()}")
    fd = disk.create(draft)
    if fd is None:
        raise StoreError(f"{draft} already exists.")
    try:
        disk.pwrite(fd, [os.urandom(SECRET_SIZE)], 0)
        disk.fdatasync(fd)
        disk.rename(draft, path, replace=False)
        disk.fsync_directory(path.parent)
    except TargetExistsError:
        disk.unlink(draft)  # another process created it first
    except StoreError:
        disk.unlink(draft)
        raise
    finally:
        disk.close(fd)


def _read(disk: Disk, path: Path) -> bytes:
    fd = disk.open_read(path)
    try:
        state = disk.state(fd)
        if state.mode & 0o777 & ~_MODE:
            disk.set_mode(fd, _MODE)
        secret = disk.pread(fd, SECRET_SIZE + 1, 0)
    finally:
        disk.close(fd)
    if len(secret) != SECRET_SIZE:
        raise StoreError(f"{path} does not contain a secret; remove it.")
    return secret
