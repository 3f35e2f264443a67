"""Open and remove folders below an open folder, one path component at a time.

No link is ever followed. If another program replaces a folder with a link during a
download, that link is refused, or the original folder is still used through its
descriptor.
"""

from collections import OrderedDict
from collections.abc import Sequence

from shoal.errors import StoreError
from shoal.storage.disk.disk import Disk

__all__ = ["Folders", "remove_all"]

MAX_OPEN = 32
"""How many folders of one share stay open between calls."""
MAX_DEPTH = 512
"""How many levels of folders are removed; each level keeps one folder open."""


class Folders:
    """Open folders below `root` by path; for one thread at a time."""

    def __init__(self, disk: Disk, root: int) -> None:
        """Use the open folder `root`, which the caller closes."""
        self._disk = disk
        self._root = root
        self._open: OrderedDict[str, int] = OrderedDict()

    def find(self, path: str) -> int | None:
        """Return a folder, which stays open until the next call; None if missing.

        `path` has `/` between the names and is empty for the root. Raises
        `StoreError` for a link or anything else that is not a folder.
        """
        self._close_surplus()
        return self._find(path, create=False)

    def make(self, path: str) -> int:
        """Return a folder as `find` does; create it if it is missing."""
        return self.make_all([path])[0]

    def make_all(self, paths: Sequence[str]) -> list[int]:
        """Return several folders as `make` does; all stay open until the next call."""
        self._close_surplus()
        return [self._make(path) for path in paths]

    def _make(self, path: str) -> int:
        fd = self._find(path, create=True)
        if fd is None:
            raise StoreError(
                f"Another program removed the folder {path} during the download; "
                "run the command again."
            )
        return fd

    def _find(self, path: str, create: bool) -> int | None:
        if not path:
            return self._root
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        above, _, name = path.rpartition("/")
        at = self._find(above, create)
        if at is None:
            return None
        fd = self._disk.open_directory(name, at=at)
        if fd is None and create:
            self._disk.make_directory(name, at=at)
            fd = self._disk.open_directory(name, at=at)
        if fd is not None:
            self._open[path] = fd
        return fd

    def _close_surplus(self) -> None:
        while len(self._open) > MAX_OPEN:
            _, oldest = self._open.popitem(last=False)
            self._disk.close(oldest)

    def close(self) -> None:
        """Close all folders but the root; the object can be used again afterwards."""
        while self._open:
            _, fd = self._open.popitem()
            self._disk.close(fd)


def remove_all(disk: Disk, name: str, at: int, *, depth: int = 0) -> None:
    """Remove the file, link or folder `name` in the open folder `at`, if it exists.

    A folder is removed with its contents. Raises `StoreError` if that fails.
    """
    found = disk.state_at(name, at=at)
    if found is None:
        return
    if not found.is_directory:
        disk.unlink(name, at=at)
        return
    if depth == MAX_DEPTH:
        raise StoreError(f"The folder {name} is nested too deep; remove it yourself.")
    fd = disk.open_directory(name, at=at)
    if fd is None:
        return
    try:
        for each in disk.list_directory(fd):
            remove_all(disk, each, fd, depth=depth + 1)
    finally:
        disk.close(fd)
    disk.remove_directory(name, at=at)
