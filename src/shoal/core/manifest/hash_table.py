"""The hashes of all chunks, page by page, each page verified by the root.

A random read needs the one page that holds its chunk's hash, and a peer that lies
costs the one page it lied about. docs/protocol.md, "Link, root record and
manifest".
"""

from shoal.core.crypto.hashes import DIGEST_SIZE, Bytes, chunk_digest, page_digest
from shoal.core.manifest.root import HASHES_PER_PAGE, Root

__all__ = ["HashTable", "page_of"]


def page_of(index: int) -> int:
    """Return the number of the page that holds the hash of chunk `index`."""
    return index // HASHES_PER_PAGE


class HashTable:
    """Keep the pages that came, and answer for the chunks they speak of."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._chunks = root.chunks
        self._count = root.chunks.count
        self._pages: dict[int, bytes] = {}

    @property
    def page_count(self) -> int:
        """Return how many pages there are."""
        return self._root.hash_page_count

    def add_page(self, number: int, data: Bytes) -> bool:
        """Take a page from a peer; False when it is not the page it should be.

        Nothing is hashed unless its length is right.
        """
        if not 0 <= number < self.page_count:
            return False
        if len(data) != self._root.hash_page_size(number):
            return False
        start = number * DIGEST_SIZE
        if page_digest(data) != self._root.hashes[start : start + DIGEST_SIZE]:
            return False
        self._pages.setdefault(number, bytes(data))
        return True

    def page(self, number: int) -> bytes | None:
        """Return a page, to be given on; None while it is not there."""
        return self._pages.get(number)

    def has(self, index: int) -> bool:
        """Say whether the hash of chunk `index` is there."""
        return 0 <= index < self._count and page_of(index) in self._pages

    def digest(self, index: int) -> bytes:
        """Return the hash of chunk `index`.

        Raises `IndexError` when there is no such chunk, `LookupError` while its
        page is not there.
        """
        if not 0 <= index < self._count:
            raise IndexError(index)
        page = self._pages.get(page_of(index))
        if page is None:
            raise LookupError(f"page {page_of(index)} of the hashes is not there yet")
        start = index % HASHES_PER_PAGE * DIGEST_SIZE
        return page[start : start + DIGEST_SIZE]

    def verifies(self, index: int, data: Bytes) -> bool:
        """Say whether `data` is chunk `index`; raises as `digest` does."""
        expected = self.digest(index)
        if len(data) != self._chunks.length(index):
            return False
        return chunk_digest(data) == expected

    def __repr__(self) -> str:
        return f"<HashTable {len(self._pages)} of {self.page_count} pages>"
