"""Files of shares as file objects, in programs without an event loop.

`RawFile` reads by offset. `BlockingFile` adds what file objects have: a position, which
threads may share, and the lines of `io`.

A file object has one position, and programs rely on it: a thread continues where
another one stopped. Other programs (DuckDB) share a file among threads without a lock,
and each thread calls `seek` and then `read`. So the position of a thread's own seek is
kept until the thread reads, whatever other threads do between these two calls.
"""

import io
import os
from collections.abc import Iterator
from functools import partialmethod
from operator import index
from os import SEEK_CUR, SEEK_SET
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, NoReturn

from shoal.blocking.loop_thread import LoopThread, on_fork
from shoal.blocking.raw_file import RawFile
from shoal.config.settings import Settings
from shoal.core.names.link import Link
from shoal.reading.reader import seek_to

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["READ_ONLY", "BlockingFile", "Position"]

MAX_OTHERS = 1024  # threads that have called `seek`, but not read yet


class Position:
    """Let one call at a time use the position of a file; a context manager.

    Entering it returns the position; the block sets `place` to the next one. If the
    block raises, the position stays as it was.
    """

    def __init__(self, size: int, place: int = 0) -> None:
        """Start at `place`; `size` is that of the file, in bytes."""
        self.place = place
        """Where the last read ended, or where the last seek went."""
        self.lines: io.BufferedReader[Any] | None = None
        """The buffer of an iterator over the lines, if there is one.

        It has the position, since it moves without a call of ours.
        """
        self._size = size
        self._lock = Lock()
        self._seeker = 0  # the thread that called `seek` last
        self._sought: int | None = None  # where that went, until its thread reads
        self._others: dict[int, int] = {}  # the same of other threads
        self._before = 0

    def tell(self) -> int:
        """Return the position of the next read of this thread."""
        thread, place = get_ident(), self._common()
        own = self._sought if thread == self._seeker else self._others.get(thread)
        return place if own is None else own

    def _common(self) -> int:
        """Return the position of a thread that has not called `seek`."""
        return self.place if self.lines is None else self.lines.tell()

    def seek(self, offset: int, whence: int) -> int:
        """Set the position, and return it; raises what `seek_to` raises."""
        with self._lock:
            thread = get_ident()
            if thread != self._seeker:
                self._set_seeker(thread)
            place = index(offset)
            if whence != SEEK_SET or place < 0:
                start = self._sought
                if whence == SEEK_CUR and start is None:
                    start = self._common()
                place = seek_to(start or 0, self._size, place, whence)
            self.place = place
            # A seek to the end finds out the size; no read follows it.
            self._sought = place if place < self._size else None
            if self.lines is not None:
                self.lines.seek(place)
            return place

    def _set_seeker(self, thread: int) -> None:
        """Let another thread be the one that called `seek` last."""
        if self._sought is not None:
            if len(self._others) >= MAX_OTHERS:
                del self._others[next(iter(self._others))]
            self._others[self._seeker] = self._sought
        self._seeker, self._sought = thread, self._others.pop(thread, None)

    def __enter__(self) -> int:
        self._lock.acquire()
        try:
            thread, own = get_ident(), self._sought
            if thread != self._seeker:
                own = self._others.pop(thread, None) if self._others else None
            if own is None or thread == self._seeker:
                # Its own seek is done, or it continues where that of another one went.
                self._sought = None
            if own is None:
                own = self._common()
            self.place = self._before = own
            return own
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self._set_seeker(get_ident())
                self._sought = self.place = self._before
            if self.lines is not None and not self.lines.closed:
                self.lines.seek(self.place)
        finally:
            self._lock.release()


BUFFER_SIZE = 64 * 1024  # bytes that are copied at once for lines
READ_ONLY = "Shares are read-only; share the changed file instead."
# Buffers whose locks threads of a parent process held: closing one would wait for ever.
_abandoned: "list[io.BufferedReader[Any]]" = []


class _ReadOnly(io.RawIOBase):
    """Refuse to write."""

    def _refuse(self, *_: object) -> NoReturn:
        raise io.UnsupportedOperation(READ_ONLY)

    write = writelines = truncate = partialmethod(_refuse)


class BlockingFile(_ReadOnly):
    """Read one file of a share; for `zipfile`, `tarfile`, `io.TextIOWrapper`.

    ```python
    with shoal.open(link, "notes.txt") as file, io.TextIOWrapper(file) as text:
        for line in text:
            print(line)
    ```

    Threads may share a file: their calls run one after another, from one position. A
    read in the same thread that called `seek` before starts where that seek went, even
    if other threads have used the file meanwhile. In a forked process the file keeps
    its position and opens new connections. A pickled file opens again, at its position.
    """

    mode = "rb"

    def __init__(
        self,
        loop_thread: LoopThread,
        link: str | Link,
        path: str | None = None,
        *,
        timeout: float | None = None,
        owns: bool = False,
    ) -> None:
        """Open a file with the node of a loop thread, which it closes if it `owns` it.

        Raises what `Node.open` raises.
        """
        self._raw = RawFile(loop_thread, link, path, timeout, owns=owns)
        self.name = self._raw.file.path
        """The path within the share."""
        self.size = self._raw.file.size
        """Bytes."""
        self._buffer = io.BufferedReader(self._raw, BUFFER_SIZE)
        self._position = Position(self.size)
        on_fork(self)

    def after_fork(self) -> None:
        """Replace the locks, which a thread of the parent process may hold."""
        place, lines = self._position.place, self._position.lines
        if lines is not None:
            place = lines.tell()
        if self._raw.is_busy:
            _abandoned.append(self._buffer)
            self._buffer = io.BufferedReader(self._raw, BUFFER_SIZE)
            self._buffer.seek(place)
            self._raw.is_busy = False
        self._position = Position(self.size, place)
        self._position.lines = self._buffer if lines is not None else None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position: `file.tell()`."""
        self._raw.check_open()
        return self._position.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Set the position and return it: `file.seek(-8, os.SEEK_END)`.

        A seek fetches nothing. Raises `ValueError` for a negative position.
        """
        if self._raw.closed:
            self._raw.check_open()
        return self._position.seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return `size` bytes, fewer only at the end: `file.read(1024)`.

        Without `size`, return everything from the position on. Raises `NotFoundError`
        when no peer sends a chunk in time, `VerificationError` when all peers that send
        it send wrong bytes.
        """
        with self._position as first:
            if size is None or size < 0:
                size = max(self.size - first, 0)
            start, piece = self._raw.last
            data = piece[first - start : first - start + size].tobytes()
            if first < start or not data or len(data) < size:
                piece = self._raw.piece(first, first + size)
                is_all = piece and len(piece) == size
                data = bytes(piece) if is_all else self._raw.pread(size, first)
            self._position.place = first + len(data)
            return data

    def pread(self, size: int, offset: int) -> bytes:
        """Return `size` bytes from `offset`: `file.pread(8, 0)`.

        The position is then at their end. Raises what `read` raises.
        """
        with self._position:
            data = self._raw.pread(size, offset)
            self._position.place = offset + len(data)
            return data

    def readall(self) -> bytes:
        """Return the rest of the file: `file.readall()`; raises what `read` raises."""
        return self.read()

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill `buffer`; return the number of bytes: `file.readinto(buffer)`.

        Raises what `read` raises.
        """
        view = memoryview(buffer).cast("B")
        with self._position as first:
            size = self._raw.copy(view, first)
            self._position.place = first + size
            return size

    def readline(self, limit: int | None = -1, /) -> bytes:
        r"""Return bytes up to and including the next `\n`: `file.readline()`.

        A line longer than `limit` bytes is cut there. Raises what `read` raises.
        """
        with self._position as first:
            self._buffer.seek(first)
            line = self._buffer.readline(-1 if limit is None else limit)
            self._position.place = first + len(line)
            return line

    def __iter__(self) -> Iterator[bytes]:
        """Return an iterator over the lines: `for line in file`.

        It is that of `io.BufferedReader`, as fast as for a local file.
        """
        with self._position as first:
            self._buffer.seek(first)
            self._position.lines = self._buffer
            return iter(self._buffer)

    def __next__(self) -> bytes:
        if line := self.readline():
            return line
        raise StopIteration

    def close(self) -> None:
        """Close the file; idempotent."""
        super().close()
        # Not the buffer, whose lock a thread may hold that this ends.
        if raw := getattr(self, "_raw", None):
            raw.close()

    def __del__(self) -> None:
        """Leave it to the raw file to close itself, which an iterator may still use."""

    def __reduce__(self) -> tuple[Any, ...]:
        raw = self._raw
        settings = raw.loop_thread.settings
        return _reopen, (settings, raw.link, self.name, raw.timeout, self.tell())


def _reopen(
    settings: Settings,
    link: str | Link,
    path: str,
    timeout: float | None,
    position: int,
) -> BlockingFile:
    """Open a pickled file again, with a node of its own."""
    loop_thread = LoopThread(settings)
    try:
        file = BlockingFile(loop_thread, link, path, timeout=timeout, owns=True)
    except BaseException:
        loop_thread.close()
        raise
    file.seek(position)
    return file
