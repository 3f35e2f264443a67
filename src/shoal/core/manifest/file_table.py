"""Find and list the files of a folder, from pages that arrive one by one; pure.

The rules over all paths together are checked by `files`, once all pages have arrived.
docs/protocol.md, "File table".
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from shoal.core.manifest.collisions import problem_of_all
from shoal.core.manifest.file_pages import FilesTop
from shoal.core.manifest.file_tree import Bisect, File, FileTree, Leaf, folder_range
from shoal.errors import bad_link

__all__ = ["FileList", "FileSpan", "FileTable"]


class FileSpan(NamedTuple):
    """Locate some bytes in one file."""

    file: File
    start: int
    """Offset of the first byte within the file."""
    length: int
    """Bytes, at least one."""


class FileTable(FileTree):
    """Keep the pages of the file table that have arrived, and find files in them."""

    def __init__(self, top: FilesTop, size: int) -> None:
        """Start without pages; the files have `size` bytes together."""
        super().__init__(top, size)
        self._is_checked = False

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
                raise bad_link(problem)
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
        leaf = self.leaf_of(path, lambda b: b.path)
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

    def children(self, folder: str) -> Iterator[tuple[str, File | None]]:
        """Yield the name of each file and folder in a folder; the file, or None.

        They are in the order of the paths below them. A page of which all files are in
        one of the folders need not have arrived. Raises `LookupError` if another has
        not.
        """
        first, end = folder_range(folder) if folder else ("", None)
        inside = folder + "/" if folder else ""
        last = None
        for name, key in self.covering(first, end, folder):
            if name is not None:
                if name != last:
                    yield name, None
                last = name
                continue
            leaf = self.leaf(key)
            place = leaf.place_of(first)
            while place < len(leaf.entries):
                path = leaf.entries[place][0]
                if not path.startswith(inside):
                    return
                name, slash, _ = path[len(inside) :].partition("/")
                if not slash:
                    yield name, leaf.file(place)
                    place += 1
                    continue
                if name != last:
                    yield name, None
                last = name
                place = leaf.place_of(folder_range(inside + name)[1])

    def between(self, first: str, end: str | None) -> "FileList":
        """Return the files with paths from `first` on, before `end`; as `under`."""
        start = self._number_of(first, bisect_right) if first else 0
        stop = self.count if end is None else self._number_of(end, bisect_left)
        return FileList(self, start, stop)

    def _number_of(self, path: str, bisect: Bisect) -> int:
        """Return how many files have a path before this one.

        If a leaf begins with it, that leaf is looked at with `bisect_right`, and with
        `bisect_left` the one before.
        """
        if not self.count:
            return 0
        leaf = self.leaf_of(path, lambda b: b.path, bisect)
        return leaf.number + leaf.place_of(path)

    def at(self, number: int) -> File:
        """Return a file by its number; raises `LookupError` as `find` does."""
        leaf = self.leaf_of(number, lambda b: b.number)
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
        leaf = self.leaf_of(first, lambda b: b.offset)
        # Of several files that begin there, only the last one can have a byte.
        place = bisect_right(leaf.offsets, first) - 1
        for file in self.from_number(leaf.number + max(place, 0)):
            if file.offset >= end:
                return
            start = max(first, file.offset)
            length = min(end, file.end) - start
            if length > 0:
                yield FileSpan(file, start - file.offset, length)

    def _leaves(self, number: int) -> Iterator[Leaf]:
        """Yield the leaf with this file and those after it."""
        while number < self.count:
            leaf = self.leaf_of(number, lambda b: b.number)
            yield leaf
            number = leaf.number + len(leaf.entries)

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
