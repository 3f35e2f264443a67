"""Share what a pipe yields: keep it in a file, and hash it while it is written.

Peers request chunks in any order, and repeatedly, so the bytes of a pipe have to be
stored. The file is in the user's data folder, where only this user can read it, and is
removed when the share ends. A process that was killed leaves it; the lock on it has
ended then, and the next `spool` removes it.

The size of a chunk depends on that of the share, which is known only at the end. But a
chunk's hash follows from those of its blocks, and these have the same size in any
share: so their hashes are computed meanwhile.
"""

import select
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, NamedTuple, Self

from shoal.core.crypto.hashes import (
    BLOCK_SIZE,
    DIGEST_SIZE,
    block_digests,
    chunk_digest_of,
)
from shoal.core.manifest.chunks import Chunks
from shoal.errors import DiskFullError, StoreError, UnfinishedError, run_again, told
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.own_folders import make_directories, opened_own
from shoal.storage.shared.shared_files import SharedFiles

__all__ = ["Spooled", "SpooledFile", "remove_spooled", "spool"]

READ_SIZE = 16 * BLOCK_SIZE  # bytes that are read, hashed and written together
POLL = 0.2  # seconds without input between two looks whether to stop


class Spooled(NamedTuple):
    """What a pipe has yielded."""

    path: Path
    size: int
    """Bytes."""
    block_hashes: bytes
    """The hashes of its blocks, one after the other."""
    lock: int
    """The open file, which is locked until it is closed."""

    def digests(self, chunks: Chunks) -> bytes | None:
        """Return the hashes of its chunks; None if they are smaller than a block."""
        if chunks.chunk_size % BLOCK_SIZE:
            return None
        width = chunks.chunk_size // BLOCK_SIZE * DIGEST_SIZE
        return b"".join(
            chunk_digest_of(
                self.block_hashes[index * width : (index + 1) * width],
                chunks.length(index),
            )
            for index in range(chunks.count)
        )


class SpooledFile(SharedFiles):
    """Read the chunks of a file that ends with the share."""

    @classmethod
    def of(cls, spooled: Spooled, chunk_size: int, disk: Disk) -> Self:
        """Open it; `close` removes it."""
        source = cls.open_file(spooled.path, chunk_size, disk=disk, follow=False)
        source._spooled = spooled
        return source

    _spooled: Spooled | None = None

    def close(self) -> None:
        """Close and remove the file; idempotent."""
        super().close()
        spooled, self._spooled = self._spooled, None
        if spooled is not None:
            remove_spooled(spooled, self._disk)


def remove_spooled(spooled: Spooled, disk: Disk) -> None:
    """Remove what was spooled; ignore errors."""
    with suppress(StoreError):
        disk.unlink(spooled.path)
    disk.close(spooled.lock)


def spool(
    stream: BinaryIO,
    home: Path,
    disk: Disk,
    on_read: Callable[[int], None],
    stopped: Callable[[], bool],
) -> Spooled:
    """Write a stream to a file below `home` until it ends.

    `on_read` is called with how many bytes were read so far. Raises `DiskFullError` or
    another `StoreError`, and `UnfinishedError` once `stopped` returns True; nothing is
    left then.
    """
    folder = home / "spool"
    make_directories(disk, folder)
    _remove_abandoned(folder, disk)
    spooled = _create(folder, disk)
    try:
        size, hashes = _copy(stream, spooled.lock, disk, on_read, stopped)
    except DiskFullError:
        remove_spooled(spooled, disk)
        raise DiskFullError(
            f"The disk with {home} has too little space for the data from the pipe; "
            "free some, or set XDG_DATA_HOME to a folder on another disk."
        ) from None
    except BaseException:
        remove_spooled(spooled, disk)
        raise
    return spooled._replace(size=size, block_hashes=hashes)


def _create(folder: Path, disk: Disk) -> Spooled:
    """Create and lock an empty file."""
    with opened_own(disk, folder) as at:
        while at is not None:
            name = token_hex(8)
            fd = disk.open_write(name, at=at)
            # Another process may have taken it for an abandoned one before the lock.
            if disk.lock(fd) and disk.state(fd).links:
                return Spooled(folder / name, 0, b"", fd)
            disk.close(fd)
    raise StoreError(f"Another program removed {folder}; {run_again()}.")


def _copy(
    stream: BinaryIO,
    fd: int,
    disk: Disk,
    on_read: Callable[[int], None],
    stopped: Callable[[], bool],
) -> tuple[int, bytes]:
    """Write a stream to an open file; return its size and the hashes of its blocks."""
    size, hashes, rest = 0, bytearray(), b""
    while True:
        while not _is_readable(stream):
            _check_running(stopped)
        _check_running(stopped)
        data = _read(stream)
        if data:
            disk.pwrite(fd, [data], size)
            size += len(data)
            on_read(size)
        rest += data
        whole = len(rest) if not data else len(rest) // BLOCK_SIZE * BLOCK_SIZE
        if whole:
            hashes += block_digests(memoryview(rest)[:whole])
            rest = rest[whole:]
        if not data:
            return size, bytes(hashes)


def _read(stream: BinaryIO) -> bytes:
    """Read what has arrived; raises `StoreError`."""
    read = getattr(stream, "read1", stream.read)
    try:
        data = read(READ_SIZE)
    except OSError as error:
        raise StoreError(
            f"{told('Standard input', 'The stream')} could not be read "
            f"({error.strerror}); {run_again()}."
        ) from None
    if not isinstance(data, bytes):
        raise TypeError("the stream must yield bytes; open the file in binary mode")
    return data


def _is_readable(stream: BinaryIO) -> bool:
    """Return True if a read does not block for long, as far as that is known."""
    try:
        return bool(select.select([stream], [], [], POLL)[0])
    except (OSError, ValueError):  # in memory, or a system that selects only sockets
        return True


def _check_running(stopped: Callable[[], bool]) -> None:
    if stopped():
        what = told("Standard input", "The stream")
        raise UnfinishedError.again(f"{what} was not read to its end")


def _remove_abandoned(folder: Path, disk: Disk) -> None:
    """Remove the files of processes that were killed."""
    with suppress(StoreError), opened_own(disk, folder) as at:
        for name in [] if at is None else disk.list_directory(at):
            fd = disk.open_write(name, at=at)
            try:
                if disk.lock(fd):
                    disk.unlink(name, at=at)
            finally:
                disk.close(fd)
