"""Short names of manifest pages, for tests."""

from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import FILES, HASHES, PageKey


def hash_page(number: int) -> PageKey:
    """Return the name of a leaf page of the chunk hashes."""
    return PageKey(HASHES, 0, number)


def file_page(number: int) -> PageKey:
    """Return the name of the leaf page that begins with a file."""
    return PageKey(FILES, 0, number)


def pages_of(manifest: Manifest) -> dict[PageKey, bytes]:
    """Return all pages that a manifest has, each after the one above it."""
    return {key: manifest.page(key) or b"" for key in manifest.keys()}
