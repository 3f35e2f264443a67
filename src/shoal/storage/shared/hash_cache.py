"""Hashes of what was shared before, so that sharing it again is instant.

One entry is one file in the user's cache folder, named by its key: a hash over the
name of the hash scheme, the chunk size, and of every file that is shared its path
in the folder, device, inode, size, and times of change (of its bytes, mtime, and of
anything about it, ctime). Chunks are cut from all files taken together, so what is
remembered is the hashes of a share in one state as a whole: a file of its own, or a
folder. If one file of a folder changes, all of it is hashed again.

A file that changed just before hashing began could change once more without its
times showing it, so there is no entry for such. An entry is written beside its place
and renamed, and ends in a checksum: of several processes the last one wins, after a
crash it is there or not, and what cannot be read is as good as not there. Nothing
here ever fails a share, and no hash from here is believed before the chunk it is of
was verified once (`SharedFiles.trusted`).
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from shoal.errors import ShoalError, StoreError
from shoal.storage.disk.disk import Data, Disk, FileState
from shoal.storage.shared.hashing import hash_chunks
from shoal.storage.shared.shared_files import SharedFiles

__all__ = [
    "MAX_BYTES",
    "MAX_ENTRIES",
    "RECENT_NS",
    "HashCache",
    "hash_source",
    "make_directories",
    "state_key",
]

MAX_BYTES = 64 * 1024 * 1024
"""How large all entries together may be; the oldest go first."""
MAX_ENTRIES = 1000
"""How many there may be."""
RECENT_NS = 2_000_000_000
"""How long before hashing a file must have changed last, in nanoseconds."""

_MAGIC = b"shoalhc\x01"
_CHECK_SIZE = 32  # bytes at the end of an entry: SHA-256 of the rest
_ABANDONED_NS = 3_600_000_000_000  # age at which what nobody renamed is removed


def state_key(
    states: Iterable[tuple[str, FileState]], chunk_size: int, scheme: str, now_ns: int
) -> bytes | None:
    """Return what stands for files in their present state; None if it may not last.

    `states` are paths and identities in the order of the share, `scheme` names how
    chunks are hashed, `now_ns` is the time of day when hashing begins.
    """
    key = sha256(_MAGIC + f"{scheme}\0{chunk_size}\0".encode())
    for path, state in states:
        if max(state.mtime_ns, state.ctime_ns) > now_ns - RECENT_NS:
            return None
        numbers = *state[:4], state.ctime_ns
        name = os.fsencode(path)
        key.update(b"%d %d %d %d %d %d " % (len(name), *numbers) + name)
    return key.digest()


class HashCache:
    """Remember hashes in a folder; safe for any number of processes."""

    def __init__(
        self, directory: Path, *, disk: Disk, max_bytes: int = MAX_BYTES
    ) -> None:
        """Use `directory`, which is made for us alone when there is something in it."""
        self._directory = directory
        self._disk = disk
        self._max_bytes = max_bytes

    def find(self, key: bytes) -> bytes | None:
        """Return the hashes remembered under a key; None when there are none."""
        try:
            fd = self._disk.open_read(self._directory / key.hex())
            try:
                size = self._disk.state(fd).size
                if size > self._max_bytes:
                    return None
                entry = self._disk.pread(fd, size, 0)
            finally:
                self._disk.close(fd)
        except ShoalError:
            return None
        return _decode(key, entry)

    def add(self, key: bytes, digests: bytes) -> None:
        """Remember hashes under a key if that can be; never fails."""
        entry = _encode(key, digests)
        if len(entry) > self._max_bytes:
            return
        with suppress(ShoalError):
            make_directories(self._disk, self._directory)
            at = self._disk.open_directory(self._directory)
            if at is not None:
                try:
                    self._write(at, key.hex(), entry)
                    self._prune(at)
                finally:
                    self._disk.close(at)

    def _write(self, at: int, name: str, entry: bytes) -> None:
        draft = f".{name[:16]}-{os.urandom(8).hex()}"
        fd = self._disk.create(draft, at=at)
        if fd is None:
            return
        try:
            self._disk.pwrite(fd, [entry], 0)
            self._disk.rename(draft, name, at=at, to=at)
        except StoreError:
            self._disk.unlink(draft, at=at)
            raise
        finally:
            self._disk.close(fd)

    def _prune(self, at: int) -> None:
        """Remove the oldest entries beyond the limits, and what crashes left."""
        found: list[tuple[int, int, str]] = []
        for name in self._disk.list_directory(at):
            state = self._disk.state_at(name, at=at)
            if state is not None and state.is_file:
                found.append((state.mtime_ns, state.size, name))
        found.sort(reverse=True)
        total = 0
        for place, (mtime_ns, size, name) in enumerate(found):
            total += size
            is_abandoned = (
                name.startswith(".") and mtime_ns < found[0][0] - _ABANDONED_NS
            )
            if is_abandoned or total > self._max_bytes or place >= MAX_ENTRIES:
                self._disk.unlink(name, at=at)


def hash_source(
    source: SharedFiles,
    algorithm: Callable[[Data], bytes],
    *,
    scheme: str,
    cache: HashCache | None,
    now_ns: int,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> bytes:
    """Return what `hash_chunks` would, at once if it is remembered.

    Then `source.trusted` is False from here on; its `verify` has to be set before
    it gives anything. `scheme` names `algorithm`.
    """
    chunks = source.chunks
    key = state_key(source.states, chunks.chunk_size, scheme, now_ns)
    width = len(algorithm(b""))
    if cache is not None and key is not None:
        found = cache.find(key)
        if found is not None and len(found) == chunks.count * width:
            source.trusted = False
            if progress is not None and chunks.size:
                progress(chunks.size)
            return found
    digests = hash_chunks(
        source, algorithm, threads=threads, progress=progress, stopped=stopped
    )
    if cache is not None and key is not None:
        cache.add(key, digests)
    return digests


def make_directories(disk: Disk, path: Path) -> None:
    """Make a folder and those above it that are missing, for us alone and for good."""
    for each in (*reversed(path.parents), path):
        if disk.state_at(each, follow=True) is None:
            disk.make_directory(each)
            disk.fsync_directory(each.parent)


def _encode(key: bytes, digests: bytes) -> bytes:
    entry = _MAGIC + key + digests
    return entry + sha256(entry).digest()


def _decode(key: bytes, entry: bytes) -> bytes | None:
    body, check = entry[:-_CHECK_SIZE], entry[-_CHECK_SIZE:]
    if not body.startswith(_MAGIC + key) or sha256(body).digest() != check:
        return None
    return body[len(_MAGIC + key) :]
