"""Encode and decode the pages of the file table, each of which stands alone; pure.

A leaf page is an array of files, an index page an array of the pages below it, each
with its first path, the number of its first file and the offset of its first byte. So
a reader finds one file with one page of each level. docs/protocol.md, "File table".

A page whose hash is right comes from the maker of the link: if it is not valid, no peer
has a better one, and the share is refused with a `ManifestError`.
"""

from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from operator import lt
from typing import Annotated, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from shoal.core.crypto.hashes import DIGEST_SIZE, page_digest
from shoal.core.manifest.pages import FILES, MALFORMED, PAGE_SIZE, PageKey
from shoal.core.manifest.paths import plain_problem, shown
from shoal.errors import UsageError, bad_link, option

__all__ = [
    "MAX_FILES",
    "MAX_TABLE_SIZE",
    "MIN_FULL_PAGE",
    "Attributes",
    "Below",
    "Bounds",
    "Entry",
    "FileEntry",
    "FilePagesBuilder",
    "FilesTop",
    "bounds_below",
    "decode_checked_leaf",
    "decode_index",
    "decode_leaf",
]

T = TypeVar("T")

MAX_FILES = 1 << 22  # in one share
# The pages stay in memory, and the maker of a link chooses how long the paths are.
MAX_TABLE_SIZE = 512 << 20  # bytes of all pages: 128 for each of the most files
MIN_FULL_PAGE = 61_000  # bytes of every page but the last of its level
_HEAD_SIZE = 3  # bytes: the head of an array, counted so for every page
_MIN_ENTRY_SIZE = 5  # bytes of the shortest file

FileEntry: TypeAlias = tuple[str, int, bool]
"""A file to share: its path, its size in bytes, and whether it is executable."""

Date: TypeAlias = Annotated[int, Meta(ge=-(1 << 53) + 1, le=(1 << 53) - 1)]
Mode: TypeAlias = Annotated[int, Meta(ge=0, le=0o7777)]
ContentType: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=127, pattern=r"\A[!-~]+\Z")
]


# The fields are in the byte order of their keys on the wire.
class Attributes(
    Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False
):
    """Describe more of a file than whether it is executable.

    This version checks and keeps them, and uses none of them but `executable`.
    """

    date: Date | None = None
    """When the file changed last, in milliseconds since 1970."""
    executable: bool = False
    mode: Mode | None = None
    """Permissions, as in chmod(2)."""
    type: ContentType | None = None
    """Content type, as in RFC 9110."""


Entry: TypeAlias = tuple[str, int, bool | Attributes]
"""A file in a leaf page: its path, its size in bytes, and more of it."""
_Digest: TypeAlias = Annotated[
    bytes, Meta(min_length=DIGEST_SIZE, max_length=DIGEST_SIZE)
]


class FilesTop(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Describe the tree of the file table, in the root record."""

    count: int
    """How many files there are."""
    depth: int
    """The level of the top page; 0 if that is the only one."""
    digest: _Digest
    """The hash of the top page."""


class Below(NamedTuple):
    """Describe one page in the index page above it."""

    path: str
    """The path of its first file."""
    number: int
    """The number of its first file."""
    offset: int
    """The offset of the first byte of that file in the share."""
    digest: bytes


class Bounds(NamedTuple):
    """What the pages above a page say of it."""

    path: str | None
    """The path of its first file; None if that is not known, for the top page."""
    number: int
    """The number of its first file."""
    offset: int
    """The offset of its first byte."""
    end_path: str | None
    """All its paths are before this one; None at the end of the share."""
    end: int
    """The number of the first file after it."""
    end_offset: int
    """The offset of the first byte after it."""
    is_last: bool
    """Whether it is the last page of its level."""
    digest: bytes


_encoder = msgspec.msgpack.Encoder()
_leaf_decoder = msgspec.msgpack.Decoder(list[Entry])
_index_decoder = msgspec.msgpack.Decoder(list[tuple[str, int, int, _Digest]])


class FilePagesBuilder:
    """Make the pages of a file table from its files, in the order of their paths.

    A page gets as many entries as fit. Only the pages are kept, so memory grows with
    their bytes and not with the number of objects.
    """

    def __init__(self) -> None:
        """Start without a file."""
        self.count = 0
        """How many files were added."""
        self.size = 0
        """The bytes of all files added."""
        self.pages: dict[PageKey, bytes] = {}
        """The pages that are complete."""
        self._table_size = 0  # bytes of these pages
        self._levels: list[_Level] = [_Level()]

    def add(self, path: str, size: int, executable: bool) -> None:
        """Add the next file; the caller has checked the path and the order.

        Raises `UsageError` if the table becomes too large.
        """
        part = _encoder.encode((path, size, executable))
        leaf = self._levels[0]
        if leaf.size + len(part) > PAGE_SIZE:
            self._close(0)
        if not leaf.parts:
            leaf.first = path, self.count, self.size
        leaf.parts.append(part)
        leaf.size += len(part)
        self.count += 1
        self.size += size

    def finish(self) -> FilesTop:
        """Complete all pages, and return what the root record has of them."""
        level = 0
        while True:
            last = self._levels[level]
            if level and len(last.parts) == 1 and not last.closed:
                # The only page below is the top.
                return FilesTop(self.count, level - 1, last.digest)
            if last.parts or not (level or self.count):
                self._close(level)
            level += 1

    def _close(self, level: int) -> None:
        page = self._levels[level]
        data = array_head(len(page.parts)) + b"".join(page.parts)
        path, number, offset = page.first
        self.pages[PageKey(FILES, level, number)] = data
        self._table_size += len(data)
        if self._table_size > MAX_TABLE_SIZE:
            raise UsageError(
                "All paths of this folder's files are too long together: there is "
                f"room for about {self.count:,} files. Share an archive of it, or "
                f"leave some out with {option('--exclude')}."
            )
        digest = page_digest(data)
        self._levels[level].clear()
        if level + 1 == len(self._levels):
            self._levels.append(_Level())
        above = self._levels[level + 1]
        part = _encoder.encode((path, number, offset, digest))
        if above.size + len(part) > PAGE_SIZE:
            self._close(level + 1)
        if not above.parts:
            above.first = path, number, offset
        above.digest = digest
        above.parts.append(part)
        above.size += len(part)


class _Level:
    """The page of one level that is being filled."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = _HEAD_SIZE
        self.first: tuple[str, int, int] = ("", 0, 0)
        self.digest = b""  # of the last page below
        self.closed = 0  # pages completed so far

    def clear(self) -> None:
        self.parts = []
        self.size = _HEAD_SIZE
        self.closed += 1


def array_head(count: int) -> bytes:
    """Return the head of a msgpack array of fewer than 65,536 elements."""
    if count < 16:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big")


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes, min_size: int) -> T:
    """Return the array in a page; its elements have at least `min_size` bytes each."""
    _check_claim(data, min_size)
    try:
        found = decoder.decode(data)
    except MALFORMED as error:
        raise bad_link(f"its file table is malformed: {str(error)[:120]}") from error
    if _encoder.encode(found) != data:
        raise bad_link("its file table is not canonical")
    return found


def decode_leaf(data: bytes, bounds: Bounds) -> list[Entry]:
    """Return the files of a leaf page; raises `ManifestError` unless all is valid."""
    entries = _decode(_leaf_decoder, data, _MIN_ENTRY_SIZE)
    # Whole columns are checked at once, as a share may have millions of files.
    paths, sizes, attributes = zip(*entries, strict=True) if entries else ((), (), ())
    _check_page(data, paths, bounds)
    if len(entries) != bounds.end - bounds.number:
        raise bad_link("a page of its file table has the wrong number of files")
    if min(sizes, default=0) < 0:
        place = next(place for place, size in enumerate(sizes) if size < 0)
        raise bad_link(f"the size of {shown(paths[place])} is {sizes[place]}")
    if Attributes in set(map(type, attributes)):
        if not all(_says_more(a) for a in attributes if isinstance(a, Attributes)):
            raise bad_link("its file table is not canonical")
    if sum(sizes) != bounds.end_offset - bounds.offset:
        raise bad_link("the sizes of its files do not add up")
    return entries


def decode_checked_leaf(data: bytes) -> list[Entry]:
    """Return the files of a leaf page for which `decode_leaf` found no problem."""
    return _leaf_decoder.decode(data)


def _says_more(attributes: Attributes) -> bool:
    """Return True unless true or false would say as much as these attributes."""
    date, mode = attributes.date, attributes.mode
    return date is not None or mode is not None or attributes.type is not None


def decode_index(data: bytes, bounds: Bounds) -> list[Below]:
    """Return what an index page says; raises `ManifestError` unless all is valid."""
    below = [Below(*each) for each in _decode(_index_decoder, data, DIGEST_SIZE)]
    _check_page(data, [each.path for each in below], bounds)
    is_top = bounds.path is None
    if not below or (is_top and len(below) < 2):
        raise bad_link("its file table has a superfluous page")
    ends = [*below[1:], Below("", bounds.end, bounds.end_offset, b"")]
    if (below[0].number, below[0].offset) != (bounds.number, bounds.offset):
        raise bad_link("the file numbers in its file table do not agree")
    for one, after in zip(below, ends, strict=True):
        if one.number >= after.number or one.offset > after.offset:
            raise bad_link("the file numbers in its file table do not agree")
    return below


def bounds_below(below: Sequence[Below], bounds: Bounds) -> Iterable[Bounds]:
    """Yield what an index page with these `bounds` says of each page below it."""
    for one, after in pairwise(below):
        yield Bounds(
            one.path,
            one.number,
            one.offset,
            after.path,
            after.number,
            after.offset,
            False,
            one.digest,
        )
    last = below[-1]
    yield bounds._replace(
        path=last.path, number=last.number, offset=last.offset, digest=last.digest
    )


def _check_page(data: bytes, paths: Sequence[str], bounds: Bounds) -> None:
    """Check what leaf pages and index pages have in common."""
    if not bounds.is_last and len(data) < MIN_FULL_PAGE:
        raise bad_link("a page of its file table is not full")
    if paths and bounds.path is not None and paths[0] != bounds.path:
        raise bad_link("a page of its file table begins with the wrong path")
    # Python compares code points, which gives the order of the UTF-8 bytes.
    if not all(map(lt, paths, islice(paths, 1, None))):
        raise bad_link("its files are not sorted by path")
    if paths and bounds.end_path is not None and paths[-1] >= bounds.end_path:
        raise bad_link("its files are not sorted by path")
    problem = plain_problem(paths)
    if problem is not None:
        raise bad_link(problem)


def _check_claim(data: bytes, min_size: int) -> None:
    """Refuse an array that claims more elements than its bytes can have.

    The decoder allocates memory for the claimed number before it reads them.
    """
    kind = data[0]
    if kind & 0xF0 == 0x90:
        count = kind & 0x0F
    elif kind in (0xDC, 0xDD):
        count = int.from_bytes(data[1 : 3 if kind == 0xDC else 5], "big")
    else:
        raise bad_link("its file table is not an array")
    if count * min_size > len(data):
        raise bad_link(f"it claims to have {count} files")
