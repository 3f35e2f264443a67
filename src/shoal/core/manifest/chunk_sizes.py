"""Choose the size of the chunks of a sealed share; pure.

Small chunks spread sooner and waste less on a peer that sends wrong ones; large chunks
make a small manifest. The choice of their size is frozen: the id depends on it, and two
users who share the same content publicly should get the same link.
"""

from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks
from shoal.core.report.units import format_size
from shoal.errors import UsageError, option

__all__ = [
    "MAX_CHUNKS",
    "MIN_CHUNK_SIZE",
    "check_chunk_count",
    "check_sealed_chunk_size",
    "choose_chunk_size",
    "is_chunk_size",
]

MAX_CHUNKS = 1 << 26  # in one share: 1 PiB in the largest chunks
MIN_CHUNK_SIZE = 16 * 1024  # bytes
SMALLEST_CHOICE = 64 * 1024  # bytes; the smallest chunk size that we choose
LARGE_CHOICE = 4 * 1024 * 1024  # bytes
USUAL_COUNT = 1024  # chunks that a share has at most, up to `LARGE_CHOICE`
LARGEST_COUNT = 1 << 19  # chunks from which on they are larger than `LARGE_CHOICE`


def is_chunk_size(chunk_size: int) -> bool:
    """Return True if the chunks of a sealed share may have that many bytes."""
    return (
        MIN_CHUNK_SIZE <= chunk_size <= MAX_CHUNK_SIZE
        and chunk_size & (chunk_size - 1) == 0
    )


def choose_chunk_size(size: int) -> int:
    """Return the chunk size for a share of `size` bytes.

    Raises `UsageError` if no chunk size fits.
    """
    chunk_size = SMALLEST_CHOICE
    while chunk_size < LARGE_CHOICE and size > USUAL_COUNT * chunk_size:
        chunk_size *= 2
    while chunk_size < MAX_CHUNK_SIZE and size > LARGEST_COUNT * chunk_size:
        chunk_size *= 2
    check_chunk_count(Chunks(size, chunk_size))
    return chunk_size


def check_sealed_chunk_size(chunk_size: int) -> None:
    """Raise `UsageError` unless a sealed share may have chunks of that size."""
    if not is_chunk_size(chunk_size):
        raise UsageError(
            f"The chunks of a share cannot have {chunk_size} B; choose a power of two "
            f"from {MIN_CHUNK_SIZE >> 10} KiB to {MAX_CHUNK_SIZE >> 20} MiB."
        )


def check_chunk_count(chunks: Chunks) -> None:
    """Check, before any chunk is hashed, that a share may have so many chunks.

    Raises `UsageError` that names a chunk size that fits.
    """
    if chunks.count <= MAX_CHUNKS:
        return
    fitting = chunks.chunk_size
    while Chunks(chunks.size, fitting).count > MAX_CHUNKS:
        fitting *= 2
    if fitting > MAX_CHUNK_SIZE:
        raise UsageError(
            f"This share of {format_size(chunks.size)} is too large for one link; "
            "share it in parts."
        )
    raise UsageError(
        f"With chunks of {format_size(chunks.chunk_size)} this share has "
        f"{chunks.count:,}, too many for one link; use "
        f"{option('--chunk-size', fitting)}."
    )
