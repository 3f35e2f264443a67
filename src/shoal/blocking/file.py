"""Read a file of a share from its peers, in a program without an event loop.

Bytes of the last read chunk are copied in the calling thread. Every other read is one
call to the loop's thread, where a `FileReader` decides which chunks to fetch.
"""

import io
import os
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from shoal.blocking.loop_thread import LoopThread, on_fork
from shoal.core.names.link import Link
from shoal.node.node import Node
from shoal.reading.file import LINE_BLOCK, FileReader, seek_to

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["BlockingFile"]

T = TypeVar("T")

MAX_TAKEN = 16 * 1024 * 1024  # bytes that one call to the loop's thread returns


class BlockingFile(io.RawIOBase):
    """Read one file of a share; for `zipfile`, `tarfile`, `io.TextIOWrapper`.

    ```python
    with shoal.open(link, "notes.txt") as file, io.TextIOWrapper(file) as text:
        for line in text:
            print(line)
    ```

    Threads may share a file: their calls run one after another, from one position. In
    a forked process the file keeps its position and opens new connections.
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
        self._loop_thread = loop_thread
        self._link = link
        self._path = path
        self._timeout = timeout
        self._owns = owns
        self._lock = threading.Lock()
        self._position = 0
        self._is_stepping = False  # in the middle of a long read
        self._reader = self._open()
        self.name = self._reader.file.path
        """The path within the share."""
        self.size = self._reader.file.size
        """Bytes."""
        on_fork(self)

    def after_fork(self) -> None:
        """Replace the lock, which a thread of the parent process may hold."""
        self._lock = threading.Lock()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position: `file.tell()`."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Set the position and return it: `file.seek(-8, os.SEEK_END)`.

        A seek fetches nothing. Raises `ValueError` for a negative position.
        """
        self._check_open()
        with self._lock:
            self._position = seek_to(self._position, self.size, offset, whence)
            return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Return `size` bytes, fewer only at the end: `file.read(1024)`.

        Without `size`, return everything from the position on. Raises `NotFoundError`
        when no peer sends a chunk in time, `VerificationError` when all peers that send
        it send wrong bytes.
        """
        with self._lock:
            return self._read(size)

    def pread(self, size: int, offset: int) -> bytes:
        """Return `size` bytes from `offset`: `file.pread(8, 0)`.

        The position is then at their end. Raises what `read` raises.
        """
        with self._lock:
            self._position = offset
            return self._read(size)

    def readall(self) -> bytes:
        """Return the rest of the file: `file.readall()`; raises what `read` raises."""
        return self.read()

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill `buffer`; return the number of bytes: `file.readinto(buffer)`.

        Raises what `read` raises.
        """
        view = memoryview(buffer).cast("B")
        place = 0
        with self._lock:
            while place < len(view) and (pieces := self._take(len(view) - place)):
                for piece in pieces:
                    view[place : place + len(piece)] = piece
                    place += len(piece)
        return place

    def readline(self, limit: int | None = -1, /) -> bytes:
        r"""Return bytes up to and including the next `\n`: `file.readline()`.

        A line longer than `limit` bytes is cut there. Raises what `read` raises.
        """
        with self._lock:
            self._check_open()
            first, stop = self._position, self.size
            if limit is not None and limit >= 0:
                stop = min(first + limit, stop)
            line = bytes(self._reader.at_hand(first, min(first + LINE_BLOCK, stop)))
            end = line.find(b"\n") + 1
            if end or first + len(line) >= stop:
                line = line[: end or None]
            else:
                line = self._call(lambda reader: reader.line(first, stop))
            self._position += len(line)
        return line

    def close(self) -> None:
        """Close the file; idempotent."""
        if self.closed:
            return
        super().close()
        reader = getattr(self, "_reader", None)
        if reader is not None and self._generation == self._loop_thread.generation:
            self._loop_thread.post(reader.close)
        if reader is not None and self._owns:
            self._loop_thread.close()

    def _open(self) -> FileReader:
        self._generation = self._loop_thread.generation

        async def work(node: Node) -> FileReader:
            file = await node.open(self._link, self._path, timeout=self._timeout)
            return file.reader

        return self._loop_thread.call(work)

    def _read(self, size: int | None) -> bytes:
        blocks: list[bytes] = []
        left = self.size if size is None or size < 0 else size
        while left > 0 and (pieces := self._take(left)):
            blocks.append(b"".join(pieces))
            left -= len(blocks[-1])
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def _take(self, size: int) -> list[memoryview]:
        """Return the next bytes of a read of `size` bytes; advance the position.

        They are fewer at the end of the file, and at most `MAX_TAKEN`.
        """
        self._check_open()
        first = self._position
        stop = min(first + size, self.size)
        end = min(stop, first + MAX_TAKEN)
        # What is read in several steps is not read ahead as well.
        until = stop if size > MAX_TAKEN or self._is_stepping else None
        self._is_stepping = end < stop
        if first >= end:
            return []
        piece = self._reader.at_hand(first, end)
        pieces = [piece]
        if len(piece) < end - first:
            pieces = self._call(lambda reader: reader.get(first, end, until))
        self._position = end
        return pieces

    def _call(self, work: Callable[[FileReader], Coroutine[Any, Any, T]]) -> T:
        """Run `work` with the reader, on the loop; wait for its result."""
        if self._generation != self._loop_thread.generation:
            self._reader = self._open()
        reader = self._reader
        return self._loop_thread.call(lambda node: work(reader))

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
