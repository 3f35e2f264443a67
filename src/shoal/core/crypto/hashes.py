"""The hashes of sealed shares: BLAKE3, keyed apart by what is hashed.

Each use has a context of its own (BLAKE3's derive_key mode), so that the bytes of
a chunk can never be passed off as a page, nor a page as a root record; see "Link, root
record and manifest" in docs/protocol.md.
"""

from typing import TypeAlias

from blake3 import blake3

__all__ = [
    "CHECK_SIZE",
    "DIGEST_SIZE",
    "Bytes",
    "chunk_digest",
    "link_check",
    "page_digest",
    "root_digest",
]

Bytes: TypeAlias = bytes | bytearray | memoryview

DIGEST_SIZE = 32  # bytes
CHECK_SIZE = 3  # bytes of a link that tell a typing error

_ROOT = "shoal v1 root"
_PAGE = "shoal v1 page"
_CHUNK = "shoal v1 chunk"
_LINK_CHECK = "shoal v1 link check"


def root_digest(data: Bytes) -> bytes:
    """Return the id of the share whose root record is `data`."""
    return blake3(data, derive_key_context=_ROOT).digest()


def page_digest(data: Bytes) -> bytes:
    """Return the hash of a page of the manifest."""
    return blake3(data, derive_key_context=_PAGE).digest()


def chunk_digest(data: Bytes) -> bytes:
    """Return the hash of a chunk; other threads run meanwhile."""
    return blake3(data, derive_key_context=_CHUNK).digest()


def link_check(share_id: bytes) -> bytes:
    """Return the bytes that follow an id in a link."""
    return blake3(share_id, derive_key_context=_LINK_CHECK).digest(CHECK_SIZE)
