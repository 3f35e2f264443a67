"""The manifest of one share: its root record, chunk hashes and files; pure.

A manifest starts as a verified root record and grows page by page. It never contains
anything that the id does not prove. A page can be requested once the page above it has
arrived, so the methods whose name begins with `missing` return the pages to request
now, and nothing once all that they stand for is here. docs/protocol.md, "Link, root
record and manifest".
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeAlias

from shoal.core.crypto.hashes import Bytes
from shoal.core.crypto.keys import log_name
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_table import FileSpan, FileTable
from shoal.core.manifest.file_tree import File, folder_range
from shoal.core.manifest.hash_table import HashTable
from shoal.core.manifest.pages import FILES, PageKey
from shoal.core.manifest.paths import shown
from shoal.core.manifest.root import Root, decode_root
from shoal.errors import NotFoundError, UsageError, told

__all__ = ["Manifest", "Missing", "not_in_share"]


class Manifest:
    """Hold the known part of one share's manifest; pages are only added."""

    def __init__(self, share_id: bytes, root_record: Bytes) -> None:
        """Begin with the root record, as a peer sent it.

        Raises what `decode_root` raises: a `PeerError` if the peer is to blame,
        `ManifestError` if the maker of the link is.
        """
        self.root: Root = decode_root(share_id, root_record)
        """The root record, verified."""
        self.root_record = bytes(root_record)
        """Its bytes, to send to peers."""
        self.id = share_id
        self.chunks: Chunks = self.root.chunks
        """How the share is cut into chunks."""
        self.hash_table = HashTable(self.chunks, self.root.hashes)
        files = self.root.files
        self.file_table = None if files is None else FileTable(files, self.root.size)
        """None for a single file."""

    # Pages.

    def add_page(self, key: PageKey, data: Bytes) -> bool:
        """Add a page from a peer: `manifest.add_page(key, page)`.

        Returns False if it is wrong, or if the page above it has not arrived. Raises
        `ManifestError` if the maker of the link made it wrong.
        """
        if key.table == FILES:
            table = self.file_table
            return table is not None and table.add_page(key.level, key.number, data)
        return self.hash_table.add_page(key.level, key.number, data)

    def page(self, key: PageKey) -> bytes | None:
        """Return a page, to send it to a peer: `manifest.page(key)`.

        Returns None if it has not arrived.
        """
        if key.table == FILES:
            table = self.file_table
            return None if table is None else table.page(key.level, key.number)
        return self.hash_table.page(key.level, key.number)

    def keys(self) -> Iterator[PageKey]:
        """Yield the pages that have arrived: `list(manifest.keys())`.

        Each comes after the page above it.
        """
        yield from self.hash_table.keys()
        if self.file_table is not None:
            yield from self.file_table.keys()

    @property
    def is_complete(self) -> bool:
        """Return True if all pages have arrived."""
        table = self.file_table
        return self.hash_table.is_complete and (table is None or table.is_complete)

    def missing(self) -> Iterator[PageKey]:
        """Yield the pages to request now: `list(manifest.missing())`."""
        return chain(self.missing_files(), self.missing_hashes())

    def missing_files(self) -> Iterator[PageKey]:
        """Yield the pages to request for all files: `manifest.missing_files()`."""
        return iter(()) if self.file_table is None else self.file_table.missing()

    def missing_hashes(self, chunks: range | None = None) -> Iterator[PageKey]:
        """Yield the pages to request for the hashes of adjacent chunks, or of all.

        `manifest.missing_hashes(range(3))`.
        """
        every = range(self.chunks.count)
        return self.hash_table.missing(every if chunks is None else chunks)

    def missing_path(self, path: str | None) -> Iterator[PageKey]:
        """Yield the pages to request for a file: `manifest.missing_path("a.txt")`.

        Once there are none, `find` does not raise `LookupError`.
        """
        if self.file_table is None or not path:
            return iter(())
        return self.file_table.missing(path, path + "\0")

    def missing_under(self, folder: str) -> Iterator[PageKey]:
        """Yield the pages to request for a folder, or a file of that path.

        `manifest.missing_under("photos")`; without a name, those for all files.
        """
        if self.file_table is None or not folder:
            return self.missing_files()
        below = self.file_table.missing(*folder_range(folder))
        return chain(self.missing_path(folder), below)

    def missing_children(self, folder: str) -> Iterator[PageKey]:
        """Yield the pages to request for what is directly in a folder, or for a file.

        `manifest.missing_children("photos")`; without a name, those for the top. These
        are few even if most files of the share are in the folders there.
        """
        if self.file_table is None:
            return iter(())
        inside = self.file_table.missing_children(folder)
        return chain(self.missing_path(folder), inside)

    # Files.

    @property
    def files(self) -> Sequence[File]:
        """Return all files; of a single file, that file, with the share's name.

        Raises `LookupError` if a page of the file table has not arrived,
        `ManifestError` if a share may not hold these files.
        """
        if self.file_table is not None:
            return self.file_table.files
        return (File(self.root.name, self.root.size, False, 0),)

    def find(self, path: str | None = None) -> File:
        """Return the file of a path: `manifest.find("a.txt").size`.

        Without a path, return the only file of the share.

        Raises `NotFoundError` if there is none, `UsageError` if the share is a folder
        and there is no path, `LookupError` if a page has not arrived.
        """
        if self.file_table is None:
            if path in (None, "", self.root.name):
                return self.files[0]
            raise NotFoundError(
                f"The share is one file, {self.root.name}; leave the path out."
            )
        if not path:
            raise UsageError("The share is a folder; name one of its files.")
        found = self.file_table.find(path)
        if found is None:
            raise not_in_share(path)
        return found

    def spans(self, first: int, end: int) -> Sequence[FileSpan]:
        """Return where bytes of the share are in its files: `manifest.spans(0, 1000)`.

        Those are bytes `first` to `end - 1`, in order. Raises `LookupError` if a page
        with these files has not arrived.
        """
        first, end = max(first, 0), min(end, self.root.size)
        if self.file_table is not None:
            return tuple(self.file_table.spans(first, end))
        return (FileSpan(self.files[0], first, end - first),) if first < end else ()

    def chunks_of(self, file: File) -> range:
        """Return the indexes of a file's chunks: `manifest.chunks_of(file)`.

        An empty file has none.
        """
        return self.chunks.covering(file.offset, file.end)

    def __repr__(self) -> str:
        return f"<Manifest of {log_name(self.id)}: {self.root!r}>"


def not_in_share(path: str) -> NotFoundError:
    """Return the error for a path that no file or folder of a share has."""
    advice = told("; shoal ls lists its files", "")
    return NotFoundError(f"There is no {shown(path)} in the share{advice}.")


Missing: TypeAlias = Callable[[Manifest], Iterable[PageKey]]
"""Return the pages of a manifest to request now; none once all are here that the caller
needs. Usually one of the methods of `Manifest` whose name begins with `missing`."""
