"""A file of a share, read from its peers as if it were here; for code without a loop.

What lies in the chunk read last is copied right here; all else is one trip to the
loop's thread, where a `FileReader` decides what to fetch.
"""

import io
import os
import threading
from typing import TYPE_CHECKING

from shoal.blocking.loop_thread import Background, on_fork
from shoal.core.names.link import Link
from shoal.node.node import Node
from shoal.reading.file import FileReader, seek_to

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["BlockingFile"]

MAX_TAKEN = 16 * 1024 * 1024  # bytes got at once for one read
LINE_BLOCK = 8 * 1024  # bytes that are looked through at once for the end of a line


class BlockingFile(io.RawIOBase):
    """Read one file of a share; for `zipfile`, `tarfile`, `io.TextIOWrapper`.

    ```python
    with shoal.open(link, "notes.txt") as file, io.TextIOWrapper(file) as text:
        for line in text:
            print(line)
    ```

    Threads may share it: each call sees one position and one read at a time. In a
    process that was forked it goes on where it was, over connections of its own.
    """

    mode = "rb"

    def __init__(
        self,
        background: Background,
        link: Link,
        path: str | None = None,
        *,
        timeout: float | None = None,
        owns: bool = False,
    ) -> None:
        """Open a file with a node; the latter is closed with it if it `owns` that.

        Raises what `Node.open` raises.
        """
        self._background = background
        self._link = link
        self._path = path
        self._timeout = timeout
        self._owns = owns
        self._lock = threading.Lock()
        self._position = 0
        self._reader = self._open()
        self.name = self._reader.file.path
        """The path within the share."""
        self.size = self._reader.file.size
        """Bytes."""
        on_fork(self)

    def forget_parent(self) -> None:
        """Get ready to work in a process that was forked."""
        self._lock = threading.Lock()

    def readable(self) -> bool:
        """Return `True`."""
        return True

    def seekable(self) -> bool:
        """Return `True`."""
        return True

    def tell(self) -> int:
        """Return the position: `file.tell()`."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position and return it: `file.seek(-8, os.SEEK_END)`."""
        self._check_open()
        with self._lock:
            self._position = seek_to(self._position, self.size, offset, whence)
            return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Return so many bytes, fewer only at the end: `file.read(1024)`.

        Without `size`, all that is left. Raises `NotFoundError` when nobody gives
        them in time, `VerificationError` when only liars would.
        """
        with self._lock:
            return self._read(size)

    def pread(self, size: int, offset: int) -> bytes:
        """Return bytes from `offset`, and go on behind them: `file.pread(8, 0)`.

        Raises what `read` raises.
        """
        with self._lock:
            self._position = offset
            return self._read(size)

    def readall(self) -> bytes:
        """Return all that is left: `file.readall()`; raises what `read` raises."""
        return self.read()

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill `buffer`; return how many bytes it took: `file.readinto(buffer)`.

        Raises what `read` raises.
        """
        view = memoryview(buffer).cast("B")
        place = 0
        with self._lock:
            while pieces := self._take(min(len(view) - place, MAX_TAKEN)):
                for piece in pieces:
                    view[place : place + len(piece)] = piece
                    place += len(piece)
        return place

    def readline(self, limit: int | None = -1, /) -> bytes:
        r"""Return bytes up to the next `\n`, or `limit`: `file.readline()`.

        Raises what `read` raises.
        """
        line = bytearray()
        with self._lock:
            position = self._position
            left = self.size - position
            stop = position + (left if limit is None or limit < 0 else min(limit, left))
            while position < stop and not line.endswith(b"\n"):
                block = self._look(position, min(position + LINE_BLOCK, stop))
                used = block.find(b"\n") + 1 or len(block)
                line += block[:used]
                position += used
            self._position = position
        return bytes(line)

    def close(self) -> None:
        """Let go of the share; idempotent."""
        if self.closed:
            return
        super().close()
        reader = getattr(self, "_reader", None)
        if reader is not None and self._generation == self._background.generation:
            self._background.post(reader.close)
        if reader is not None and self._owns:
            self._background.close()

    def _open(self) -> FileReader:
        self._generation = self._background.generation

        async def work(node: Node) -> FileReader:
            file = await node.open(self._link, self._path, timeout=self._timeout)
            return file.reader

        return self._background.call(work)

    def _read(self, size: int | None) -> bytes:
        blocks: list[bytes] = []
        left = self.size if size is None or size < 0 else size
        while left > 0 and (pieces := self._take(min(left, MAX_TAKEN))):
            blocks.append(b"".join(pieces))
            left -= len(blocks[-1])
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def _take(self, size: int) -> list[memoryview]:
        """Return the next `size` bytes, or all there are, and go on behind them."""
        self._check_open()
        first = self._position
        end = min(first + size, self.size)
        if first >= end:
            return []
        piece = self._reader.at_hand(first, end)
        pieces = [piece] if len(piece) == end - first else self._get(first, end)
        self._position = end
        return pieces

    def _look(self, first: int, end: int) -> bytes:
        """Return bytes from `first`, at least one and none from `end` on."""
        self._check_open()
        piece = self._reader.at_hand(first, end)
        return bytes(piece or b"".join(self._get(first, first + 1)))

    def _get(self, first: int, end: int) -> list[memoryview]:
        if self._generation != self._background.generation:
            self._reader = self._open()
        reader = self._reader
        return self._background.call(lambda node: reader.get(first, end))

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
