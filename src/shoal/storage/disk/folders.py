"""Open and remove folders below an open folder, one path component at a time.

No link is ever followed. If another program replaces a folder with a link during a
download, that link is refused, or the original folder is still used through its
descriptor.
"""

from collections import OrderedDict
from collections.abc import Sequence
from secrets import token_hex

from shoal.errors import StoreError, run_again
from shoal.storage.disk.disk import Disk

__all__ = ["Folders", "remove_all"]

MAX_OPEN = 32
"""How many folders of one share stay open between calls."""
MAX_HELD = 16
"""How many levels of folders are open at once while they are removed."""


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
