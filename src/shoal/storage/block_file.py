"""The block hashes of a share in a file, so that none has to be computed twice.

The file has the hashes of all blocks in order, without a header: 0.05 % of the size of
the share. Nothing in it is trusted, because a chunk's hash proves the hashes of its
blocks. So a hole, a torn write or a changed byte only means that the hashes of a chunk
are computed again, and nothing is ever flushed.
"""

from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from shoal.core.crypto.hashes import DIGEST_SIZE
from shoal.core.manifest.blocks import BLOCK_SIZE, block_count
from shoal.core.manifest.chunks import Chunks
from shoal.errors import ShoalError
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.folders import is_prune_due, make_directories, opened_own, prune

__all__ = ["MAX_BYTES", "BlockFile", "BlockFolder", "are_worth_keeping"]

MAX_BYTES = 1024 * 1024 * 1024
"""The size of all files of a folder together; beyond it the oldest are removed."""
MAX_FILES = 1000
LEAST_CHUNKS = 64  # the hashes of fewer are soon computed, and kept in memory


def are_worth_keeping(chunks: Chunks) -> bool:
    """Return True if the block hashes of a share should be kept in a file."""
    return chunks.chunk_size > BLOCK_SIZE and chunks.count >= LEAST_CHUNKS


class BlockFile:
    """Read and write the block hashes of one share; any thread may do so."""

    def __init__(self, disk: Disk, fd: int, chunks: Chunks) -> None:
        """Use an open file, which `close` closes."""
        self._disk = disk
        self._fd: int | None = fd
        self._chunks = chunks
        self._per_chunk = DIGEST_SIZE * (chunks.chunk_size // BLOCK_SIZE)

    def write(self, index: int, hashes: bytes) -> None:
        """Write the block hashes of a chunk; after an error, write no more."""
        if self._fd is not None:
            try:
                self._disk.pwrite(self._fd, [hashes], index * self._per_chunk)
            except ShoalError:
                self.close()

    def read_now(self, index: int) -> bytes | None:
        """Return what may be the block hashes of a chunk, if that does not block."""
        if self._fd is None:
            return None
        size = DIGEST_SIZE * block_count(self._chunks, index)
        with suppress(ShoalError):
            return self._disk.pread_now(self._fd, size, index * self._per_chunk)
        return None

    def close(self) -> None:
        """Close the file; idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self._disk.close(fd)


class BlockFolder:
    """Keep the files of several shares; safe for any number of processes.

    A problem with the folder never makes a share fail.
    """

    def __init__(
        self, directory: Path, *, disk: Disk, max_bytes: int = MAX_BYTES
    ) -> None:
        """Use `directory`; the first `create` creates it, for this user only."""
        self._directory = directory
        self._disk = disk
        self._max_bytes = max_bytes

    def find(self, key: bytes, chunks: Chunks) -> BlockFile | None:
        """Open the file that was kept under a key; return None if there is none."""
        with suppress(ShoalError), opened_own(self._disk, self._directory) as at:
            if at is not None:
                fd = self._disk.open_read(key.hex(), at=at)
                return BlockFile(self._disk, fd, chunks)
        return None

    def create(self, key: bytes | None, chunks: Chunks) -> BlockFile | None:
        """Return a new file, to be found under `key` later; None on any problem.

        Without a key, the file has no name and ends with the process.
        """
        size = DIGEST_SIZE * -(-chunks.size // BLOCK_SIZE)
        if not are_worth_keeping(chunks) or size > self._max_bytes:
            return None
        with suppress(ShoalError):
            make_directories(self._disk, self._directory)
            with opened_own(self._disk, self._directory) as at:
                if at is not None:
                    return self._create(at, key, chunks)
        return None

    def _create(self, at: int, key: bytes | None, chunks: Chunks) -> BlockFile | None:
        draft = f".{token_hex(12)}"
        fd = self._disk.create(draft, at=at)
        if fd is None:
            return None
        try:
            if key is None:
                self._disk.unlink(draft, at=at)
            else:
                self._disk.rename(draft, key.hex(), at=at, to=at)
                size = DIGEST_SIZE * -(-chunks.size // BLOCK_SIZE)
                if is_prune_due(key, size, self._max_bytes):
                    prune(self._disk, at, self._max_bytes, MAX_FILES)
        except ShoalError:
            self._disk.close(fd)
            raise
        return BlockFile(self._disk, fd, chunks)
