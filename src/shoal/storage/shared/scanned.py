"""The files that a scan has found, in little memory, and whether they have changed.

A share may have millions of files, and an object for each, with its path and its state,
would take a gigabyte. So `ScannedFiles` has paths in one byte string and states in one
array, and the objects are made when they are used.

`FileChanges` compares each file with its state at the time of the scan. Changes that
keep its size and mtime (some made through mmap) are not noticed here; the receiver
verifies each chunk anyway.

To keep very many small files open is impossible, and to open one with the checks of
`OpenFiles` takes longer than to read it. So `SmallFiles` opens each, reads it whole and
closes it; its state is compared together with those of many others.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, NamedTuple, overload

from shoal.errors import StoreError
from shoal.storage.disk.file_state import FileState
from shoal.storage.disk.many import WholeFile
from shoal.storage.extents import FileRange

if TYPE_CHECKING:
    from shoal.storage.disk.disk import Disk

__all__ = [
    "FileChanges",
    "ScannedFile",
    "ScannedFiles",
    "ScannedFolder",
    "SharedFileChangedError",
    "SmallFiles",
]

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


class SharedFileChangedError(StoreError):
    """A chunk is not sent because its bytes have changed since it was shared."""


class FileChanges:
    """Compare the files of one share, by their numbers, with their first states."""

    def __init__(self, files: Sequence[ScannedFile]) -> None:
        """Start with files that have not changed."""
        self.altered: dict[int, str] = {}
        """How files changed, by number: the one message for all chunks of each."""
        self.first: str | None = None
        """The first change, as a sentence for the user; None if there was none."""
        self._files = files
        self._last: dict[int, FileState] = {}  # when last compared, if since the scan

    def compare(self, number: int, now: FileState) -> bool:
        """Note whether a file has changed, by its present state.

        Returns True if its bytes may have changed in place: it must be verified again.
        """
        if number in self.altered:
            return False
        file = self._files[number]
        if not now.is_same_state(file.state):
            change = "truncated" if now.size < file.size else "changed"
            self._note(number, f"was {change} since it was shared")
            return False
        last, self._last[number] = self._last.get(number, file.state), now
        if not now.links and self.first is None:
            self.first = (
                f"{file.location} was deleted or replaced since it was shared; "
                "its original bytes are still being sent."
            )
        # If neither its links, its mode nor its owner changed, then perhaps its bytes
        # did in place (mmap, virtual disks).
        return now.ctime_ns != last.ctime_ns and now[4:7] == last[4:7]

    def affect(self, ranges: Iterable[FileRange]) -> bool:
        """Return True if one of the files that these ranges are of has changed."""
        return any(number in self.altered for number, _, _ in ranges)

    def refuse_changed(self, number: int, now: FileState | None) -> None:
        """Raise `StoreError` unless a file is still in its first state."""
        file = self._files[number]
        if now is None or not now.is_same_state(file.state):
            raise StoreError(
                f"{file.location} changed while it was read; share it again when "
                "it is complete."
            )

    def gone(self, number: int) -> SharedFileChangedError:
        """Note that a file was deleted or replaced; return the error to raise."""
        self._note(number, "was deleted or replaced since it was shared")
        return SharedFileChangedError(self.altered[number])

    def incomplete(self, number: int) -> StoreError:
        """Return the error for a file in its first state that has too few bytes."""
        path = self._files[number].location
        return StoreError(f"{path} could not be read completely; share it again.")

    def error(self, numbers: Sequence[int]) -> SharedFileChangedError:
        """Return the error for a chunk of these files that does not verify."""
        for number in numbers:
            if number in self.altered:
                return SharedFileChangedError(self.altered[number])
        unnoticed = (
            "has other bytes than when it was hashed, though size and time are the same"
        )
        return SharedFileChangedError(self._explain(numbers[0], unnoticed))

    def _note(self, number: int, change: str) -> None:
        text = self.altered.setdefault(number, self._explain(number, change))
        self.first = self.first or text

    def _explain(self, number: int, change: str) -> str:
        return (
            f"{self._files[number].location} {change}; chunks that no longer verify "
            "are not sent. Share it again."
        )


_LARGEST = 64 * 1024  # bytes; larger files are not read whole
_BATCH = 1000  # files whose states are compared together


class SmallFiles:
    """Read the small files of a share that has more files than may be open."""

    def __init__(self, files: ScannedFiles, disk: "Disk") -> None:
        """Read from these files."""
        self._files = files
        self._sizes = files.sizes
        self._disk = disk

    def read(
        self, ranges: Sequence[FileRange], *, are_compared: bool
    ) -> dict[int, bytes]:
        """Return all bytes of the small files among those of `ranges`, by number.

        If they `are_compared`, those that are not in their first states are left out.
        """
        sizes = self._sizes
        small = [number for number, _, _ in ranges if sizes[number] <= _LARGEST]
        files = self._files.whole(small, are_compared=are_compared)
        found = self._disk.read_whole(files)
        return {
            number: data
            for number, data in zip(small, found, strict=True)
            if data is not None
        }

    def read_chunk(self, ranges: Sequence[FileRange]) -> bytes | None:
        """Return a chunk of small files, unverified; None if the files are not small.

        To verify such a chunk takes less time than to keep its files open and compare
        their states, and proves more.
        """
        found = self.read(ranges, are_compared=False)
        if len(found) < len(ranges):
            return None
        return b"".join(
            [found[number][offset : offset + size] for number, size, offset in ranges]
        )

    def suspects(self) -> Iterator[int]:
        """Yield the files that are perhaps not in their first states any more."""
        files = self._files
        for start in range(0, len(files), _BATCH):
            end = min(start + _BATCH, len(files))
            found = self._disk.states_at(files.locations(start, end))
            states = zip(found, files.states(start, end), strict=True)
            for number, (now, first) in enumerate(states, start):
                if now is None or not now.is_same_state(first):
                    yield number
