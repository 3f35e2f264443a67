"""Read a file of a share from its peers, in a program without an event loop.

`RawFile` copies bytes of the last read chunk in the calling thread; every other read is
one call to the loop's thread, where a `FileReader` decides which chunks to fetch.
`BlockingFile` adds what file objects have, with the buffer and the lines of `io`.
"""

import io
import os
from collections.abc import Callable, Coroutine, Iterator
from functools import partialmethod
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from shoal.blocking.loop_thread import LoopThread, on_fork
from shoal.blocking.position import Position
from shoal.config.settings import Settings
from shoal.core.names.link import Link
from shoal.node.node import Node
from shoal.reading.reader import FileReader, seek_to

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["READ_ONLY", "BlockingFile", "RawFile"]

T = TypeVar("T")

MAX_TAKEN = 16 * 1024 * 1024  # bytes that one call to the loop's thread returns
BUFFER_SIZE = 16 * 1024  # bytes that are copied at once for small reads and lines
READ_ONLY = "Shares are read-only; share the changed file instead."
# Buffers whose locks threads of a parent process held: closing one would wait for ever.
_abandoned: "list[io.BufferedReader[Any]]" = []


class RawFile(io.RawIOBase):
    """Read a file of a share by offset, without a buffer; close it when collected."""

    def __init__(
        self,
        loop_thread: LoopThread,
        link: str | Link,
        path: str | None,
        timeout: float | None,
        *,
        owns: bool,
    ) -> None:
        """Open a file with the node of a loop thread, which it closes if it `owns` it.

        Raises what `Node.open` raises.
        """
        self.loop_thread = loop_thread
        self.link = link
        self.timeout = timeout
        self.owns = owns
        self.until = 0
        """The offset up to which the caller of `readinto` will read."""
        self.is_busy = False
        """Whether a thread is in `readinto`, and thus has the lock of the buffer."""
        self.through: Callable[[int, int], bytes] | None = None
        """The cache of another library, which returns bytes FIRST to END - 1."""
        self._path = path
        self._place = 0
        self._is_stepping = False  # in the middle of a long read
        self._reader = self._open()
        self.file = self._reader.file
        """Its path, and its size in bytes."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset at which `readinto` reads."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Set the offset and return it; raises what `seek_to` raises."""
        if whence == os.SEEK_SET and offset >= 0:  # the usual case, a quick one
            self._place = offset
            return offset
        self._place = seek_to(self._place, self.file.size, offset, whence)
        return self._place

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill `buffer`, but with no more bytes than the caller or the block has.

        A buffer is often longer than what its caller asks for, and the rest of it is
        not worth a request. Raises what `pread` raises.
        """
        view = memoryview(buffer).cast("B")
        first = self._place
        self.is_busy = True
        try:
            piece = self._reader.at_hand(first, first + len(view))
            rest = len(piece) or self._reader.rest_of_block(first)
            size = min(len(view), max(rest, self.until - first))
            if len(piece) == size and self.through is None:
                view[:size] = piece
                self._place = first + size
                return size
            place = 0
            for piece in self._pieces(size, first):
                view[place : place + len(piece)] = piece
                place += len(piece)
        finally:
            self.is_busy = False
        self._place = first + place
        return place

    def pread(self, size: int, offset: int) -> bytes:
        """Return `size` bytes from `offset`, fewer only at the end of the file.

        Raises `NotFoundError`, `VerificationError` or another `ShoalError`.
        """
        blocks: list[bytes] = []
        while size > 0 and (pieces := self._pieces(size, offset)):
            blocks.append(b"".join(pieces))
            size -= len(blocks[-1])
            offset += len(blocks[-1])
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def close(self) -> None:
        """Close the file; idempotent."""
        if self.closed:
            return
        super().close()
        reader = getattr(self, "_reader", None)
        if reader is not None and self._generation == self.loop_thread.generation:
            self.loop_thread.post(reader.close)
        if reader is not None and self.owns:
            self.loop_thread.close()

    def _open(self) -> FileReader:
        self._generation = self.loop_thread.generation

        async def work(node: Node) -> FileReader:
            file = await node.open(self.link, self._path, timeout=self.timeout)
            return file.reader

        return self.loop_thread.call(work)

    def fetch(self, first: int, end: int) -> bytes:
        """Return bytes `first` to `end - 1`, not through the cache of another library.

        Raises what `pread` raises.
        """
        end = min(end, self.file.size)
        steps = range(first, end, MAX_TAKEN)
        taken = [self._take(each, min(each + MAX_TAKEN, end), end) for each in steps]
        return b"".join(piece for pieces in taken for piece in pieces)

    def _pieces(self, size: int, first: int) -> list[memoryview]:
        """Return the bytes of a read of `size` bytes, at most `MAX_TAKEN` of them."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        stop = min(first + size, self.file.size)
        end = min(stop, first + MAX_TAKEN)
        # What is read in several steps is not read ahead as well.
        until = stop if size > MAX_TAKEN or self._is_stepping else None
        self._is_stepping = end < stop
        if first >= end:
            return []
        if self.through is not None:
            return [memoryview(self.through(first, end))]
        return self._take(first, end, until)

    def _take(self, first: int, end: int, until: int | None) -> list[memoryview]:
        piece = self._reader.at_hand(first, end)
        if len(piece) == end - first:
            return [piece]
        return self._call(lambda reader: reader.get(first, end, until))

    def _call(self, work: Callable[[FileReader], Coroutine[Any, Any, T]]) -> T:
        """Run `work` with the reader, on the loop; wait for its result."""
        if self._generation != self.loop_thread.generation:
            self._reader = self._open()
        reader = self._reader
        return self.loop_thread.call(lambda node: work(reader))


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
        self._position = Position(self._buffer, self.size)
        on_fork(self)

    def after_fork(self) -> None:
        """Replace the locks, which a thread of the parent process may hold."""
        if self._raw.is_busy:
            place = self._buffer.tell()
            _abandoned.append(self._buffer)
            self._buffer = io.BufferedReader(self._raw, BUFFER_SIZE)
            self._buffer.seek(place)
            self._raw.is_busy = False
        self._position = Position(self._buffer, self.size)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position: `file.tell()`."""
        return self._position.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Set the position and return it: `file.seek(-8, os.SEEK_END)`.

        A seek fetches nothing. Raises `ValueError` for a negative position.
        """
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
            if size > BUFFER_SIZE:
                data = self._raw.pread(size, first)
                self._buffer.seek(first + len(data))
                return data
            self._raw.until = first + size
            return self._buffer.read(size)

    def pread(self, size: int, offset: int) -> bytes:
        """Return `size` bytes from `offset`: `file.pread(8, 0)`.

        The position is then at their end. Raises what `read` raises.
        """
        with self._position:
            data = self._raw.pread(size, offset)
            self._buffer.seek(offset + len(data))
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
            self._raw.until = first + len(view)
            return self._buffer.readinto(view)

    def readline(self, limit: int | None = -1, /) -> bytes:
        r"""Return bytes up to and including the next `\n`: `file.readline()`.

        A line longer than `limit` bytes is cut there. Raises what `read` raises.
        """
        with self._position:
            return self._buffer.readline(-1 if limit is None else limit)

    def __iter__(self) -> Iterator[bytes]:
        """Return an iterator over the lines: `for line in file`.

        It is that of `io.BufferedReader`, as fast as for a local file.
        """
        with self._position:
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
