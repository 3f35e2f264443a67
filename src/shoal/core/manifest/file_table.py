"""The files of a folder: one byte string cut into pages, checked as a whole.

The pages are verified one by one as they come. What they say together is believed
only once all of it is there and all of it is right: one hostile path refuses the
whole share, before anything is written and before anything is found by its path.
docs/protocol.md, "Link, root record and manifest".
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from shoal.core.crypto.hashes import DIGEST_SIZE, Bytes, page_digest
from shoal.core.manifest.paths import paths_problem, shown
from shoal.core.manifest.root import MALFORMED, PAGE_SIZE, Root, refusal
from shoal.errors import UsageError

__all__ = [
    "MAX_FILES",
    "Entry",
    "File",
    "FileTable",
    "Span",
    "encode_files",
    "split_pages",
]

MAX_FILES = 100_000  # in one share

Entry: TypeAlias = tuple[str, int, bool]
"""Path, size in bytes, and whether it is executable: a file as it is on the wire."""


class File(Struct, frozen=True, gc=False):
    """Say where one file lies in the share."""

    path: str
    """Below the share's folder, with slashes; safe on every system."""
    size: int
    """Bytes."""
    executable: bool
    offset: int
    """Bytes of the share before it."""

    @property
    def end(self) -> int:
        """Return the offset of the first byte after it."""
        return self.offset + self.size


class Span(NamedTuple):
    """Name some bytes of one file."""

    file: File
    start: int
    """The first byte's offset within the file."""
    length: int
    """Bytes, at least one."""


def encode_files(entries: Sequence[Entry]) -> bytes:
    """Return the file table of a folder; the bytes of its files follow this order.

    Raises `UsageError` for what no share may hold, with the path in it.
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


def split_pages(data: bytes) -> list[bytes]:
    """Return the pages of a table."""
    return [data[i : i + PAGE_SIZE] for i in range(0, len(data), PAGE_SIZE)]


class FileTable:
    """Keep the pages that came; once all did, tell the files."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._pages: dict[int, bytes] = {}
        self._files: tuple[File, ...] | None = None

    @property
    def page_count(self) -> int:
        """Return how many pages there are; at least one."""
        return self._root.file_page_count

    @property
    def is_complete(self) -> bool:
        """Say whether all pages are there."""
        return len(self._pages) == self.page_count

    def add_page(self, number: int, data: Bytes) -> bool:
        """Take a page from a peer; False when it is not the page it should be.

        Nothing is hashed unless its length may be right.
        """
        if not 0 <= number < self.page_count or not data:
            return False
        is_last = number == self.page_count - 1
        if len(data) > PAGE_SIZE or (len(data) < PAGE_SIZE and not is_last):
            return False
        start = number * DIGEST_SIZE
        hashes = self._root.files or b""
        if page_digest(data) != hashes[start : start + DIGEST_SIZE]:
            return False
        self._pages.setdefault(number, bytes(data))
        return True

    def page(self, number: int) -> bytes | None:
        """Return a page, to be given on; None while it is not there."""
        return self._pages.get(number)

    @property
    def files(self) -> Sequence[File]:
        """Return all files, ascending by path; takes a while the first time.

        Raises `LookupError` while a page is not there, `ManifestError` when they
        are not what a share may hold.
        """
        if self._files is None:
            if not self.is_complete:
                raise LookupError("not all pages of the file table are there yet")
            pages = (self._pages[number] for number in range(self.page_count))
            self._files = _decode_files(b"".join(pages), self._root.size)
        return self._files

    def find(self, path: str) -> File | None:
        """Return the file of exactly that path; raises as `files` does."""
        files = self.files
        place = bisect_left(files, path, key=_path)
        if place < len(files) and files[place].path == path:
            return files[place]
        return None

    def under(self, folder: str) -> Sequence[File]:
        """Return the files in `folder` and below; all, when it is empty."""
        if not folder:
            return self.files
        # They stand together, because the slash is followed by the next character.
        first = bisect_left(self.files, folder + "/", key=_path)
        end = bisect_left(self.files, folder + chr(ord("/") + 1), lo=first, key=_path)
        return self.files[first:end]

    def spans(self, first: int, end: int) -> Iterator[Span]:
        """Yield where bytes `first` to `end - 1` of the share lie, in order."""
        files = self.files
        # Of files that begin there only the last can have a byte.
        place = max(bisect_right(files, first, key=_offset) - 1, 0)
        while place < len(files) and files[place].offset < end:
            file = files[place]
            start = max(first, file.offset)
            length = min(end, file.end) - start
            if length > 0:
                yield Span(file, start - file.offset, length)
            place += 1

    def __repr__(self) -> str:
        return f"<FileTable {len(self._pages)} of {self.page_count} pages>"


_path = attrgetter("path")
_offset = attrgetter("offset")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Entry])


def _decode_files(data: bytes, size: int) -> tuple[File, ...]:
    """Return the files of a table; raises `ManifestError` unless all is right."""
    # The decoder makes room for as many as are claimed, so look first.
    count = _claimed_count(data)
    if count > MAX_FILES:
        raise refusal(f"it claims to have {count} files")
    try:
        entries = _decoder.decode(data)
    except MALFORMED as error:
        raise refusal(f"its file table is malformed: {str(error)[:120]}") from error
    if _encoder.encode(entries) != data:
        raise refusal("its file table is not written in the one way there is")
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
    return tuple(_lay_out(entries))


def _lay_out(entries: Iterable[Entry]) -> Iterator[File]:
    """Yield the files, each where the one before it ends."""
    offset = 0
    for path, size, executable in entries:
        yield File(path, size, executable, offset)
        offset += size


def _is_ascending(entries: Sequence[Entry]) -> bool:
    """Say whether the paths ascend by their UTF-8 bytes, none twice.

    Python compares code points, which is the same order.
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
