"""The files that a scan has found, in little memory.

A share may have millions of files, and an object for each, with its path and its state,
would take a gigabyte. So paths are in one byte string and states in one array, and the
objects are made when they are used.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import NamedTuple, overload

from shoal.storage.disk.many import WholeFile
from shoal.storage.disk.system import FileState

__all__ = ["ScannedFile", "ScannedFiles", "ScannedFolder"]

_EXECUTABLE = 0o100  # by its owner
_FIELDS = len(FileState._fields)
_DEVICE, _INODE, _SIZE, _MODE = map(
    FileState._fields.index, ("device", "inode", "size", "mode")
)
_BATCH = 1000  # files that are decoded together


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
        self._placed: dict[str, str] = {}  # locations that are not below the top
        self._paths = bytearray()  # in UTF-8, one after the other
        self._ends = array("Q")  # of each path
        self._states = array("q")  # all fields of each file

    def without_files(self) -> "ScannedFiles":
        """Return an empty list with the same locations."""
        empty = ScannedFiles(self._top)
        empty._placed = self._placed
        return empty

    def place(self, path: str, location: str) -> None:
        """Read a file, or all files in a folder at the top, from another location."""
        self._placed[path] = location

    def location(self, path: str) -> str:
        """Return the absolute path of the file with this path."""
        if not self._placed:
            return f"{self._top}/{path}"
        location = self._placed.get(path)
        if location is not None:
            return location
        first, slash, rest = path.partition("/")
        return self._placed.get(first, f"{self._top}/{first}") + slash + rest

    def add(self, path: str, state: FileState) -> None:
        """Add a file at the end."""
        self.extend((path,), (state,))

    def extend(self, paths: Sequence[str], states: Sequence[FileState]) -> None:
        """Add files at the end."""
        encoded = [path.encode() for path in paths]
        end = len(self._paths)
        self._paths += b"".join(encoded)
        self._ends.extend([end := end + len(path) for path in encoded])
        fields = array("q")
        try:
            fields.extend(chain.from_iterable(states))
        except OverflowError:
            # Inodes of some file systems have the highest bit.
            signed = (n - (n >> 63 << 64) if n > 0 else n for s in states for n in s)
            fields = array("q", signed)
        self._states += fields

    def arrange(self, runs: Sequence[int]) -> None:
        """Sort the files by the bytes of their paths.

        Runs of files begin at the places `runs`, ascending. The files of a run must be
        in order already, and no other file may come between them.
        """
        starts = sorted(runs, key=self._path)
        ends = dict(zip(runs, [*runs[1:], len(self)], strict=True))
        paths, self._paths = self._paths, bytearray()
        old, self._ends = self._ends, array("Q")
        states, self._states = self._states, array("q")
        for start in starts:
            end = ends[start]
            first = old[start - 1] if start else 0
            moved = len(self._paths) - first
            self._paths += paths[first : old[end - 1]]
            self._ends.extend([place + moved for place in old[start:end]])
            self._states += states[start * _FIELDS : end * _FIELDS]

    @property
    def sizes(self) -> Sequence[int]:
        """Return the sizes of the files, in their order, in bytes."""
        return self._states[_SIZE::_FIELDS]

    def entries(self) -> Iterator[tuple[str, int, bool]]:
        """Yield the path and size of each file, and whether it is executable."""
        for start in range(0, len(self), _BATCH):
            end = min(start + _BATCH, len(self))
            states = self._states[start * _FIELDS : end * _FIELDS]
            modes = [bool(mode & _EXECUTABLE) for mode in states[_MODE::_FIELDS]]
            yield from zip(
                self.paths(start, end), states[_SIZE::_FIELDS], modes, strict=True
            )

    def paths(self, start: int, end: int) -> list[str]:
        """Return the paths of some adjacent files."""
        ends = self._ends[start:end]
        first = self._ends[start - 1] if start else 0
        data = self._paths[first : ends[-1]] if ends else b""
        text = data.decode()
        if len(text) == len(data):
            cuts = [0, *(place - first for place in ends)]
            return [text[one:other] for one, other in pairwise(cuts)]
        return [self._path(place).decode() for place in range(start, end)]

    def states(self, start: int, end: int) -> list[FileState]:
        """Return the states of some adjacent files."""
        fields = self._states[start * _FIELDS : end * _FIELDS]
        in_turn = [iter(fields)] * _FIELDS
        return [_make_state(each) for each in zip(*in_turn, strict=True)]

    def locations(self, start: int, end: int) -> list[str]:
        """Return the absolute paths of some adjacent files."""
        return [self.location(path) for path in self.paths(start, end)]

    def path_states(self) -> Iterator[tuple[str, FileState]]:
        """Yield the path and the state of each file."""
        for start in range(0, len(self), _BATCH):
            end = min(start + _BATCH, len(self))
            yield from zip(self.paths(start, end), self.states(start, end), strict=True)

    def whole(
        self, numbers: Iterable[int], *, are_compared: bool
    ) -> Iterator[WholeFile]:
        """Yield what reads these files, if they `are_compared` in these states only."""
        paths, ends = self._paths, self._ends
        for number in numbers:
            first = ends[number - 1] if number else 0
            location = self.location(paths[first : ends[number]].decode())
            fields = self._states[number * _FIELDS : (number + 1) * _FIELDS]
            state = _make_state(fields) if are_compared else None
            yield location, fields[_SIZE], state

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> ScannedFile: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ScannedFile]: ...
    def __getitem__(self, index: int | slice) -> ScannedFile | Sequence[ScannedFile]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        place = range(len(self))[index]
        path = self._path(place).decode()
        fields = self._states[place * _FIELDS : (place + 1) * _FIELDS]
        return ScannedFile(path, self.location(path), _make_state(fields))

    def _path(self, place: int) -> bytes:
        start = self._ends[place - 1] if place else 0
        return bytes(self._paths[start : self._ends[place]])


def _make_state(fields: Sequence[int]) -> FileState:
    if fields[_INODE] < 0 <= fields[_DEVICE]:
        device, inode, *rest = fields
        return FileState(device, inode + (1 << 64), *rest)
    state: FileState = tuple.__new__(FileState, fields)
    return state


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
