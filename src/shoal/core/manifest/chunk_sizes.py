"""How large the chunks of a sealed share are.

Small chunks spread sooner and waste less on a liar; large ones make a small root.
The rule is frozen: the id of a public share depends on it, and two people who share
the same thing should get the same link. See docs/design.md, "Two kinds of share".
"""

import msgspec

from shoal.core.crypto.hashes import DIGEST_SIZE
from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks
from shoal.core.manifest.root import (
    HASHES_PER_PAGE,
    MAX_ROOT_SIZE,
    MAX_SHARE_SIZE,
    MIN_CHUNK_SIZE,
    SALT_SIZE,
    VERSION,
    Root,
    is_chunk_size,
)
from shoal.errors import UsageError

__all__ = ["check_chunk_size", "check_fits", "choose_chunk_size"]

SMALLEST_CHOICE = 64 * 1024  # bytes
LARGEST_CHOICE = 4 * 1024 * 1024  # bytes, unless the root would be too large
USUAL_COUNT = 1024  # chunks that a share has at most, while the choice goes so far


def choose_chunk_size(size: int, *, name: str = "", file_pages: int = 0) -> int:
    """Return how large the chunks of a share of `size` bytes should be.

    Raises `UsageError` when no chunk size will do.
    """
    chunk_size = SMALLEST_CHOICE
    while chunk_size < LARGEST_CHOICE and size > USUAL_COUNT * chunk_size:
        chunk_size *= 2
    fitting = _fitting_size(Chunks(size, chunk_size), name, file_pages)
    if fitting is None:
        raise _too_large(size)
    return fitting


def check_chunk_size(chunk_size: int) -> None:
    """Raise `UsageError` unless a sealed share may have chunks of that size."""
    if not is_chunk_size(chunk_size):
        raise UsageError(
            f"The chunks of a share cannot have {chunk_size} bytes; choose a power "
            f"of two from {MIN_CHUNK_SIZE} to {MAX_CHUNK_SIZE}."
        )


def check_fits(chunks: Chunks, *, name: str, file_pages: int) -> None:
    """Make sure that the root of such a share is not too large.

    Raises `UsageError` that names the chunk size which would do. Nothing needs to be
    hashed before.
    """
    fitting = _fitting_size(chunks, name, file_pages)
    if fitting is None:
        raise _too_large(chunks.size)
    if fitting != chunks.chunk_size:
        raise UsageError(
            f"At {chunks.chunk_size} bytes a chunk this share has {chunks.count} "
            f"chunks, too many for one link; use --chunk-size {fitting}."
        )


def _fitting_size(chunks: Chunks, name: str, file_pages: int) -> int | None:
    """Return the least chunk size from the present one on whose root fits."""
    if chunks.size > MAX_SHARE_SIZE:
        return None
    chunk_size = chunks.chunk_size
    while _root_size(chunks.size, chunk_size, name, file_pages) > MAX_ROOT_SIZE:
        if chunk_size >= MAX_CHUNK_SIZE:
            return None
        chunk_size *= 2
    return chunk_size


def _root_size(size: int, chunk_size: int, name: str, file_pages: int) -> int:
    """Return how many bytes the root has; with a salt, so that none changes it."""
    hash_pages = -(-Chunks(size, chunk_size).count // HASHES_PER_PAGE)
    hashes_size = DIGEST_SIZE * (hash_pages + file_pages)
    if hashes_size > MAX_ROOT_SIZE:
        return hashes_size
    root = Root(
        version=VERSION,
        name=name,
        size=size,
        chunk_size=chunk_size,
        hashes=bytes(DIGEST_SIZE * hash_pages),
        files=bytes(DIGEST_SIZE * file_pages) if file_pages else None,
        salt=bytes(SALT_SIZE),
    )
    return len(msgspec.msgpack.encode(root))


def _too_large(size: int) -> UsageError:
    return UsageError(
        f"This share of {size} bytes is too large, or has too many files or too long "
        "paths, for one link; share it in parts."
    )
