"""Divide the chunks of a sealed share into blocks, and verify runs of blocks; pure.

A chunk is a sequence of blocks of 64 KiB, of which the last may be shorter. The hash of
a chunk commits to the hashes of its blocks (docs/protocol.md, "Hashes"), so a reader
that has these can verify any run of adjacent blocks without the rest of the chunk.
"""

from collections import OrderedDict
from collections.abc import Iterator

from msgspec import Struct

from shoal.core.crypto.hashes import (
    BLOCK_SIZE,
    DIGEST_SIZE,
    Bytes,
    block_digests,
    chunk_digest_of,
)
from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks

__all__ = [
    "BLOCK_SIZE",
    "MAX_BLOCKS",
    "BlockHashes",
    "Run",
    "are_block_hashes",
    "are_blocks",
    "block_count",
    "run_span",
    "runs_covering",
    "split_run",
]

MAX_BLOCKS = MAX_CHUNK_SIZE // BLOCK_SIZE  # blocks of one chunk
MEMORY = 4 * 1024 * 1024  # bytes of block hashes that are remembered: of 8 GiB


class Run(Struct, frozen=True, order=True):
    """Name adjacent blocks of one chunk."""

    index: int
    """The chunk."""
    first: int
    """The first block."""
    count: int
    """How many blocks; at least one."""

    @property
    def blocks(self) -> range:
        """Return the numbers of the blocks."""
        return range(self.first, self.first + self.count)


def block_count(chunks: Chunks, index: int) -> int:
    """Return how many blocks chunk `index` has."""
    return -(-chunks.length(index) // BLOCK_SIZE)


def run_span(chunks: Chunks, run: Run) -> tuple[int, int]:
    """Return the first byte of a run within its chunk, and the end."""
    end = min((run.first + run.count) * BLOCK_SIZE, chunks.length(run.index))
    return run.first * BLOCK_SIZE, end


def runs_covering(chunks: Chunks, first: int, end: int) -> Iterator[Run]:
    """Yield the run of each chunk that has bytes `first` to `end - 1` of the share."""
    for index in chunks.covering(first, end):
        offset = chunks.offset(index)
        start = max(first - offset, 0) // BLOCK_SIZE
        stop = -(-min(end - offset, chunks.length(index)) // BLOCK_SIZE)
        yield Run(index, start, stop - start)


def split_run(run: Run, most: int) -> Iterator[Run]:
    """Yield a run in parts of `most` blocks; the last part may be shorter."""
    for start in range(run.first, run.first + run.count, most):
        yield Run(run.index, start, min(most, run.first + run.count - start))


def are_block_hashes(hashes: Bytes, length: int, digest: Bytes) -> bool:
    """Return True if a chunk of `length` bytes with this hash has these block hashes.

    Nothing is hashed unless the number of hashes is right.
    """
    try:
        return chunk_digest_of(hashes, length) == digest
    except ValueError:
        return False


def are_blocks(data: Bytes, first: int, hashes: Bytes) -> bool:
    """Return True if `data` are the blocks of a chunk from block `first` on.

    `hashes` are those of all blocks of the chunk, which the caller has verified.
    """
    digests = block_digests(data)
    start = first * DIGEST_SIZE
    return digests == hashes[start : start + len(digests)]


class BlockHashes:
    """Remember the block hashes of the chunks that were used last."""

    def __init__(self, memory: int = MEMORY) -> None:
        """Remember at most `memory` bytes of hashes."""
        self._memory = memory
        self._size = 0
        self._hashes: OrderedDict[int, bytes] = OrderedDict()

    def __contains__(self, index: int) -> bool:
        return index in self._hashes

    def find(self, index: int) -> bytes | None:
        """Return the hashes of the blocks of a chunk; None if they are not known."""
        hashes = self._hashes.get(index)
        if hashes is not None:
            self._hashes.move_to_end(index)
        return hashes

    def add(self, index: int, hashes: bytes) -> None:
        """Remember verified hashes; forget those that were not used for longest."""
        self._size += len(hashes) - len(self._hashes.pop(index, b""))
        self._hashes[index] = hashes
        while self._size > self._memory and len(self._hashes) > 1:
            self._size -= len(self._hashes.popitem(last=False)[1])
