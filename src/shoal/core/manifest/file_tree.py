"""Keep the pages of a file table that arrive one by one, and walk through them; pure.

Each page is verified when it arrives: its hash, and that it agrees with the pages above
it. Leaves are decoded when they are used, and only a few stay decoded, so memory is
that of the pages. docs/protocol.md, "File table".
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from msgspec import Struct

from shoal.core.crypto.hashes import Bytes, page_digest
from shoal.core.manifest.file_pages import (
    MAX_TABLE_SIZE,
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
from shoal.core.manifest.pages import FILES, PAGE_SIZE, PageKey
from shoal.errors import bad_link

__all__ = ["Bisect", "File", "FileTree", "Leaf", "folder_range"]

MAX_DECODED = 8  # leaf pages that stay decoded, one for each remainder of their number


Bisect: TypeAlias = Callable[..., int]
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


class Leaf(NamedTuple):
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


class FileTree:
    """Keep the pages of the file table that have arrived."""

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
        self._decoded: list[Leaf | None] = [None] * MAX_DECODED
        self._files_here = 0
        self.size_here = 0
        """Bytes of the pages that have arrived."""

    # Pages.

    @property
    def is_complete(self) -> bool:
        """Return True if all pages have arrived."""
        is_here = self._top in self._pages
        return is_here and self._files_here == self.count

    def add_page(self, level: int, index: int, data: Bytes) -> bool:
        """Add a page from a peer; return False if it is wrong or cannot be verified.

        Raises `ManifestError` for a page whose hash is right and that is not valid, or
        that makes the table too large.
        """
        key = PageKey(FILES, level, index)
        bounds = self._bounds.get(key)
        if bounds is None or not 1 <= len(data) <= PAGE_SIZE:
            return False
        if page_digest(data) != bounds.digest:
            return False
        if key in self._pages:
            return True
        if self.size_here + len(data) > MAX_TABLE_SIZE:
            raise bad_link(f"its file table has more than {MAX_TABLE_SIZE >> 20} MiB")
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
        self.size_here += len(page)
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
            yield from self._missing(self._top, _path_of, first, end)

    def missing_numbers(self, first: int, end: int) -> Iterator[PageKey]:
        """Yield pages to request for files `first` to `end - 1`, as `missing` does."""
        if not self.is_complete:
            yield from self._missing(self._top, lambda b: b.number, first, end)

    def missing_children(self, folder: str) -> Iterator[PageKey]:
        """Yield pages to request before `children(folder)`, as `missing` does."""
        if not self.is_complete:
            first, end = folder_range(folder) if folder else ("", None)
            for key in self._missing(self._top, _path_of, first, end):
                if child_with_all(self._bounds[key], folder) is None:
                    yield key

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

    def covering(
        self, first: str, end: str | None, folder: str
    ) -> Iterator[tuple[str | None, PageKey]]:
        """Yield the leaves with paths from `first` on, before `end`, those of `folder`.

        Before each is None. For pages of which all files are in one folder in `folder`,
        the name of that folder is yielded instead, once or more, with a page of them.
        Raises `LookupError` if an index page has not arrived.
        """
        rest = [self._top]
        while rest:
            key = rest.pop()
            name = child_with_all(self._bounds[key], folder)
            if name is not None or not key.level:
                yield name, key
                continue
            below = self._indexes.get(key)
            if below is None:
                raise LookupError(f"{key} has not arrived")
            start = max(bisect_right(below, first, key=_path_of) - 1, 0)
            stop = len(below) if end is None else bisect_left(below, end, key=_path_of)
            for each in reversed(below[start : max(stop, start + 1)]):
                rest.append(PageKey(FILES, key.level - 1, each.number))

    def leaf_of(
        self,
        value: Any,
        place: _Place,
        bisect: Bisect = bisect_right,
    ) -> Leaf:
        """Return the last leaf that begins at or before a value."""
        key = self._top
        while key.level:
            below = self._indexes.get(key)
            if below is None:
                raise LookupError(f"{key} has not arrived")
            which = max(bisect(below, value, key=place) - 1, 0)
            key = PageKey(FILES, key.level - 1, below[which].number)
        return self.leaf(key)

    def leaf(self, key: PageKey) -> Leaf:
        """Return a leaf; raises `LookupError` if it has not arrived."""
        leaf = self._decoded[key.number % MAX_DECODED]
        if leaf is not None and leaf.number == key.number:
            return leaf
        page = self._pages.get(key)
        if page is None:
            raise LookupError(f"{key} has not arrived")
        return self._keep_decoded(decode_checked_leaf(page), self._bounds[key])

    def _keep_decoded(self, entries: Sequence[Entry], bounds: Bounds) -> Leaf:
        sizes = [size for _, size, _ in entries]
        offsets = list(accumulate(sizes, initial=bounds.offset))
        leaf = Leaf(bounds.number, entries, offsets[:-1])
        self._decoded[leaf.number % MAX_DECODED] = leaf
        return leaf


def folder_range(folder: str) -> tuple[str, str]:
    """Return the first path that can be below a folder, and the first after them."""
    return folder + "/", folder + chr(ord("/") + 1)


def child_with_all(bounds: Bounds, folder: str) -> str | None:
    """Return the name of the folder in `folder` that has all files of a page.

    Returns None if there is none: then only the page tells what is in `folder`.
    """
    first, end = bounds.path, bounds.end_path
    inside = folder + "/" if folder else ""
    if first is None or end is None or not first.startswith(inside):
        return None
    name, slash, _ = first[len(inside) :].partition("/")
    # Then all paths between the two begin like this as well.
    return name if slash and end.startswith(f"{inside}{name}/") else None


def _path_of(below: Below) -> str:
    return below.path
