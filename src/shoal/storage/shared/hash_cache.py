"""The hashes of earlier shares, so that sharing the same files again takes no time.

Each entry is a file in the user's cache folder. Its name is its key: a hash of the
name of the hash scheme, the chunk size and, for every file, its path in the folder,
device, inode, size, mtime and ctime. A chunk may span several files, so an entry has
the hashes of a whole share. If one file of a folder changes, the whole folder is
hashed again.

If a file changed just before hashing began, it could change again without a new mtime
or ctime, so such a share gets no entry. An entry ends in a checksum, and is written
under another name and then renamed. So if several processes write it the last one
wins, a crash leaves the whole entry or none, and an unreadable entry counts as
missing. A problem with the cache never makes a share fail, and no cached hash is
trusted before its chunk has verified once (`SharedFiles.trusted`).

Another file beside it has the hashes of the blocks (`BlockFolder`): all of them in
order, without a header, 0.05 % of the size of the share. Nothing in it is trusted,
because a chunk's hash proves the hashes of its blocks. So a hole, a torn write or a
changed byte only means that the hashes of a chunk are computed again, and nothing is
ever flushed.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Self

from shoal.core.crypto.hashes import DIGEST_SIZE
from shoal.core.manifest.blocks import BLOCK_SIZE, block_count
from shoal.core.manifest.chunks import Chunks
from shoal.errors import ShoalError
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.disk.file_state import FileState
from shoal.storage.disk.own_folders import (
    is_prune_due,
    make_directories,
    opened_own,
    prune,
    write_new_file,
)
from shoal.storage.shared.hashing import hash_chunks
from shoal.storage.shared.shared_files import SharedFiles

__all__ = [
    "FEW_FILES",
    "MAX_BYTES",
    "MAX_ENTRIES",
    "RECENT_NS",
    "SMALL",
    "BlockFile",
    "BlockFolder",
    "HashCache",
    "are_worth_keeping",
    "hash_files",
    "state_key",
]

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


MAX_BYTES = 64 * 1024 * 1024
"""The size of all entries together; beyond it the oldest are removed."""
MAX_ENTRIES = 10_000
"""The most entries, which is as many as a node has shares; the oldest are removed."""
SMALL = 1024 * 1024
"""Bytes of a share; a smaller one is hashed each time, if it has few files."""
FEW_FILES = 16
RECENT_NS = 2_000_000_000
"""How old the last change of a file must be when hashing begins, in nanoseconds."""

_MAGIC = b"shoalhc\x01"
_BATCH = 1000  # files whose states are hashed together
_CHECK_SIZE = 32  # bytes at the end of an entry: the SHA-256 of the rest


def state_key(
    states: Iterable[tuple[str, FileState]], chunk_size: int, scheme: str, now_ns: int
) -> bytes | None:
    """Return the key for files in these states; None if they changed too recently.

    `states` are the paths and states of the files in the order of the share, `scheme`
    is the name of the hash scheme, and `now_ns` is the time of day when hashing begins.
    """
    key = sha256(_MAGIC + f"{scheme}\0{chunk_size}\0".encode())
    latest = now_ns - RECENT_NS
    states = iter(states)
    while some := list(islice(states, _BATCH)):
        text = ""
        for path, (device, inode, size, mtime_ns, _, _, _, ctime_ns) in some:
            if mtime_ns > latest or ctime_ns > latest:
                return None
            text += f"{len(path)} {device} {inode} {size} {mtime_ns} {ctime_ns} {path}"
        key.update(text.encode(errors="surrogateescape"))
    return key.digest()


class HashCache:
    """Store hashes in a folder; safe for any number of processes."""

    def __init__(
        self, directory: Path, *, disk: Disk, max_bytes: int = MAX_BYTES
    ) -> None:
        """Use `directory`; the first `add` creates it, for this user only."""
        self._directory = directory
        self._disk = disk
        self._max_bytes = max_bytes
        self.blocks = BlockFolder(directory / "blocks", disk=disk)
        """The block hashes of the same shares."""

    @classmethod
    def for_share(
        cls, files: SharedFiles, home: Path | None, disk: Disk
    ) -> Self | None:
        """Return the cache of the user with this folder; None for a small share.

        To read a few small files again takes less time than to keep their hashes.
        """
        few = islice(files.states, FEW_FILES + 1)
        is_small = files.chunks.size < SMALL and len(list(few)) <= FEW_FILES
        if home is None or is_small:
            return None
        return cls(home / "hashes", disk=disk)

    def find(self, key: bytes) -> bytes | None:
        """Return the hashes stored under a key; None if there are none."""
        with suppress(ShoalError), opened_own(self._disk, self._directory) as at:
            if at is None:
                return None
            fd = self._disk.open_read(key.hex(), at=at)
            try:
                size = self._disk.state(fd).size
                if size <= self._max_bytes:
                    return _decode(key, self._disk.pread(fd, size, 0))
            finally:
                self._disk.close(fd)
        return None

    def add(self, key: bytes, digests: bytes) -> None:
        """Store hashes under a key; ignore errors."""
        entry = _encode(key, digests)
        if len(entry) > self._max_bytes:
            return
        with suppress(ShoalError):
            make_directories(self._disk, self._directory)
            with opened_own(self._disk, self._directory) as at:
                if at is not None:
                    write_new_file(self._disk, at, key.hex(), entry)
                    if is_prune_due(key, len(entry), self._max_bytes):
                        prune(self._disk, at, self._max_bytes, MAX_ENTRIES)


def hash_files(
    files: SharedFiles,
    algorithm: Callable[[Data], bytes],
    *,
    scheme: str,
    cache: HashCache | None,
    now_ns: int,
    progress: Callable[[int], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> bytes:
    """Return the result of `hash_chunks`, from the cache if it has it.

    In that case `files.trusted` becomes False, and the caller must set `files.verify`
    before it reads a chunk. `scheme` is the name of `algorithm`. The block hashes are
    kept, too, and `files` reads them.
    """
    chunks = files.chunks
    key = None
    if cache is not None:
        key = state_key(files.states, chunks.chunk_size, scheme, now_ns)
    width = len(algorithm(b""))
    if cache is not None and key is not None:
        found = cache.find(key)
        if found is not None and len(found) == chunks.count * width:
            files.trusted = False
            files.kept_hashes = cache.blocks.find(key, chunks)
            if progress is not None and chunks.size:
                progress(chunks.size)
            return found
    kept = cache.blocks.create(key, chunks) if cache is not None else None
    files.kept_hashes = kept
    digests = hash_chunks(
        files, algorithm, progress=progress, stopped=stopped, kept=kept
    )
    if cache is not None and key is not None:
        cache.add(key, digests)
    return digests


def _encode(key: bytes, digests: bytes) -> bytes:
    entry = _MAGIC + key + digests
    return entry + sha256(entry).digest()


def _decode(key: bytes, entry: bytes) -> bytes | None:
    body, check = entry[:-_CHECK_SIZE], entry[-_CHECK_SIZE:]
    if not body.startswith(_MAGIC + key) or sha256(body).digest() != check:
        return None
    return body[len(_MAGIC + key) :]
