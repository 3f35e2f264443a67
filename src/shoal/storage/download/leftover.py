"""What an unfinished download has left beside its target, for `shoal clean`."""

from pathlib import Path
from typing import NamedTuple

from shoal.errors import ShoalError, StoreError
from shoal.storage.disk.disk import Disk
from shoal.storage.download.journal import JournalContents, decode
from shoal.storage.download.staging import JOURNAL, Staging

__all__ = ["Leftover", "find_leftover", "is_in_use", "remove_leftover"]

MAX_DEPTH = 100  # levels of folders whose files are counted


class Leftover(NamedTuple):
    """The staging folder of an unfinished download."""

    size: int
    """How many bytes its files have, with the space that is reserved."""
    done: int
    """How many of these are chunks that were verified."""


def find_leftover(target: Path, identity: bytes, disk: Disk) -> Leftover | None:
    """Describe the staging folder of a target; None if there is none.

    `identity` are the 32 bytes that name the share. Raises `StoreError`.
    """
    staging = Staging(target, identity, disk)
    if disk.state_at(staging.directory) is None:
        return None
    at = disk.open_directory(staging.directory)
    if at is None:
        return None
    try:
        # Without the lock, which a download that begins now needs.
        contents = _read_journal(disk, at)
        size = _size(disk, at, MAX_DEPTH)
    finally:
        disk.close(at)
    done = 0
    if contents is not None:
        header = contents.header
        done = min(len(set(contents.indexes)) * header.chunk_size, header.size)
    return Leftover(size, done)


def is_in_use(target: Path, identity: bytes, disk: Disk) -> bool:
    """Return True if a running process downloads to a target."""
    staging = Staging(target, identity, disk)
    if disk.state_at(staging.directory) is None:
        return False
    try:
        staging.lock()
    except StoreError:
        return True
    staging.release()
    return False


def _read_journal(disk: Disk, at: int) -> JournalContents | None:
    """Return what the journal in an open staging folder has so far, if anything."""
    try:
        fd = disk.open_read(JOURNAL, at=at)
    except ShoalError:
        return None
    try:
        return decode(disk.pread(fd, disk.state(fd).size, 0))
    finally:
        disk.close(fd)


def remove_leftover(target: Path, identity: bytes, disk: Disk) -> None:
    """Remove the staging folder of a target, if there is one.

    Raises `StoreError` if it is in use or cannot be removed.
    """
    staging = Staging(target, identity, disk)
    if disk.state_at(staging.directory) is not None:
        staging.lock()
        try:
            staging.remove()
        finally:
            staging.release()


def _size(disk: Disk, at: int, depth: int) -> int:
    """Return how many bytes the files below an open folder have."""
    size = 0
    for name in disk.list_directory(at):
        try:
            found = disk.state_at(name, at=at)
            if found is not None and found.is_directory and depth:
                below = disk.open_directory(name, at=at)
                if below is not None:
                    try:
                        size += _size(disk, below, depth - 1)
                    finally:
                        disk.close(below)
            elif found is not None:
                size += found.size
        except ShoalError:
            continue  # it was removed or replaced meanwhile
    return size
