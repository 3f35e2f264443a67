"""What an unfinished download has left beside its target, for `shoal clean`."""

from pathlib import Path
from typing import NamedTuple

from shoal.errors import ShoalError, StoreError
from shoal.storage.disk.disk import Disk
from shoal.storage.download.staging import Staging

__all__ = ["Leftover", "find_leftover", "remove_leftover"]

MAX_DEPTH = 100  # levels of folders whose files are counted


class Leftover(NamedTuple):
    """The staging folder of an unfinished download."""

    size: int
    """How many bytes its files have, with the space that is reserved."""
    done: int
    """How many of these are chunks that were verified; 0 while it is in use."""
    is_in_use: bool
    """Whether a running process downloads into it."""


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
        size = _size(disk, at, MAX_DEPTH)
    finally:
        disk.close(at)
    try:
        staging.lock()
    except StoreError:
        return Leftover(size, 0, is_in_use=True)
    try:
        contents, _ = staging.read_journal()
    finally:
        staging.release()
    done = 0
    if contents is not None:
        header = contents.header
        done = min(len(set(contents.indexes)) * header.chunk_size, header.size)
    return Leftover(size, done, is_in_use=False)


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
