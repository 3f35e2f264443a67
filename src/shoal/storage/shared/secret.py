"""The secret of this user, from which the salts of shares are derived.

It is 32 random bytes in a file of their own. It must be the same in every run and
for every process, or the same share would get another link each time; so it comes
to exist whole, in one step, and whoever is second takes what the first has made.
"""

import os
from pathlib import Path

from shoal.errors import ShoalError, StoreError, TargetExistsError
from shoal.storage.disk.disk import Disk
from shoal.storage.shared.hash_cache import make_directories

__all__ = ["SECRET_SIZE", "user_secret"]

SECRET_SIZE = 32
"""In bytes."""

_MODE = 0o600


def user_secret(disk: Disk, path: Path) -> bytes | None:
    """Return the secret kept at `path`, and make it if there is none.

    None means that there is none to be had: the place cannot be written, or what is
    there is no secret. It is left alone then.
    """
    try:
        if disk.state_at(path) is None:
            make_directories(disk, path.parent)
            _make(disk, path)
        return _read(disk, path)
    except ShoalError:
        return None


def _make(disk: Disk, path: Path) -> None:
    draft = path.with_name(f".{path.name}-{os.urandom(8).hex()}")
    fd = disk.create(draft)
    if fd is None:
        raise StoreError(f"{draft} is there already.")
    try:
        disk.pwrite(fd, [os.urandom(SECRET_SIZE)], 0)
        disk.fdatasync(fd)
        disk.rename_new(draft, path)
        disk.fsync_directory(path.parent)
    except TargetExistsError:
        disk.unlink(draft)  # another process was quicker
    except StoreError:
        disk.unlink(draft)
        raise
    finally:
        disk.close(fd)


def _read(disk: Disk, path: Path) -> bytes | None:
    fd = disk.open_read(path)
    try:
        state = disk.state(fd)
        if state.mode & 0o777 & ~_MODE:
            disk.set_mode(fd, _MODE)
        secret = disk.pread(fd, SECRET_SIZE + 1, 0)
    finally:
        disk.close(fd)
    return secret if len(secret) == SECRET_SIZE else None
