"""The names on a faulty disk, with synced and unsynced changes."""

import random
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tests.helpers.faulty.inodes import Inode

__all__ = ["Key", "Names"]

Key: TypeAlias = tuple[int, str]
"""The number of a folder and a name in it; `.` is the folder itself."""


class _Naming(NamedTuple):
    """A change that removes the name `old` and gives an inode the name `new`."""

    old: Key | None
    new: Key | None
    inode: Inode | None

    def apply(self, names: dict[Key, Inode]) -> None:
        if self.old is not None:
            names.pop(self.old, None)
        if self.new is not None and self.inode is not None:
            names[self.new] = self.inode

    def touches(self, directory: Inode) -> bool:
        return any(key is not None and key[0] == directory.number for key in self[:2])


class Names:
    """The names of all inodes below one folder."""

    def __init__(self) -> None:
        self._count = 0
        self._names: dict[Key, Inode] = {}
        self._safe: dict[Key, Inode] = {}
        self._unsafe: list[_Naming] = []
        self.root = self._inode(stat.S_IFDIR | 0o755)
        """The folder that contains all others."""

    def __contains__(self, key: Key) -> bool:
        return key in self._names

    def inodes(self) -> set[Inode]:
        """Return all inodes that have a name."""
        return set(self._names.values())

    def key(self, inode: Inode | None, parts: tuple[str, ...]) -> Key | None:
        """Return the folder and name of a path below `inode`; None without a folder."""
        for name in parts[:-1]:
            inode = None if inode is None else self._names.get((inode.number, name))
        if inode is None or not inode.links:
            return None
        return inode.number, parts[-1] if parts else "."

    def get(self, key: Key) -> Inode | None:
        """Return the inode with a name."""
        return self._names.get(key)

    def list(self, directory: Inode) -> list[str]:
        """Return the names in a folder."""
        return [name for number, name in self._names if number == directory.number]

    def walk(self, directory: Inode, path: Path) -> Iterator[tuple[Path, Inode]]:
        """Yield all paths and inodes below a folder with this path."""
        for name in self.list(directory):
            inode = self._names[directory.number, name]
            yield path / name, inode
            if inode.is_directory:
                yield from self.walk(inode, path / name)

    def is_safe(self, key: Key) -> bool:
        """Return True if a name, and all below it, survives every power loss."""
        inode = self._names.get(key)
        if inode is None or self._safe.get(key) is not inode:
            return False
        if inode.safe != inode.seen:
            return False
        below = set(self.list(inode))
        lost = {name for number, name in self._safe if number == inode.number} ^ below
        return not lost and all(self.is_safe((inode.number, name)) for name in below)

    # Changes.

    def make(self, key: Key, mode: int) -> None:
        """Give a name to a new inode."""
        self._do(_Naming(None, key, self._inode(mode)))

    def move(self, old: Key, new: Key) -> None:
        """Rename an inode, and replace the inode that has the new name."""
        self._do(_Naming(old, new, self._names[old]))

    def remove(self, key: Key) -> None:
        """Remove a name."""
        self._do(_Naming(key, None, None))

    def sync(self, directory: Inode | None = None) -> None:
        """Make the changes in a folder, or everywhere, survive a power loss."""
        for naming in self._unsafe:
            if directory is None or naming.touches(directory):
                naming.apply(self._safe)
        self._unsafe = [
            each
            for each in self._unsafe
            if directory is not None and not each.touches(directory)
        ]

    def lose_power(self, rng: random.Random) -> None:
        """Keep a random part of the unsynced changes."""
        for naming in self._unsafe:
            if rng.random() < 0.5:
                naming.apply(self._safe)
        self._unsafe.clear()
        # The contents of a lost folder are lost, too.
        reached = {self.root.number}
        self._names = {}
        while True:
            found = {
                key: inode
                for key, inode in self._safe.items()
                if key[0] in reached and key not in self._names
            }
            if not found:
                break
            self._names |= found
            reached |= {each.number for each in found.values() if each.is_directory}
        self._safe = dict(self._names)
        for inode in self.inodes():
            inode.lose_power(rng)

    def _inode(self, mode: int) -> Inode:
        self._count += 1
        return Inode(self._count, mode)

    def _do(self, naming: _Naming) -> None:
        naming.apply(self._names)
        self._unsafe.append(naming)
