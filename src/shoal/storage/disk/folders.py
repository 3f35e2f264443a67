"""Open and remove folders below an open folder, one path component at a time.

No link is ever followed. If another program replaces a folder with a link during a
download, that link is refused, or the original folder is still used through its
descriptor.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from stat import S_ISGID

from shoal.errors import ForbiddenError, StoreError, run_again
from shoal.storage.disk.disk import Disk

__all__ = [
    "Folders",
    "is_own",
    "is_prune_due",
    "make_directories",
    "opened_own",
    "prune",
    "remove_all",
    "write_new_file",
]

MAX_OPEN = 32
"""How many folders of one share stay open between calls."""
MAX_HELD = 16
"""How many levels of folders are open at once while they are removed."""
_OTHERS_WRITE = 0o022  # permission bits
PRUNE_PERIOD = 64  # new files
_ABANDONED_NS = 3_600_000_000_000  # age at which a file that was not renamed is removed


class Folders:
    """Open folders below `root` by path; for one thread at a time."""

    def __init__(self, disk: Disk, root: int) -> None:
        """Use the open folder `root`, which the caller closes."""
        self._disk = disk
        self._root = root
        self._open: OrderedDict[str, int] = OrderedDict()
        self._pinned: set[str] = set()  # those that the last call returned

    def find(self, path: str) -> int | None:
        """Return a folder, which stays open until the next call; None if missing.

        `path` has `/` between the names and is empty for the root. Raises
        `StoreError` for a link or anything else that is not a folder.
        """
        self._unpin()
        return self._find(path, create=False)

    def make(self, path: str) -> int:
        """Return a folder as `find` does; create it if it is missing."""
        return self.make_all([path])[0]

    def make_all(self, paths: Sequence[str]) -> list[int]:
        """Return several folders as `make` does; all stay open until the next call."""
        self._unpin()
        return [self._make(path) for path in paths]

    def _unpin(self) -> None:
        self._pinned.clear()
        self._close_surplus()

    def _make(self, path: str) -> int:
        fd = self._find(path, create=True)
        if fd is None:
            raise StoreError(
                f"Another program removed the folder {path} during the download; "
                f"{run_again()}."
            )
        return fd

    def _find(self, path: str, create: bool) -> int | None:
        """Open a folder from the deepest open one above it, and pin it."""
        if not path:
            return self._root
        self._pinned.add(path)
        names = path.split("/")
        paths = ["/".join(names[:end]) for end in range(1, len(names) + 1)]
        start = len(names)
        while start and paths[start - 1] not in self._open:
            start -= 1
        at = self._open[paths[start - 1]] if start else self._root
        if start:
            self._open.move_to_end(paths[start - 1])
        for name, each in zip(names[start:], paths[start:], strict=True):
            fd = self._disk.open_directory(name, at=at)
            if fd is None and create:
                self._disk.make_directory(name, at=at)
                fd = self._disk.open_directory(name, at=at)
            if fd is None:
                return None
            self._open[each] = at = fd
            # However deep the folder is, only a few above it stay open.
            self._close_surplus(keep=each)
        return at

    def _close_surplus(self, keep: str = "") -> None:
        limit = min(MAX_OPEN, self._disk.open_files.most_folders)
        if len(self._open) <= limit:
            return
        for path in list(self._open)[: max(0, len(self._open) - limit)]:
            if path not in self._pinned and path != keep:
                self._disk.close(self._open.pop(path))

    def close(self) -> None:
        """Close all folders but the root; the object can be used again afterwards."""
        while self._open:
            _, fd = self._open.popitem()
            self._disk.close(fd)


def remove_all(disk: Disk, name: str, at: int) -> None:
    """Remove the file, link or folder `name` in the open folder `at`, if it exists.

    A folder is removed with its contents, however deep it is. Raises `StoreError` if
    that fails.
    """
    found = disk.state_at(name, at=at)
    if found is None:
        return
    if not found.is_directory:
        disk.unlink(name, at=at)
        return
    fd = disk.open_directory(name, at=at)
    if fd is None:
        return
    try:
        # Again as long as something was moved there.
        while disk.list_directory(fd):
            _empty(disk, fd, fd, 1)
    finally:
        disk.close(fd)
    disk.remove_directory(name, at=at)


def _empty(disk: Disk, at: int, top: int, depth: int) -> None:
    """Remove everything in a folder; move what is too deep into the folder `top`."""
    for name in disk.list_directory(at):
        found = disk.state_at(name, at=at)
        if found is None:
            continue
        if not found.is_directory:
            disk.unlink(name, at=at)
            continue
        if depth == MAX_HELD:
            moved = f"{found.inode:x}-{token_hex(8)}"
            disk.rename(name, moved, at=at, to=top, replace=False)
            continue
        fd = disk.open_directory(name, at=at)
        if fd is None:
            continue
        try:
            _empty(disk, fd, top, depth + 1)
        finally:
            disk.close(fd)
        disk.remove_directory(name, at=at)


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


def make_directories(
    disk: Disk, path: Path, *, flush: bool = True, is_private: bool = True
) -> None:
    """Create a folder and its missing parents, for this user only or as `mkdir` does.

    With `flush` they survive a power loss.
    """
    for each in (*reversed(path.parents), path):
        if disk.state_at(each, follow=True) is None:
            disk.make_directory(each)
            if not is_private:
                _permit(disk, each)
            if flush:
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
        raise StoreError(f"{draft} already exists.")
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
