"""The manifest of one share: its root record, chunk hashes and files; pure.

A manifest starts as a verified root record and grows page by page. Pages are numbered
as in requests: first those of the chunk hash table, then those of the file table. It
never contains anything that the id does not prove. docs/protocol.md, "Link, root record
and manifest".
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from shoal.core.crypto.hashes import (
    DIGEST_SIZE,
    Bytes,
    chunk_digest,
    page_digest,
    root_digest,
)
from shoal.core.crypto.keys import log_name
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_table import (
    File,
    FileEntry,
    FileSpan,
    FileTable,
    encode_files,
)
from shoal.core.manifest.pages import HASHES_PER_PAGE, PageTable, split_pages
from shoal.core.manifest.paths import name_problem, shown
from shoal.core.manifest.root import (
    VERSION,
    Root,
    check_root_fits,
    check_sealed_chunk_size,
    decode_root,
    derive_salt,
    encode_root,
)
from shoal.errors import NotFoundError, UsageError

__all__ = [
    "HashTable",
    "Manifest",
    "Stat",
    "build_manifest",
    "check_share_name",
    "list_files",
    "stat",
]


class HashTable(PageTable):
    """Keep the hashes of chunks, and verify chunks by them."""

    def __init__(self, root: Root) -> None:
        """Start without hashes."""
        self._chunks = root.chunks
        self._count = root.chunks.count
        super().__init__(root.hashes, DIGEST_SIZE * self._count)

    def has_digest(self, index: int) -> bool:
        """Return True if the hash of chunk `index` has arrived."""
        return 0 <= index < self._count and index // HASHES_PER_PAGE in self._pages

    def digest(self, index: int) -> bytes:
        """Return the hash of chunk `index`.

        Raises `IndexError` if there is no such chunk, `LookupError` if its page has not
        arrived.
        """
        if not 0 <= index < self._count:
            raise IndexError(index)
        number, place = divmod(index, HASHES_PER_PAGE)
        page = self._pages.get(number)
        if page is None:
            raise LookupError(f"page {number} of the hashes has not arrived")
        return page[place * DIGEST_SIZE : (place + 1) * DIGEST_SIZE]

    def verifies(self, index: int, data: Bytes) -> bool:
        """Return True if `data` is chunk `index`; raises as `digest` does."""
        expected = self.digest(index)
        if len(data) != self._chunks.length(index):
            return False
        return chunk_digest(data) == expected


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
        self.hash_table = HashTable(self.root)
        files = self.root.files
        self.file_table = None if files is None else FileTable(files, self.root.size)
        """None for a single file."""

    @property
    def page_count(self) -> int:
        """Return how many pages both tables have."""
        files = self.file_table
        return self.hash_table.page_count + (files.page_count if files else 0)

    def page_of(self, index: int) -> int:
        """Return the number of the page with a chunk's hash: `manifest.page_of(0)`."""
        return index // HASHES_PER_PAGE

    @property
    def file_pages(self) -> range:
        """Return the numbers of the file table's pages."""
        return range(self.hash_table.page_count, self.page_count)

    def add_page(self, number: int, data: Bytes) -> bool:
        """Add a page from a peer: `manifest.add_page(0, page)`.

        Returns False if it is wrong.
        """
        table, number = self._table_of(number)
        return table.add_page(number, data)

    def page(self, number: int) -> bytes | None:
        """Return a page, to send it to a peer: `manifest.page(0)`.

        Returns None if it has not arrived.
        """
        table, number = self._table_of(number)
        return table.page(number)

    def _table_of(self, number: int) -> tuple[PageTable, int]:
        """Return the table of a page, and the page's number there."""
        if number < self.hash_table.page_count or self.file_table is None:
            return self.hash_table, number
        return self.file_table, number - self.hash_table.page_count

    @property
    def is_complete(self) -> bool:
        """Return True if all pages have arrived."""
        table = self.file_table
        return self.hash_table.is_complete and (table is None or table.is_complete)

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
        and there is no path, and what `files` raises.
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
            raise NotFoundError(f"There is no {shown(path)} in the share.")
        return found

    def spans(self, first: int, end: int) -> Sequence[FileSpan]:
        """Return where bytes of the share are in its files: `manifest.spans(0, 1000)`.

        Those are bytes `first` to `end - 1`, in order.
        """
        if self.file_table is not None:
            return tuple(self.file_table.spans(first, end))
        first, end = max(first, 0), min(end, self.root.size)
        return (FileSpan(self.files[0], first, end - first),) if first < end else ()

    def chunks_of(self, file: File) -> range:
        """Return the indexes of a file's chunks: `manifest.chunks_of(file)`.

        An empty file has none.
        """
        return self.chunks.covering(file.offset, file.end)

    def __repr__(self) -> str:
        return f"<Manifest of {log_name(self.id)}: {self.root!r}>"


class Stat(Struct, frozen=True):
    """Describe a share, or a file or folder in it."""

    name: str
    """The last component of its path, or the name of the share."""
    path: str
    """Path within the share; empty for the share itself."""
    size: int
    """Bytes; of a folder, those of all files below it."""
    is_folder: bool
    """Whether it is a folder."""
    files: int
    """How many files it has; 1 for a file."""
    executable: bool = False
    """Whether it is an executable file."""


def stat(manifest: Manifest, path: str | None = None) -> Stat:
    """Describe a share, or the file or folder at `path` in it.

    Raises `NotFoundError` if there is none.
    """
    root = manifest.root
    path = (path or "").rstrip("/")
    if not path:
        files = manifest.files
        executable = not root.is_folder and files[0].executable
        return Stat(root.name, "", root.size, root.is_folder, len(files), executable)
    table = manifest.file_table
    name = path.rpartition("/")[2]
    file = table.find(path) if table is not None else None
    if table is None or file is not None:
        file = file or manifest.find(path)
        return Stat(name, path, file.size, False, 1, file.executable)
    files = list_files(manifest, path)
    # The files of a folder are adjacent.
    return Stat(name, path, files[-1].end - files[0].offset, True, len(files))


def list_files(manifest: Manifest, folder: str | None = None) -> Sequence[File]:
    """Return the files of a share, or those below a folder of it.

    For the path of a file, return that file. Raises `NotFoundError` if there is none.
    """
    folder = (folder or "").rstrip("/")
    table = manifest.file_table
    if not folder:
        return manifest.files
    if table is None:
        return (manifest.find(folder),)
    files = table.under(folder)
    if not files:
        file = table.find(folder)
        if file is None:
            raise NotFoundError(f"There is no {folder} in the share.")
        return (file,)
    return files


def check_share_name(name: str) -> None:
    """Raise `UsageError` unless a share can have this name."""
    problem = name_problem(name)
    if problem is not None:
        raise UsageError(
            f"The name {shown(name)} {problem}; choose another one with --name."
        )


def build_manifest(
    name: str,
    size: int,
    chunk_size: int,
    chunk_digests: bytes,
    files: Sequence[FileEntry] | None = None,
    *,
    salt: bytes | None = None,
    secret: bytes | None = None,
) -> Manifest:
    """Return the complete manifest of a share whose chunks have these hashes.

    `files` are those of a folder, sorted by path; their bytes follow in this order.
    With `secret`, the salt is derived from it; with neither `salt` nor `secret`, the
    share is public. Raises `UsageError` if these files cannot be shared.
    """
    check_share_name(name)
    if salt is not None and secret is not None:
        raise ValueError("a salt is either given or derived")
    check_sealed_chunk_size(chunk_size)
    chunks = Chunks(size, chunk_size)
    if len(chunk_digests) != DIGEST_SIZE * chunks.count:
        raise ValueError("there must be one hash for every chunk")
    file_pages = [] if files is None else split_pages(encode_files(files))
    if files is not None and sum(entry[1] for entry in files) != size:
        raise ValueError("the sizes of the files do not add up")
    check_root_fits(chunks, name=name, file_pages=len(file_pages))
    hash_pages = split_pages(chunk_digests)
    root = Root(
        version=VERSION,
        name=name,
        size=size,
        chunk_size=chunk_size,
        hashes=b"".join(map(page_digest, hash_pages)),
        files=None if files is None else b"".join(map(page_digest, file_pages)),
    )
    if secret is not None:
        salt = derive_salt(secret, encode_root(root))
    record = encode_root(replace(root, salt=salt))
    manifest = Manifest(root_digest(record), record)
    for number, page in enumerate(hash_pages + file_pages):
        if not manifest.add_page(number, page):
            raise AssertionError("a page that was just hashed does not verify")
    return manifest
