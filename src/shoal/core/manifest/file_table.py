"""List the files of a folder, from a byte string cut into pages; pure.

Each page is verified when it arrives. The list is used only when all pages have arrived
and all of it is valid: one hostile path refuses the whole share, before any file is
written or looked up. docs/protocol.md, "Manifest pages".
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from shoal.core.manifest.pages import MALFORMED, PageTable, refusal
from shoal.core.manifest.paths import paths_problem, shown
from shoal.errors import UsageError

__all__ = ["MAX_FILES", "File", "FileEntry", "FileSpan", "FileTable", "encode_files"]

MAX_FILES = 100_000  # in one share

FileEntry: TypeAlias = tuple[str, int, bool]
"""One file on the wire: its path, its size in bytes, and whether it is executable."""


class File(Struct, frozen=True, gc=False):
    """Locate one file in the share."""

    path: str
    """Path below the share's folder, with slashes; safe on every system."""
    size: int
    """Bytes."""
    executable: bool = False
    offset: int = 0
    """Bytes of the share before it."""

    @property
    def end(self) -> int:
        """Return the offset of the first byte after it."""
        return self.offset + self.size


class FileSpan(NamedTuple):
    """Locate some bytes in one file."""

    file: File
    start: int
    """Offset of the first byte within the file."""
    length: int
    """Bytes, at least one."""


def encode_files(entries: Sequence[FileEntry]) -> bytes:
    """Return the file table of a folder; the bytes of its files follow this order.

    Raises `UsageError`, which names the path, for a file that no share may hold.
    """
    if len(entries) > MAX_FILES:
        raise UsageError(
            f"This folder has {len(entries)} files, more than {MAX_FILES}; share an "
            "archive of it, or leave some out with --exclude."
        )
    problem = paths_problem([path for path, _, _ in entries])
    if problem is not None:
        raise UsageError(
            f"This folder cannot be shared as it is: {problem}. Rename it, or leave "
            "it out with --exclude."
        )
    if not _is_ascending(entries) or any(size < 0 for _, size, _ in entries):
        raise ValueError("files must be sorted by path and have a size")
    return _encoder.encode(entries)


class FileTable(PageTable):
    """Keep the pages of the file table; once all have arrived, list the files."""

    def __init__(self, hashes: bytes, size: int) -> None:
        """Start without pages; `hashes` has the hash of each.

        `size` is how many bytes all files have together.
        """
        super().__init__(hashes)
        self._share_size = size
        self._files: tuple[File, ...] | None = None

    @property
    def files(self) -> Sequence[File]:
        """Return all files, ascending by path; the first call decodes them.

        Raises `LookupError` if a page has not arrived, `ManifestError` if a share may
        not hold these files.
        """
        if self._files is None:
            if not self.is_complete:
                raise LookupError("not all pages of the file table have arrived")
            pages = (self._pages[number] for number in range(self.page_count))
            self._files = _decode_files(b"".join(pages), self._share_size)
        return self._files

    def find(self, path: str) -> File | None:
        """Return the file of this path, or None; raises as `files` does."""
        files = self.files
        place = bisect_left(files, path, key=_path)
        if place < len(files) and files[place].path == path:
            return files[place]
        return None

    def under(self, folder: str) -> Sequence[File]:
        """Return the files below `folder`; all files if that is empty."""
        if not folder:
            return self.files
        # They are adjacent: all begin with the folder and a slash.
        first = bisect_left(self.files, folder + "/", key=_path)
        end = bisect_left(self.files, folder + chr(ord("/") + 1), lo=first, key=_path)
        return self.files[first:end]

    def spans(self, first: int, end: int) -> Iterator[FileSpan]:
        """Yield where bytes `first` to `end - 1` of the share are, in order."""
        files = self.files
        # Of several files that begin there, only the last one can have a byte.
        place = max(bisect_right(files, first, key=_offset) - 1, 0)
        while place < len(files) and files[place].offset < end:
            file = files[place]
            start = max(first, file.offset)
            length = min(end, file.end) - start
            if length > 0:
                yield FileSpan(file, start - file.offset, length)
            place += 1


_path = attrgetter("path")
_offset = attrgetter("offset")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[FileEntry])


def _decode_files(data: bytes, size: int) -> tuple[File, ...]:
    """Return the files of a table; raises `ManifestError` unless all are valid."""
    # The decoder allocates memory for the claimed number, so check that first.
    count = _claimed_count(data)
    if count > MAX_FILES:
        raise refusal(f"it claims to have {count} files")
    try:
        entries = _decoder.decode(data)
    except MALFORMED as error:
        raise refusal(f"its file table is malformed: {str(error)[:120]}") from error
    if _encoder.encode(entries) != data:
        raise refusal("its file table is not canonical")
    for path, length, _ in entries:
        if length < 0:
            raise refusal(f"the size of {shown(path)} is {length}")
    if sum(length for _, length, _ in entries) != size:
        raise refusal("the sizes of its files do not add up")
    problem = paths_problem([path for path, _, _ in entries])
    if problem is not None:
        raise refusal(problem)
    if not _is_ascending(entries):
        raise refusal("its files are not sorted by path")
    offsets = accumulate((length for _, length, _ in entries), initial=0)
    return tuple(
        File(path, length, executable, offset)
        for (path, length, executable), offset in zip(entries, offsets, strict=False)
    )


def _is_ascending(entries: Sequence[FileEntry]) -> bool:
    """Return True if the paths ascend by their UTF-8 bytes, and none occurs twice.

    Python compares code points, which gives the same order.
    """
    return all(one[0] < another[0] for one, another in pairwise(entries))


def _claimed_count(data: bytes) -> int:
    """Return how many elements the msgpack array in `data` claims to have."""
    kind = data[0]
    if kind & 0xF0 == 0x90:
        return kind & 0x0F
    if kind in (0xDC, 0xDD):
        return int.from_bytes(data[1 : 3 if kind == 0xDC else 5], "big")
    raise refusal("its file table is no array")
