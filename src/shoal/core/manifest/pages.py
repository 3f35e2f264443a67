"""Keep pages of a manifest, each verified by its hash in the root record; pure.

docs/protocol.md, "Manifest pages". A random read needs only the page with its chunk's
hash, and a peer that sends a wrong page costs that page and no more.
"""

import msgspec

from shoal.core.crypto.hashes import DIGEST_SIZE, Bytes, page_digest
from shoal.errors import ManifestError

__all__ = [
    "HASHES_PER_PAGE",
    "MALFORMED",
    "PAGE_SIZE",
    "PageTable",
    "refusal",
    "split_pages",
]

PAGE_SIZE = 64 * 1024  # bytes
HASHES_PER_PAGE = PAGE_SIZE // DIGEST_SIZE

MALFORMED = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)
"""Everything that msgspec raises for bytes that do not fit."""


def refusal(problem: str) -> ManifestError:
    """Return the error that ends the download of a share with this problem."""
    return ManifestError(
        f"This link is refused, and nothing was written: {problem}. Ask its sender for "
        "a new link."
    )


def split_pages(data: bytes) -> list[bytes]:
    """Return the pages of a table."""
    return [data[i : i + PAGE_SIZE] for i in range(0, len(data), PAGE_SIZE)]


class PageTable:
    """Keep the pages of one table that have arrived."""

    def __init__(self, hashes: bytes, size: int | None = None) -> None:
        """Start without pages; `hashes` has the hash of each.

        `size` is how many bytes all pages have together; None if it is not known.
        """
        self.page_count = len(hashes) // DIGEST_SIZE
        """How many pages there are."""
        self._hashes = hashes
        self._size = size
        self._pages: dict[int, bytes] = {}

    @property
    def is_complete(self) -> bool:
        """Return True if all pages have arrived."""
        return len(self._pages) == self.page_count

    def add_page(self, number: int, data: Bytes) -> bool:
        """Add a page from a peer; return False if it is wrong.

        Nothing is hashed unless its length is right.
        """
        if not 0 <= number < self.page_count or not self._fits(number, len(data)):
            return False
        start = number * DIGEST_SIZE
        if page_digest(data) != self._hashes[start : start + DIGEST_SIZE]:
            return False
        self._pages.setdefault(number, bytes(data))
        return True

    def _fits(self, number: int, length: int) -> bool:
        """Return True if page `number` may have this many bytes."""
        if number < self.page_count - 1:
            return length == PAGE_SIZE
        if self._size is None:
            return 1 <= length <= PAGE_SIZE
        return length == self._size - number * PAGE_SIZE

    def page(self, number: int) -> bytes | None:
        """Return a page, to send it to a peer; None if it has not arrived."""
        return self._pages.get(number)

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name} {len(self._pages)} of {self.page_count} pages>"
