"""Removing what is in a folder, whatever it is, without following a link.

Everything is named from open folders, so a link put in the place of a folder while
this runs leads nowhere.
"""

from shoal.errors import StoreError
from shoal.storage.disk.disk import Disk

__all__ = ["remove_all"]

MAX_DEPTH = 512
"""How many folders deep it goes: each level keeps one open."""


def remove_all(disk: Disk, name: str, at: int, *, depth: int = 0) -> None:
    """Remove the file, link or folder `name` in the open folder `at`, if it is there.

    Raises `StoreError` when something cannot be removed.
    """
    found = disk.identity_at(name, at=at)
    if found is None:
        return
    if not found.is_directory:
        disk.unlink(name, at=at)
        return
    if depth == MAX_DEPTH:
        raise StoreError(f"The folder {name} is nested too deep; remove it by hand.")
    fd = disk.open_directory(name, at=at)
    if fd is None:
        return
    try:
        for each in disk.list_directory(fd):
            remove_all(disk, each, fd, depth=depth + 1)
    finally:
        disk.close(fd)
    disk.remove_directory(name, at=at)
