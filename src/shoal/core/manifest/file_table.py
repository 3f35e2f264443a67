"""Find and list the files of a folder, from pages that arrive one by one; pure.

Each page is verified when it arrives: its hash, and that it agrees with the pages above
it. The rules over all paths together are checked by `files`, once all pages have
arrived. Files are decoded when they are used, page by page, and only a few pages stay
decoded, so memory is that of the pages. docs/protocol.md, "File table".
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias, overload

from msgspec import Struct

from shoal.core.crypto.hashes import Bytes, page_digest
from shoal.core.manifest.collisions import problem_of_all
from shoal.core.manifest.file_pages import (
    Attributes,
    Below,
    Bounds,
    Entry,
    FilesTop,
    bounds_below,
    decode_checked_leaf,
    decode_index,
    decode_leaf,
)
from shoal.core.manifest.pages import FILES, PAGE_SIZE, PageKey, refusal

__all__ = ["File", "FileList", "FileSpan", "FileTable"]

MAX_DECODED = 8  # leaf pages that stay decoded, one for each remainder of their number


_Bisect: TypeAlias = Callable[..., int]
_Place: TypeAlias = Callable[[Below], Any]
"""The path, number or offset by which pages are looked up."""


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


class _Leaf(NamedTuple):
    """A leaf page, decoded."""

    number: int
    """The number of its first file."""
    entries: Sequence[Entry]
    offsets: Sequence[int]
    """The offset of each file in the share."""

    def file(self, place: int) -> File:
        """Return one of its files."""
        path, size, more = self.entries[place]
        executable = more.executable if isinstance(more, Attributes) else more
        return File(path, size, executable, self.offsets[place])

    def place_of(self, path: str) -> int:
        """Return how many of its files have a path before this one."""
        return bisect_left(self.entries, path, key=itemgetter(0))


class FileTable:
    """Keep the pages of the file table that have arrived, and find files in them."""

    def __init__(self, top: FilesTop, size: int) -> None:
        """Start without pages; the files have `size` bytes together."""
        self.count = top.count
        """How many files there are."""
        self._top = PageKey(FILES, top.depth, 0)
        whole = Bounds(None, 0, 0, None, top.count, size, True, top.digest)
        self._bounds: dict[PageKey, Bounds] = {self._top: whole}
        self._pages: dict[PageKey, bytes] = {}
        self._indexes: dict[PageKey, Sequence[Below]] = {}
        # Each place is read and replaced in one step: several threads use a table.
        self._decoded: list[_Leaf | None] = [None] * MAX_DECODED
        self._files_here = 0
        self._is_checked = False

    # Pages.

    @property
    def is_complete(self) -> bool:
        """Return True if all pages have arrived."""
        is_here = self._top in self._pages
        return is_here and self._files_here == self.count

    def add_page(self, level: int, index: int, data: Bytes) -> bool:
        """Add a page from a peer; return False if it is wrong or cannot be verified.

        Raises `ManifestError` for a page whose hash is right and that is not valid.
        """
        key = PageKey(FILES, level, index)
        bounds = self._bounds.get(key)
        if bounds is None or not 1 <= len(data) <= PAGE_SIZE:
            return False
        if page_digest(data) != bounds.digest:
            return False
        if key in self._pages:
            return True
        page = bytes(data)
        if level:
            below = decode_index(page, bounds)
            for each in bounds_below(below, bounds):
                self._bounds[PageKey(FILES, level - 1, each.number)] = each
            self._indexes[key] = below
        else:
            self._keep_decoded(decode_leaf(page, bounds), bounds)
            self._files_here += bounds.end - bounds.number
        self._pages[key] = page
        return True

    def page(self, level: int, index: int) -> bytes | None:
        """Return a page, to send it to a peer; None if it has not arrived."""
        return self._pages.get(PageKey(FILES, level, index))

    def keys(self) -> Iterator[PageKey]:
        """Yield the pages that have arrived, each after the one above it."""
        yield from sorted(self._pages, key=lambda key: (-key.level, key.number))

    def missing(self, first: str = "", end: str | None = None) -> Iterator[PageKey]:
        """Yield pages to request for the paths from `first` on, before `end`.

        Below a page that has not arrived, that page is yielded; once it has arrived,
        this yields the pages below it. When all have arrived, it yields nothing.
        """
        if not self.is_complete:
            yield from self._missing(self._top, lambda b: b.path, first, end)

    def missing_numbers(self, first: int, end: int) -> Iterator[PageKey]:
        """Yield pages to request for files `first` to `end - 1`, as `missing` does."""
        if not self.is_complete:
            yield from self._missing(self._top, lambda b: b.number, first, end)

    def _missing(
        self, key: PageKey, place: _Place, first: Any, end: Any
    ) -> Iterator[PageKey]:
        if key not in self._pages:
            yield key
            return
        below = self._indexes.get(key, ())
        start = max(bisect_right(below, first, key=place) - 1, 0)
        for each in below[start:]:
            # The first one is where `first` is looked for, even if it begins later.
            if each is not below[start] and end is not None and place(each) >= end:
                break
            child = PageKey(FILES, key.level - 1, each.number)
            if child.level or child not in self._pages:
                yield from self._missing(child, place, first, end)

    # Files.

    @property
    def files(self) -> "FileList":
        """Return all files, ascending by path.

        Raises `LookupError` if a page has not arrived, `ManifestError` if a share may
        not hold these files. The first call looks at all of them, which takes a second
        for half a million; those that follow take no time.
        """
        if not self.is_complete:
            raise LookupError("not all pages of the file table have arrived")
        if not self._is_checked:
            problem = problem_of_all(self._paths)
            if problem is not None:
                raise refusal(problem)
            self._is_checked = True
        return FileList(self, 0, self.count)

    def _paths(self) -> Iterator[Sequence[str]]:
        for leaf in self._leaves(0):
            yield [path for path, _, _ in leaf.entries]

    def find(self, path: str) -> File | None:
        """Return the file of this path, or None.

        Raises `LookupError` if a page on the way to it has not arrived.
        """
        if not self.count:
            return None
        leaf = self._leaf(path, lambda b: b.path)
        place = leaf.place_of(path)
        if place == len(leaf.entries) or leaf.entries[place][0] != path:
            return None
        return leaf.file(place)

    def under(self, folder: str) -> "FileList":
        """Return the files below `folder`; all files if that is empty.

        Raises `LookupError` if a page at either end of them has not arrived, and so
        does the list where one between them has not.
        """
        if not folder:
            return FileList(self, 0, self.count)
        # They are adjacent: all begin with the folder and a slash.
        return self.between(*folder_range(folder))

    def between(self, first: str, end: str | None) -> "FileList":
        """Return the files with paths from `first` on, before `end`; as `under`."""
        start = self._number_of(first, bisect_right) if first else 0
        stop = self.count if end is None else self._number_of(end, bisect_left)
        return FileList(self, start, stop)

    def _number_of(self, path: str, bisect: _Bisect) -> int:
        """Return how many files have a path before this one.

        If a leaf begins with it, that leaf is looked at with `bisect_right`, and with
        `bisect_left` the one before.
        """
        if not self.count:
            return 0
        leaf = self._leaf(path, lambda b: b.path, bisect)
        return leaf.number + leaf.place_of(path)

    def at(self, number: int) -> File:
        """Return a file by its number; raises `LookupError` as `find` does."""
        leaf = self._leaf(number, lambda b: b.number)
        return leaf.file(number - leaf.number)

    def from_number(self, number: int) -> Iterator[File]:
        """Yield the files from this number on; raises `LookupError` as `find` does."""
        for leaf in self._leaves(number):
            start = max(number - leaf.number, 0)
            yield from map(leaf.file, range(start, len(leaf.entries)))

    def spans(self, first: int, end: int) -> Iterator[FileSpan]:
        """Yield where bytes `first` to `end - 1` of the share are, in order.

        Raises `LookupError` if a page with these files has not arrived.
        """
        if first >= end or not self.count:
            return
        leaf = self._leaf(first, lambda b: b.offset)
        # Of several files that begin there, only the last one can have a byte.
        place = bisect_right(leaf.offsets, first) - 1
        for file in self.from_number(leaf.number + max(place, 0)):
            if file.offset >= end:
                return
            start = max(first, file.offset)
            length = min(end, file.end) - start
            if length > 0:
                yield FileSpan(file, start - file.offset, length)

    def _leaves(self, number: int) -> Iterator[_Leaf]:
        """Yield the leaf with this file and those after it."""
        while number < self.count:
            leaf = self._leaf(number, lambda b: b.number)
            yield leaf
            number = leaf.number + len(leaf.entries)

    def _leaf(
        self,
        value: Any,
        place: _Place,
        bisect: _Bisect = bisect_right,
    ) -> _Leaf:
        """Return the last leaf that begins at or before a value."""
        key = self._top
        while key.level:
            below = self._indexes.get(key)
            if below is None:
                raise LookupError(f"{key} has not arrived")
            which = max(bisect(below, value, key=place) - 1, 0)
            key = PageKey(FILES, key.level - 1, below[which].number)
        leaf = self._decoded[key.number % MAX_DECODED]
        if leaf is not None and leaf.number == key.number:
            return leaf
        page = self._pages.get(key)
        if page is None:
            raise LookupError(f"{key} has not arrived")
        return self._keep_decoded(decode_checked_leaf(page), self._bounds[key])

    def _keep_decoded(self, entries: Sequence[Entry], bounds: Bounds) -> _Leaf:
        sizes = [size for _, size, _ in entries]
        offsets = list(accumulate(sizes, initial=bounds.offset))
        leaf = _Leaf(bounds.number, entries, offsets[:-1])
        self._decoded[leaf.number % MAX_DECODED] = leaf
        return leaf

    def __repr__(self) -> str:
        return f"<FileTable {len(self._pages)} pages of {self.count} files>"


class FileList(Sequence[File]):
    """Some adjacent files of a table, decoded when they are used."""

    def __init__(self, table: FileTable, first: int, end: int) -> None:
        """List the files with the numbers from `first` to `end - 1`."""
        self._table = table
        self.first = first
        """The number of the first of them in the table."""
        self._range = range(first, max(first, end))

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, index: int) -> File: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[File]: ...
    def __getitem__(self, index: int | slice) -> File | Sequence[File]:
        found = self._range[index]
        if isinstance(found, int):
            return self._table.at(found)
        if found.step == 1:
            return FileList(self._table, found.start, found.stop)
        return [self._table.at(number) for number in found]

    def __iter__(self) -> Iterator[File]:
        if self._range:
            rest = len(self._range)
            for file in self._table.from_number(self._range.start):
                yield file
                rest -= 1
                if not rest:
                    return

    def __repr__(self) -> str:
        return f"<FileList of {len(self)} files>"


def folder_range(folder: str) -> tuple[str, str]:
    """Return the first path that can be below a folder, and the first after them."""
    return folder + "/", folder + chr(ord("/") + 1)
