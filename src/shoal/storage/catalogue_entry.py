"""One entry of the catalogue: a copy that this user shared or fetched.

An entry is a file that ends in a checksum. Nothing in it proves that the files at its
path are still the share: users of an entry verify them.
"""

import os
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from shoal.core.manifest.chosen import ChosenFiles
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey, Table
from shoal.core.names.link import Link, parse_link
from shoal.storage.shared.globs import Selection

__all__ = ["Entry", "Made", "decode", "encode"]

_MAGIC = b"shoalce\x02"
_FORMER = b"shoalce\x01"
_CHECK_SIZE = 32  # bytes at the end of an entry: the SHA-256 of the rest


class Made(Struct, frozen=True, kw_only=True):
    """How a copy was made."""

    is_shared: bool
    """Whether it was shared, not fetched."""
    is_complete: bool = True
    """Whether all of it, or of the selected files, is at the path."""
    include: tuple[str, ...] = ()
    """Patterns of the selected files; empty means all."""
    exclude: tuple[str, ...] = ()
    """Patterns of the files that were left out."""
    file: str | None = None
    """The one file of a folder that is at the path; None for the whole share."""
    parts: tuple[bytes, ...] = ()
    """Absolute paths of the files and folders that were shared together; else none.

    The path of the entry is then the folder that all of them are in.
    """
    follows_links: bool = False
    """Whether links to files were followed."""
    is_new_link: bool = False
    """Whether the link was to replace earlier ones."""
    is_forgotten: bool = False
    """Whether the user has forgotten it, though partial data is left on the disk."""

    @property
    def selects(self) -> tuple[object, ...]:
        """Return what chooses the files: equal for two copies of the same files."""
        links = self.follows_links
        return self.include, self.exclude, self.file, self.parts, links


class Entry(NamedTuple):
    """A share that this user shared or fetched."""

    link: Link
    path: Path
    """The absolute path of the file or folder."""
    manifest: Manifest
    made: Made
    time: float
    """When the entry was written, in seconds since 1970."""

    @property
    def parts(self) -> tuple[Path, ...]:
        """Return the paths that were shared together; none for one path."""
        return tuple(Path(os.fsdecode(part)) for part in self.made.parts)

    @property
    def is_selection(self) -> bool:
        """Return True if only selected files of the share were to be fetched."""
        made = self.made
        has_patterns = bool(made.include or made.exclude)
        return not made.is_shared and (has_patterns or made.file is not None)

    @property
    def is_whole_copy(self) -> bool:
        """Return True if all of the share was fetched to the path."""
        made = self.made
        return made.is_complete and not made.is_shared and not self.is_selection

    def keeps_link(self, made: Made) -> bool:
        """Return True if the same files keep this link when they are shared as `made`.

        The user's secret leads to the link of any others: it is not written down.
        """
        if self.is_whole_copy:
            return not (made.include or made.exclude or made.parts)
        ours = self.made
        return ours.is_shared and ours.is_new_link and ours.selects == made.selects

    @property
    def chosen(self) -> ChosenFiles | None:
        """Return the files that were to be fetched; None for all. Blocks if many.

        Raises `LookupError` if the entry has not all pages with these files.
        """
        table = self.manifest.file_table
        if table is None or not self.is_selection:
            return None
        size, file = self.manifest.root.size, self.made.file
        if file is not None:
            return ChosenFiles.choose_one(table, size, file)
        selection = Selection(self.made.include, self.made.exclude)
        return ChosenFiles.choose(table, size, selection.ranges, selection.selects)


class _Stored(Struct, frozen=True, array_like=True):
    """An entry as it is encoded."""

    link: str
    path: bytes
    root: bytes
    pages: list[tuple[Table, int, int, bytes]]
    """Table, level, index and bytes of each page, after that of the page above it."""
    made: Made
    time: float


def encode(entry: Entry) -> tuple[bytes, ...]:
    """Return an entry as it is stored, in parts: it may have half a gigabyte."""
    manifest = entry.manifest
    stored = _Stored(
        str(entry.link),
        os.fsencode(entry.path),
        manifest.root_record,
        [(*key, manifest.page(key) or b"") for key in manifest.keys()],
        entry.made,
        entry.time,
    )
    body = msgspec.msgpack.encode(stored)
    check = sha256(_MAGIC)
    check.update(body)
    return _MAGIC, body, check.digest()


def decode(data: bytes) -> Entry:
    """Return the entry in a file.

    Raises `ValueError` or `msgspec.MsgspecError` if it is damaged.
    """
    if data.startswith(_FORMER):
        raise ValueError("it is of an older version of shoal")
    view = memoryview(data)
    body, check = view[:-_CHECK_SIZE], view[-_CHECK_SIZE:]
    if not data.startswith(_MAGIC) or sha256(body).digest() != check:
        raise ValueError("its checksum is wrong")
    stored = msgspec.msgpack.decode(body[len(_MAGIC) :], type=_Stored)
    link = parse_link(stored.link)
    manifest = Manifest(link.id, stored.root)
    for table, level, number, page in stored.pages:
        if not manifest.add_page(PageKey(table, level, number), page):
            raise ValueError("a page of its manifest does not verify")
    path = Path(os.fsdecode(stored.path))
    return Entry(link, path, manifest, stored.made, stored.time)
