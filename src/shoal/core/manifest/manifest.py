"""The manifest: root, chunk hashes and files of one share, and how one is made.

A manifest starts as a verified root and grows page by page. Pages are numbered as
they are asked for: first those of the chunk hashes, then those of the file table.
Nothing in it is believed that the id does not prove. docs/protocol.md, "Link, root
record and manifest".
"""

from collections.abc import Sequence

from msgspec.structs import replace

from shoal.core.crypto.hashes import DIGEST_SIZE, Bytes, page_digest, root_digest
from shoal.core.crypto.keys import log_name
from shoal.core.manifest.chunk_sizes import check_chunk_size, check_fits
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_table import (
    Entry,
    File,
    FileTable,
    Span,
    encode_files,
    split_pages,
)
from shoal.core.manifest.hash_table import HashTable, page_of
from shoal.core.manifest.paths import name_problem, shown
from shoal.core.manifest.root import (
    VERSION,
    Root,
    decode_root,
    derive_salt,
    encode_root,
)
from shoal.errors import NotFoundError, UsageError

__all__ = ["Manifest", "build_manifest"]


class Manifest:
    """Know what is known of one share; it only ever gets more."""

    def __init__(self, share_id: bytes, root_record: Bytes) -> None:
        """Begin with the root record, as a peer sent it.

        Raises what `decode_root` raises: a `PeerError` when the peer is to blame,
        `ManifestError` when whoever made the link is.
        """
        self.root: Root = decode_root(share_id, root_record)
        """The root record, verified."""
        self.root_record = bytes(root_record)
        """The same, to be given on."""
        self.id = share_id
        self.chunks: Chunks = self.root.chunks
        """How the share is cut."""
        self.hash_table = HashTable(self.root)
        self.file_table = FileTable(self.root) if self.root.is_folder else None
        """None for a single file."""

    @property
    def page_count(self) -> int:
        """Return how many pages there are, of both tables."""
        return self.root.hash_page_count + self.root.file_page_count

    def page_of(self, index: int) -> int:
        """Return the page that has a chunk's hash: `manifest.page_of(0)`."""
        return page_of(index)

    @property
    def file_pages(self) -> range:
        """Return the numbers of the pages that tell the files."""
        return range(self.root.hash_page_count, self.page_count)

    def add_page(self, number: int, data: Bytes) -> bool:
        """Take a page from a peer: `manifest.add_page(0, page)`.

        Returns whether it is the page it should be.
        """
        if number < self.root.hash_page_count or self.file_table is None:
            return self.hash_table.add_page(number, data)
        return self.file_table.add_page(number - self.root.hash_page_count, data)

    def page(self, number: int) -> bytes | None:
        """Return a page, to be given on: `manifest.page(0)`.

        None while it is not there.
        """
        if number < self.root.hash_page_count or self.file_table is None:
            return self.hash_table.page(number)
        return self.file_table.page(number - self.root.hash_page_count)

    @property
    def is_complete(self) -> bool:
        """Say whether all pages are there."""
        return all(self.page(number) is not None for number in range(self.page_count))

    @property
    def files(self) -> Sequence[File]:
        """Return all files; of a single file, that one under the share's name.

        Raises `LookupError` while a page that tells them is not there,
        `ManifestError` when they are not what a share may hold.
        """
        if self.file_table is not None:
            return self.file_table.files
        return (File(self.root.name, self.root.size, False, 0),)

    def find(self, path: str | None = None) -> File:
        """Return the file of a path: `manifest.find("a.txt").size`.

        Without a path, the only file of the share.

        Raises `NotFoundError` when there is none, `UsageError` when one has to be
        named, and what `files` raises.
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

    def spans(self, first: int, end: int) -> Sequence[Span]:
        """Return where bytes of the share lie, in order: `manifest.spans(0, 1000)`.

        Those are bytes `first` to `end - 1`.
        """
        if self.file_table is not None:
            return tuple(self.file_table.spans(first, end))
        first, end = max(first, 0), min(end, self.root.size)
        return (Span(self.files[0], first, end - first),) if first < end else ()

    def chunks_of(self, file: File) -> range:
        """Return the indexes of a file's chunks: `manifest.chunks_of(file)`.

        An empty file has none.
        """
        return self.chunks.covering(file.offset, file.end)

    def __repr__(self) -> str:
        return f"<Manifest of {log_name(self.id)}: {self.root!r}>"


def build_manifest(
    name: str,
    size: int,
    chunk_size: int,
    chunk_digests: bytes,
    files: Sequence[Entry] | None = None,
    *,
    salt: bytes | None = None,
    secret: bytes | None = None,
) -> Manifest:
    """Return the whole manifest of a share whose chunks have these hashes.

    `files` are those of a folder, sorted by path, their bytes in this order. With
    `secret` the salt derives from it; with neither `salt` nor `secret` the share is
    public. Raises `UsageError` for what cannot be shared.
    """
    problem = name_problem(name)
    if problem is not None:
        raise UsageError(
            f"The name {shown(name)} {problem}; choose another one with --name."
        )
    if salt is not None and secret is not None:
        raise ValueError("a salt is either given or derived")
    check_chunk_size(chunk_size)
    chunks = Chunks(size, chunk_size)
    if len(chunk_digests) != DIGEST_SIZE * chunks.count:
        raise ValueError("there must be one hash for every chunk")
    file_pages = [] if files is None else split_pages(encode_files(files))
    if files is not None and sum(entry[1] for entry in files) != size:
        raise ValueError("the sizes of the files do not add up")
    check_fits(chunks, name=name, file_pages=len(file_pages))
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
