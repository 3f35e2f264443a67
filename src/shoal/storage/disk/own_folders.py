"""Keep small files, such as the secret, where only this user may write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from stat import S_ISGID

from shoal.errors import ForbiddenError, StoreError
from shoal.storage.disk.disk import Disk

__all__ = [
    "is_own",
    "is_prune_due",
    "make_directories",
    "opened_own",
    "prune",
    "write_new_file",
]

PRUNE_PERIOD = 64  # new files
_OTHERS_WRITE = 0o022  # permission bits
_ABANDONED_NS = 3_600_000_000_000  # age at which a file that was not renamed is removed


def is_own(disk: Disk, at: int) -> bool:
    """Return True if this user owns an open folder, so no other can have filled it."""
    owner = disk.state(at).owner
    if owner == os.geteuid():
        return True
    # Some file systems (FAT, many on a network) give all that we create another owner.
    probe = f".{token_hex(12)}"
    fd = disk.create(probe, at=at)
    if fd is None:
        return False
    try:
        return disk.state(fd).owner == owner
    finally:
        disk.close(fd)
        disk.unlink(probe, at=at)


@contextmanager
def opened_own(disk: Disk, path: Path) -> Iterator[int | None]:
    """Open a folder for data that only this user may write; None if it is missing.

    Raises `ForbiddenError` if another user owns it or may write to it, and could have
    put anything there.
    """
    at = disk.open_directory(path)
    if at is None:
        yield None
        return
    try:
        if disk.state(at).mode & _OTHERS_WRITE or not is_own(disk, at):
            raise ForbiddenError(
                f"{path} is not used, because another user owns it or may write to it; "
                "remove it, or change its owner and permissions."
            )
        yield at
    finally:
        disk.close(at)


def make_directories(disk: Disk, path: Path, *, is_private: bool = True) -> None:
    """Create a folder and its missing parents, for this user only or as `mkdir` does.

    They survive a power loss: what is written into them later may have to.
    """
    for each in (*reversed(path.parents), path):
        if disk.state_at(each, follow=True) is None:
            disk.make_directory(each)
            if not is_private:
                _permit(disk, each)
            disk.fsync_directory(each.parent)


def _permit(disk: Disk, path: Path) -> None:
    """Give a new folder the permissions that `mkdir` gives it."""
    above = disk.open_directory(path.parent, follow=True)
    at = disk.open_directory(path)
    try:
        if above is not None and at is not None:
            # mkdir(2) has inherited this from the folder above, with its group.
            inherited = disk.state(at).mode & S_ISGID
            disk.set_mode(at, 0o777 & disk.permitted(above) | inherited)
    finally:
        for fd in (above, at):
            if fd is not None:
                disk.close(fd)


def is_prune_due(key: bytes, size: int, max_bytes: int) -> bool:
    """Return True if a folder should be pruned after a new file of `size` bytes.

    To look at all files takes long, so it is done for one in `PRUNE_PERIOD` keys, which
    must be hashes, and for a file that alone takes as much room as that many should.
    """
    return size * PRUNE_PERIOD > max_bytes or not key[0] % PRUNE_PERIOD


def prune(disk: Disk, at: int, max_bytes: int, max_files: int) -> None:
    """Remove the oldest files of an open folder beyond the limits.

    Drafts that a crash left, whose names begin with a dot, are removed as well.
    """
    found: list[tuple[int, int, str]] = []
    for name in disk.list_directory(at):
        state = disk.state_at(name, at=at)
        if state is not None and state.is_file:
            found.append((state.mtime_ns, state.size, name))
    found.sort(reverse=True)
    total = 0
    for place, (mtime_ns, size, name) in enumerate(found):
        total += size
        is_abandoned = name.startswith(".") and mtime_ns < found[0][0] - _ABANDONED_NS
        if is_abandoned or total > max_bytes or place >= max_files:
            disk.unlink(name, at=at)


def write_new_file(
    disk: Disk, at: int, name: str, *parts: bytes, flush: bool = False
) -> None:
    """Write a file in the open folder `at` for this user only, in one step.

    It has these parts, one after the other, and replaces a file with that name. With
    `flush` it survives a power loss; otherwise a power loss may leave the file that it
    replaces. Raises `StoreError`.
    """
    draft = f".{name[:16]}-{token_hex(8)}"
    fd = disk.create(draft, at=at)
    if fd is None:
        raise StoreError(f"{draft} already exists; try again.")
    try:
        disk.pwrite(fd, parts, 0)
        disk.fdatasync(fd)
        disk.rename(draft, name, at=at, to=at)
        if flush:
            disk.fsync_directory(".", at=at)
    except StoreError:
        disk.unlink(draft, at=at)
        raise
    finally:
        disk.close(fd)
