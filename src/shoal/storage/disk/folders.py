"""The folders of a tree, opened name by name from one that is open already.

No link is ever followed on the way, so whoever swaps a folder for a link while a
download runs gains nothing: it is refused, or the folder that was there is still
the one that is written to. A bounded number of them is kept open.
"""

from collections import OrderedDict
from collections.abc import Sequence

from shoal.errors import StoreError
from shoal.storage.disk.disk import Disk

__all__ = ["Folders", "remove_all"]

MAX_OPEN = 32
"""How many folders of one share are kept open."""
MAX_DEPTH = 512
"""How many folders deep it goes: each level keeps one open."""


class Folders:
    """Open folders below `root` by their path; for one thread at a time."""

    def __init__(self, disk: Disk, root: int) -> None:
        """Begin at the open folder `root`, which stays the caller's."""
        self._disk = disk
        self._root = root
        self._open: OrderedDict[str, int] = OrderedDict()

    def find(self, path: str) -> int | None:
        """Return a folder, open until the next call; None when it is missing.

        `path` has `/` between the names and is empty for the root. Raises
        `StoreError` for anything that is no folder, a link too.
        """
        self._close_surplus()
        return self._find(path, create=False)

    def make(self, path: str) -> int:
        """Return a folder as `find` does; what is missing is made, for us alone."""
        return self.make_all([path])[0]

    def make_all(self, paths: Sequence[str]) -> list[int]:
        """Return several folders as `make` does, all open until the next call."""
        self._close_surplus()
        return [self._make(path) for path in paths]

    def _make(self, path: str) -> int:
        fd = self._find(path, create=True)
        if fd is None:
            raise StoreError(
                f"Somebody removed the folder {path} while it was being fetched; "
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
        """Close what is open but the root; it may be used again afterwards."""
        while self._open:
            _, fd = self._open.popitem()
            self._disk.close(fd)


def remove_all(disk: Disk, name: str, at: int, *, depth: int = 0) -> None:
    """Remove the file, link or folder `name` in the open folder `at`, if it is there.

    Raises `StoreError` when something cannot be removed.
    """
    found = disk.state_at(name, at=at)
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
