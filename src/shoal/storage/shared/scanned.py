"""The files that a scan has found, in little memory.

A share may have millions of files, and an object for each, with its path and its state,
would take a gigabyte. So paths are in one byte string and states in one array, and the
objects are made when they are used.
"""

import os
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from shoal.storage.disk.disk import FileState

__all__ = ["ScannedFile", "ScannedFiles", "ScannedFolder"]

_EXECUTABLE = 0o100  # by its owner
_FIELDS = len(FileState._fields)


class ScannedFile(NamedTuple):
    """A file that the user shares."""

    path: str
    """Relative to the folder, with `/` between the names."""
    location: str
    """Its absolute path."""
    state: FileState
    """Its state at the time of the scan."""

    @property
    def size(self) -> int:
        """Return its size in bytes."""
        return self.state.size

    @property
    def executable(self) -> bool:
        """Return True if its owner may execute it."""
        return bool(self.state.mode & _EXECUTABLE)


class ScannedFiles(Sequence[ScannedFile]):
    """List files below one folder."""

    def __init__(self, top: str) -> None:
        """Start without a file; `top` is the absolute path of the folder."""
        self._top = top
        self._paths = bytearray()
        self._ends = array("Q")
        self._states = array("q")  # all fields of each file
        self._order: array[int] | None = None

    def add(self, path: str, state: FileState) -> None:
        """Add a file at the end."""
        self._paths += os.fsencode(path)
        self._ends.append(len(self._paths))
        # Inodes of some file systems have the highest bit.
        self._states.extend([n - (n >> 63 << 64) if n > 0 else n for n in state])

    def sort(self) -> None:
        """Put the files into the order of the UTF-8 bytes of their paths."""
        paths = [self._path(place) for place in range(len(self))]
        self._order = array("Q", sorted(range(len(paths)), key=paths.__getitem__))

    @property
    def sizes(self) -> Sequence[int]:
        """Return the sizes of the files, in their order, in bytes."""
        return self._field("size")

    def entries(self) -> Iterator[tuple[str, int, bool]]:
        """Yield the path and size of each file, and whether it is executable."""
        modes = self._field("mode")
        for number, (size, mode) in enumerate(zip(self.sizes, modes, strict=True)):
            path = os.fsdecode(self._path(self._place(number)))
            yield path, size, bool(mode & _EXECUTABLE)

    def _field(self, name: str) -> Sequence[int]:
        values = self._states[FileState._fields.index(name) :: _FIELDS]
        order = self._order
        return values if order is None else array("q", map(values.__getitem__, order))

    def _place(self, number: int) -> int:
        return number if self._order is None else self._order[number]

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> ScannedFile: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ScannedFile]: ...
    def __getitem__(self, index: int | slice) -> ScannedFile | Sequence[ScannedFile]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        place = self._place(range(len(self))[index])
        path = os.fsdecode(self._path(place))
        numbers = self._states[place * _FIELDS : (place + 1) * _FIELDS]
        device, inode, *rest = numbers
        if inode < 0 <= device:
            inode += 1 << 64
        state = FileState(device, inode, *rest)
        return ScannedFile(path, f"{self._top}/{path}", state)

    def _path(self, place: int) -> bytes:
        start = self._ends[place - 1] if place else 0
        return bytes(self._paths[start : self._ends[place]])


class ScannedFolder(NamedTuple):
    """The files of a folder that the user shares."""

    name: str
    """The name of the folder."""
    files: ScannedFiles
    """Sorted by the UTF-8 bytes of their paths."""

    @property
    def size(self) -> int:
        """Return the size of all files in bytes."""
        return sum(self.files.sizes)
