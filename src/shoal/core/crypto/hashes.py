"""Hash the parts of a sealed share; pure.

Each hash has its own context (BLAKE3's derive_key mode), so that the bytes of a chunk
can never pass as a page, nor a page as a root record. docs/protocol.md, "Hashes".

A chunk is hashed in blocks of 64 KiB, so that a part of it can be verified without the
rest. BLAKE3 does the same internally, but its Python package does not show the inner
nodes of its tree.
"""

from typing import TypeAlias

from blake3 import blake3

__all__ = [
    "BLOCK_SIZE",
    "CHECK_SIZE",
    "DIGEST_SIZE",
    "Bytes",
    "block_digests",
    "chunk_digest",
    "chunk_digest_of",
    "code_password",
    "link_check",
    "page_digest",
    "rendezvous_id",
    "root_digest",
]

Bytes: TypeAlias = bytes | bytearray | memoryview

BLOCK_SIZE = 64 * 1024  # bytes of every block of a chunk but the last
DIGEST_SIZE = 32  # bytes
CHECK_SIZE = 3  # bytes of a link that reveal a typing error

_ROOT = "shoal v2 root"
_PAGE = "shoal v2 page"
_BLOCK = "shoal v2 block"
_CHUNK = "shoal v2 chunk"
_LINK_CHECK = "shoal v2 link check"
_RENDEZVOUS = "shoal v2 code rendezvous"
_PASSWORD = "shoal v2 code password"


def root_digest(data: Bytes) -> bytes:
    """Return the id of the share whose root record is `data`."""
    return blake3(data, derive_key_context=_ROOT).digest()


def page_digest(data: Bytes) -> bytes:
    """Return the hash of a page of the manifest."""
    return blake3(data, derive_key_context=_PAGE).digest()


def block_digests(data: Bytes) -> bytes:
    """Return the hashes of the blocks of a chunk, 32 bytes each, in order.

    An empty chunk counts as one empty block.
    """
    if len(data) <= BLOCK_SIZE:
        return blake3(data, derive_key_context=_BLOCK).digest()
    view = memoryview(data)
    # One call for each block. This neither slows a busy event loop beside it nor is
    # slowed by it: docs/design.md, "Blocks".
    return b"".join(
        [
            blake3(view[i : i + BLOCK_SIZE], derive_key_context=_BLOCK).digest()
            for i in range(0, len(view), BLOCK_SIZE)
        ]
    )


def chunk_digest(data: Bytes) -> bytes:
    """Return the hash of a chunk; releases the GIL meanwhile."""
    return chunk_digest_of(block_digests(data), len(data))


def chunk_digest_of(block_hashes: Bytes, length: int) -> bytes:
    """Return the hash of a chunk of `length` bytes whose blocks have these hashes.

    A chunk of at most one block has the hash of that block. Raises `ValueError` unless
    there is one hash for each block.
    """
    count = max(1, -(-length // BLOCK_SIZE))
    if len(block_hashes) != DIGEST_SIZE * count:
        raise ValueError(f"{len(block_hashes)} bytes of hashes for {count} blocks")
    if count == 1:
        return bytes(block_hashes)
    return blake3(block_hashes, derive_key_context=_CHUNK).digest()


def link_check(share_id: bytes) -> bytes:
    """Return the bytes that follow an id in a link."""
    return blake3(share_id, derive_key_context=_LINK_CHECK).digest(CHECK_SIZE)


def rendezvous_id(text: Bytes) -> bytes:
    """Return 32 bytes that stand for the number and the first word of a code."""
    return blake3(text, derive_key_context=_RENDEZVOUS).digest()


def code_password(text: Bytes) -> bytes:
    """Return the 32 bytes that the PAKE uses in place of a whole code."""
    return blake3(text, derive_key_context=_PASSWORD).digest()
