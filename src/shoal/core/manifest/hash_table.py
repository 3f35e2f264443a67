"""Keep the tree of the hashes of a share's chunks, and verify chunks by it; pure.

A leaf page has the hashes of 2,048 chunks, a page above it those of 2,048 pages. Every
page is full except the last of its level, so the number of chunks determines how many
levels there are and how long each page is, whatever a peer says. The root record has
the hashes of the top level. docs/protocol.md, "Hash table".
"""

from collections.abc import Iterator

from shoal.core.crypto.hashes import DIGEST_SIZE, Bytes, chunk_digest, page_digest
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.pages import HASHES, PAGE_SIZE, PageKey

__all__ = [
    "HASHES_PER_PAGE",
    "MAX_TOP_SIZE",
    "HashTable",
    "build_hash_pages",
    "level_counts",
]

HASHES_PER_PAGE = PAGE_SIZE // DIGEST_SIZE
MAX_TOP_SIZE = 2048  # bytes of hashes in the root record


def level_counts(chunk_count: int) -> tuple[int, ...]:
    """Return how many pages each level has, from the leaves to the top."""
    counts = [-(-chunk_count // HASHES_PER_PAGE)]
    while counts[-1] * DIGEST_SIZE > MAX_TOP_SIZE:
        counts.append(-(-counts[-1] // HASHES_PER_PAGE))
    return tuple(counts)


def build_hash_pages(digests: bytes) -> tuple[bytes, dict[PageKey, bytes]]:
    """Return the hashes of the top level, and all pages, for these chunk hashes."""
    pages: dict[PageKey, bytes] = {}
    level = 0
    while True:
        parts = [digests[i : i + PAGE_SIZE] for i in range(0, len(digests), PAGE_SIZE)]
        pages |= {PageKey(HASHES, level, i): part for i, part in enumerate(parts)}
        digests = b"".join(map(page_digest, parts))
        if len(digests) <= MAX_TOP_SIZE:
            return digests, pages
        level += 1


class HashTable:
    """Keep the pages of the tree that have arrived."""

    def __init__(self, chunks: Chunks, top: bytes) -> None:
        """Start without pages; `top` has the hashes of those of the top level."""
        self.counts = level_counts(chunks.count)
        """How many pages each level has, from the leaves to the top."""
        self._chunks = chunks
        self._top = top
        # By level, then by index.
        self._pages: list[dict[int, bytes]] = [{} for _ in self.counts]

    @property
    def is_complete(self) -> bool:
        """Return True if all pages have arrived."""
        return len(self._pages[0]) == self.counts[0]

    def add_page(self, level: int, index: int, data: Bytes) -> bool:
        """Add a page from a peer; return False if it is wrong or cannot be verified.

        Nothing is hashed unless its length is right.
        """
        if not self.has(level, index) or len(data) != self._length(level, index):
            return False
        expected = self._digest(level + 1, index)
        if expected is None or page_digest(data) != expected:
            return False
        self._pages[level].setdefault(index, bytes(data))
        return True

    def has(self, level: int, index: int) -> bool:
        """Return True if the tree has such a page, whether it has arrived or not."""
        return 0 <= level < len(self.counts) and 0 <= index < self.counts[level]

    def page(self, level: int, index: int) -> bytes | None:
        """Return a page, to send it to a peer; None if it has not arrived."""
        return self._pages[level].get(index) if self.has(level, index) else None

    def keys(self) -> Iterator[PageKey]:
        """Yield the pages that have arrived, each after the one above it."""
        for level in reversed(range(len(self.counts))):
            for index in sorted(self._pages[level]):
                yield PageKey(HASHES, level, index)

    def missing(self, chunks: range) -> Iterator[PageKey]:
        """Yield pages to request for the hashes of `chunks`, adjacent and ascending.

        Of a leaf below a page that has not arrived, that page is yielded; once it has
        arrived, this yields the leaf. When all leaves have arrived, it yields nothing.
        """
        if not chunks or self.is_complete:
            return
        last: PageKey | None = None
        first, end = chunks[0] // HASHES_PER_PAGE, chunks[-1] // HASHES_PER_PAGE + 1
        for leaf in range(first, end):
            if leaf not in self._pages[0]:
                key = self._highest_missing(leaf)
                if key != last:
                    yield key
                last = key

    def _highest_missing(self, leaf: int) -> PageKey:
        for level in reversed(range(len(self.counts))):
            index = leaf // HASHES_PER_PAGE**level
            if index not in self._pages[level]:
                return PageKey(HASHES, level, index)
        raise AssertionError("the leaf has arrived")

    def has_digest(self, index: int) -> bool:
        """Return True if the hash of chunk `index` has arrived."""
        return (
            0 <= index < self._chunks.count
            and index // HASHES_PER_PAGE in self._pages[0]
        )

    def digest(self, index: int) -> bytes:
        """Return the hash of chunk `index`.

        Raises `IndexError` if there is no such chunk, `LookupError` if its page has not
        arrived.
        """
        if not 0 <= index < self._chunks.count:
            raise IndexError(index)
        found = self._digest(0, index)
        if found is None:
            raise LookupError(f"the hash of chunk {index} has not arrived")
        return found

    def digests(self) -> bytes:
        """Return the hashes of all chunks.

        Raises `LookupError` if a page has not arrived.
        """
        if not self.is_complete:
            raise LookupError("a page of the hashes has not arrived")
        leaves = self._pages[0]
        return b"".join(leaves[index] for index in range(self.counts[0]))

    def verifies(self, index: int, data: Bytes) -> bool:
        """Return True if `data` is chunk `index`; raises as `digest` does."""
        expected = self.digest(index)
        if len(data) != self._chunks.length(index):
            return False
        return chunk_digest(data) == expected

    def _digest(self, level: int, place: int) -> bytes | None:
        """Return hash `place` of a level, which has those of the level below it."""
        if level == len(self.counts):
            source, start = self._top, place * DIGEST_SIZE
        else:
            number, place = divmod(place, HASHES_PER_PAGE)
            page = self._pages[level].get(number)
            if page is None:
                return None
            source, start = page, place * DIGEST_SIZE
        return source[start : start + DIGEST_SIZE]

    def _length(self, level: int, index: int) -> int:
        """Return how many bytes a page has."""
        hashes = self.counts[level - 1] if level else self._chunks.count
        return min(PAGE_SIZE, hashes * DIGEST_SIZE - index * PAGE_SIZE)

    def __repr__(self) -> str:
        return f"<HashTable {len(self._pages[0])} of {self.counts[0]} leaves>"
