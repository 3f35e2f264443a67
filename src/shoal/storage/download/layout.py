"""The file and offset at which each byte of a download is stored.

A single file, or one file of a folder, is stored as `data` in the staging folder, a
folder as a tree of files below `data`. If only some files of a folder are selected,
only the chunks that cover them are wanted. Bytes of other files in those chunks are
stored one after the other in the side file. So every stored chunk is complete, which
allows it to be verified after a crash and uploaded, and no unselected file appears in
the folder.

This is arithmetic only; `data_files` reads and writes.
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import sha256

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.manifest.file_tree import File
from shoal.errors import UsageError
from shoal.storage.disk.disk import Data
from shoal.storage.download.places import Places, flags_of
from shoal.storage.extents import Extents, FileRange

__all__ = ["DATA", "LARGE", "SIDE", "Layout"]

DATA = "data"
"""The name of the downloaded file or folder in the staging folder."""

SIDE = "side"
"""The name of the side file in the staging folder."""
LARGE = 4 * 1024 * 1024
"""A file of a folder that has this many bytes gets its full size at the start."""

_FILE_MODE = 0o666
_EXECUTABLE_MODE = 0o777
_PRIVATE_MODE = 0o600

_UNIT = 4096  # bytes; the disk space of a file is a multiple of this


class Layout:
    """Map the chunks of one download to files."""

    def __init__(
        self,
        chunks: Chunks,
        files: Sequence[File] | None = None,
        selected: Collection[int] | None = None,
        *,
        keep_exec: bool = False,
        as_one: bool = False,
    ) -> None:
        """Lay out a folder of `files`, or a single file if None.

        `selected` are the numbers of the files to download, by default all; the paths
        of the others are not used. With `keep_exec` a file is executable if the shared
        file is. With `as_one`, a single file is selected, whose path is `DATA`, and
        the download is that file in place of a folder.

        Raises `UsageError` if no file is selected, and `ValueError` if the sizes of
        the files do not match the chunks or a path is not safe.
        """
        self.chunks = chunks
        """How the share is divided."""
        self.is_folder = files is not None and not as_one
        """Whether the download is a folder."""
        self._is_all_one = files is None  # whether all bytes are those of one file
        single = File(DATA, chunks.size)
        self.files: Sequence[File] = [single] if files is None else files
        """The files by number; the path of a single file is its name while it grows."""
        self.side = len(self.files)
        """The number of the side file."""
        self.side_size = 0
        """The size of the side file in bytes."""
        self.wanted = Bitfield.full(chunks.count)
        """The chunks that cover the selected files."""
        self.selected: Sequence[int] = range(len(self.files))
        """The numbers of the files to download, ascending."""
        self._keep_exec = keep_exec
        self._folders: dict[str, array[int]] | None = None
        self._selected = flags_of(self.side, None)  # by number
        self._side_starts: dict[int, int] = {}  # offsets of partly selected chunks
        if selected is not None:
            chosen = array("Q", sorted(set(selected)))
            if len(chosen) != self.side or (chosen and chosen[-1] >= self.side):
                self._select(chosen)
        self._places = Places(self.files, self._selected)
        self.extents = Extents(self._places.sizes)
        if self.extents.total != chunks.size:
            raise ValueError("the sizes of the files do not add up")
        if len(self.selected) != self.side:
            self._find_wanted()

    def _select(self, selected: "array[int]") -> None:
        self.selected = selected
        if not self.selected:
            raise UsageError("No file of this share is selected; select at least one.")
        if self.selected[0] < 0 or self.selected[-1] >= len(self.files):
            raise ValueError(f"there are {len(self.files)} files")
        self._selected = flags_of(self.side, selected)

    def _find_wanted(self) -> None:
        """Find the chunks of the selected files, and what goes into the side file."""
        self.wanted = Bitfield(self.chunks.count)
        for number in self.selected:
            covering = self.covering(number)
            for index in covering:
                self.wanted.add(index)
            # Only a chunk at one of its ends can include bytes of other files.
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

    def _cover(self, index: int) -> list[FileRange]:
        first = self.chunks.offset(index)
        return self.extents.cover(first, first + self.chunks.length(index))

    def covering(self, number: int) -> range:
        """Return the chunks that have bytes of a file."""
        first = self.extents.start(number)
        return self.chunks.covering(first, first + self.extents.sizes[number])

    @property
    def disk_space(self) -> int:
        """Return how many bytes of disk space the download takes."""
        if self._is_all_one:
            return self.chunks.size
        sizes = [self.extents.sizes[number] for number in self.selected]
        return sum(-(-size // _UNIT) for size in (*sizes, self.side_size)) * _UNIT

    def download_identity(self, identity: bytes) -> bytes:
        """Return the 32 bytes that name a download of these files of a share.

        `identity` names the share. Another selection stores chunks at other offsets,
        so the journal of one must not count for another.
        """
        is_everything = len(self.selected) == len(self.files)
        if is_everything and (self.is_folder or self._is_all_one):
            return identity
        name = sha256(identity)
        for number in self.selected:
            file = self.files[number]
            path = file.path.encode()
            name.update(b"%d %d %d " % (file.offset, file.size, len(path)) + path)
        return name.digest()

    def size(self, number: int) -> int:
        """Return the size of a complete file, or of the side file, in bytes."""
        if number == self.side:
            return self.side_size
        return self.extents.sizes[number]

    def is_all(self, number: int, buffers: Sequence[Data]) -> bool:
        """Return True if these are all bytes of a file other than the side file."""
        if not self.is_folder or number == self.side:
            return False
        size = len(buffers[0]) if len(buffers) == 1 else sum(map(len, buffers))
        return size == self.extents.sizes[number]

    def place(self, number: int) -> tuple[str, str]:
        """Return the folder and the name of a file, or of the side file."""
        if number == self.side:
            return "", SIDE
        return self._places.place(number)

    def new_file(self, number: int) -> tuple[str, str, int]:
        """Return `place` and `mode` of a file other than the side file."""
        folder, name = self._places.place(number)
        return folder, name, self.mode(number)

    def names(self, numbers: Sequence[int]) -> list[str]:
        """Return the names of files within their folders."""
        return self._places.names(numbers)

    def mode(self, number: int) -> int:
        """Return the permissions, before the umask, with which a file is created.

        A single file is private until `DataFiles.finalize` sets its permissions.
        """
        if number == self.side or not self.is_folder:
            return _PRIVATE_MODE
        return self.final_mode(number)

    def final_mode(self, number: int) -> int:
        """Return the permissions of a complete file, before the umask."""
        is_executable = self._keep_exec and self._places.executable[number]
        return _EXECUTABLE_MODE if is_executable else _FILE_MODE

    @property
    def reserved(self) -> Sequence[int]:
        """Return the numbers of the files that get their full size at the start."""
        if self.is_folder and max(self.extents.sizes, default=0) < LARGE:
            return ()
        return [number for number in self.selected if self.is_reserved(number)]

    @property
    def empty(self) -> Sequence[int]:
        """Return the numbers of the selected files that have no bytes."""
        sizes = self.extents.sizes
        return [number for number in self.selected if not sizes[number]]

    def is_reserved(self, number: int) -> bool:
        """Return True if a file gets its full size at the start."""
        if number == self.side:
            return False
        return not self.is_folder or self.extents.sizes[number] >= LARGE

    def file_ranges(self, index: int) -> Sequence[FileRange]:
        """Return the file ranges that store the bytes of chunk `index`, in order."""
        if self._is_all_one:  # the usual case, so it is kept fast
            return ((0, self.chunks.length(index), self.chunks.offset(index)),)
        if index in self._side_starts:
            return tuple(self._ranges_with_side(index))
        return self._cover(index)

    def _ranges_with_side(self, index: int) -> Iterator[FileRange]:
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
        """Yield (file number, offset, buffers) for chunks in ascending order.

        Adjacent bytes of one file are yielded together.
        """
        buffers: list[Data] = []
        last = begin = expected = -1
        for index, data in ordered:
            view = memoryview(data)
            done = 0
            for number, size, offset in self.file_ranges(index):
                part = view[done : done + size]
                if number == last and offset == expected:
                    buffers.append(part)
                else:
                    if buffers:
                        yield last, begin, buffers
                    last, begin, buffers = number, offset, [part]
                done += size
                expected = offset + size
        if buffers:
            yield last, begin, buffers

    def folders(self) -> "dict[str, array[int]]":
        """Return the numbers of the selected files by folder, parents first.

        The key is the path of the folder; that of the top folder is empty.
        """
        if self._folders is None:
            self._folders = self._places.by_folder(self.selected)
        return self._folders
