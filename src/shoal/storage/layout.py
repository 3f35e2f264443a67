"""Where each byte of a download goes: into which file, and at which place.

A single file is one file named `data` in the staging folder. A folder is a tree of
files below `data`. If only some of its files are wanted, so are only the chunks
that cover them, and what these chunks hold of other files goes, end to end, into
one side file: a chunk is kept whole, so that it can be verified after a crash and
be given to others, without a file appearing that nobody asked for.

It says so by arithmetic alone; `content` does the reading and writing.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import sha256

from shoal.core.chunks import Bitfield, Chunks
from shoal.errors import UsageError
from shoal.storage.disk import Data
from shoal.storage.extents import Extents, FileEntry, Span

__all__ = ["LARGE", "SIDE", "Layout"]

SIDE = "side"
"""The name of the side file in the staging folder."""
LARGE = 4 * 1024 * 1024
"""From how many bytes on a file of a folder has its room reserved at the start."""

_UNIT = 4096  # bytes; a file takes up a multiple of that


class Layout:
    """Say where the chunks of one download go."""

    def __init__(
        self,
        chunks: Chunks,
        files: Sequence[FileEntry] | None = None,
        selected: Collection[int] | None = None,
    ) -> None:
        """Lay out a folder of `files`, or a single file; `selected` are numbers.

        Raises `UsageError` when none is selected, `ValueError` when the files are
        not what the chunks are cut from or no path may be below a folder.
        """
        self.chunks = chunks
        """How the share is cut."""
        self.is_tree = files is not None
        """Whether it is a folder."""
        self.files = [FileEntry("data", chunks.size)] if files is None else files
        """The files, by number; the path of a single one is that in the staging."""
        self.extents = Extents(file.size for file in self.files)
        self.side = len(self.files)
        """The number that stands for the side file."""
        self.side_size = 0
        """How many bytes go there."""
        self.wanted = Bitfield.full(chunks.count)
        """Which chunks are needed."""
        self.selected: Sequence[int] = range(len(self.files))
        """The numbers of the files to be had, ascending."""
        self._selected = b"\1" * len(self.files)  # by number
        self._side_starts: dict[int, int] = {}  # of chunks that are there in part
        if files is not None:
            _check(files, self.extents, chunks)
        if selected is not None and set(selected) != set(self.selected):
            self._select(selected)

    def _select(self, selected: Collection[int]) -> None:
        self.selected = sorted(set(selected))
        if not self.selected:
            raise UsageError("No file of this share is selected; select at least one.")
        if self.selected[0] < 0 or self.selected[-1] >= len(self.files):
            raise ValueError(f"there are {len(self.files)} files")
        self.wanted = Bitfield(self.chunks.count)
        numbers = set(self.selected)
        self._selected = bytes(number in numbers for number in range(self.side))
        for number in self.selected:
            first = self.extents.start(number)
            covering = self.chunks.covering(first, first + self.extents.sizes[number])
            for index in covering:
                self.wanted.add(index)
            # Only at its ends can a chunk reach into files that are not selected.
            for index in {*covering[:1], *covering[-1:]}:
                self._set_aside(index)

    def _set_aside(self, index: int) -> None:
        if index in self._side_starts:
            return
        start = self.side_size
        for number, size, _ in self._cover(index):
            if not self._selected[number]:
                self.side_size += size
        if self.side_size > start:
            self._side_starts[index] = start

    def _cover(self, index: int) -> Iterator[Span]:
        first = self.chunks.offset(index)
        return self.extents.cover(first, first + self.chunks.length(index))

    @property
    def room(self) -> int:
        """Return how many bytes of a disk it takes."""
        if not self.is_tree:
            return self.chunks.size
        sizes = [self.extents.sizes[number] for number in self.selected]
        return sum(-(-size // _UNIT) for size in (*sizes, self.side_size)) * _UNIT

    def identity(self, identity: bytes) -> bytes:
        """Return what names the share and, if that is not all of it, what of it.

        Chunks of another selection are elsewhere, so its journal must not count.
        """
        if len(self.selected) == len(self.files):
            return identity
        numbers = b"".join(number.to_bytes(4, "big") for number in self.selected)
        return sha256(identity + numbers).digest()

    def size(self, number: int) -> int:
        """Return how many bytes a file has when it is whole, or the side file."""
        if number == self.side:
            return self.side_size
        return self.extents.sizes[number]

    def place(self, number: int) -> tuple[str, str]:
        """Return the folder and the name of a file, or of the side file."""
        if number == self.side:
            return "", SIDE
        folder, _, name = self.files[number].path.rpartition("/")
        return folder, name

    def is_reserved(self, number: int) -> bool:
        """Say whether a file has its full size from the start."""
        if number == self.side:
            return False
        return not self.is_tree or self.extents.sizes[number] >= LARGE

    def spans(self, index: int) -> Iterable[Span]:
        """Return where the bytes of chunk `index` go, in order."""
        if not self.is_tree:  # quick, since that is the usual case
            return ((0, self.chunks.length(index), self.chunks.offset(index)),)
        if index in self._side_starts:
            return self._spans_aside(index)
        return self._cover(index)

    def _spans_aside(self, index: int) -> Iterator[Span]:
        place = self._side_starts[index]
        for number, size, offset in self._cover(index):
            if self._selected[number]:
                yield number, size, offset
            else:
                yield self.side, size, place
                place += size

    def gather(
        self, ordered: Iterable[tuple[int, Data]]
    ) -> Iterator[tuple[int, int, list[Data]]]:
        """Yield (file, offset, buffers) for chunks in ascending order.

        What lies side by side in one file comes in one.
        """
        buffers: list[Data] = []
        begin: tuple[int, int] | None = None
        expected = (-1, -1)
        for index, data in ordered:
            done = 0
            for number, size, offset in self.spans(index):
                if (number, offset) != expected:
                    if begin is not None:
                        yield *begin, buffers
                    begin, buffers = (number, offset), []
                whole = size == len(data)
                buffers.append(data if whole else memoryview(data)[done : done + size])
                done += size
                expected = number, offset + size
        if begin is not None:
            yield *begin, buffers

    def folders(self) -> dict[str, list[int]]:
        """Return the selected files by folder, a folder before those in it.

        A folder is named by its path, the uppermost by the empty one.
        """
        found: dict[str, list[int]] = {"": []}
        for number in self.selected:
            folder = self.files[number].path.rpartition("/")[0]
            if folder not in found:
                for end in (i for i, sign in enumerate(folder) if sign == "/"):
                    found.setdefault(folder[:end], [])
            found.setdefault(folder, []).append(number)
        return found


def _check(files: Sequence[FileEntry], extents: Extents, chunks: Chunks) -> None:
    """Refuse what a manifest never lets through; this is the last line of defence."""
    if extents.total != chunks.size or any(file.size < 0 for file in files):
        raise ValueError("the sizes of the files do not add up")
    last = b""
    for file in files:
        path = file.path.encode()
        names = file.path.split("/")
        if path <= last or "\0" in file.path or {"", ".", ".."} & set(names):
            raise ValueError(f"no path of a file: {file.path!r}")
        last = path
