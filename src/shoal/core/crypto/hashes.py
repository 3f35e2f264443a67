"""Hash the parts of a sealed share; pure.

Each hash has its own context (BLAKE3's derive_key mode), so that the bytes of a chunk
can never pass as a page, nor a page as a root record. docs/protocol.md, "Link, root
record and manifest".
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
CHECK_SIZE = 3  # bytes of a link that reveal a typing error

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
    """Return the hash of a chunk; releases the GIL meanwhile."""
    return blake3(data, derive_key_context=_CHUNK).digest()


def link_check(share_id: bytes) -> bytes:
    """Return the bytes that follow an id in a link."""
    return blake3(share_id, derive_key_context=_LINK_CHECK).digest(CHECK_SIZE)
