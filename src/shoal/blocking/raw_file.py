"""Read a file of a share by offset, in a program without an event loop.

Bytes that are in memory are copied in the calling thread. Every other read is one call
to the loop's thread, where a `FileReader` decides which chunks to fetch.
"""

import io
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from shoal.blocking.loop_thread import LoopThread
from shoal.core.names.link import Link
from shoal.node.node import Node
from shoal.reading.reader import NO_PIECE, FileReader, Piece, seek_to

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["RawFile"]

T = TypeVar("T")

MAX_TAKEN = 16 * 1024 * 1024  # bytes that one call to the loop's thread returns


class RawFile(io.RawIOBase):
    """Read a file of a share by offset, without a buffer; close it when collected."""

    # `io.BufferedReader` looks it up for each line, and a slot takes the least time.
    __slots__ = ("closed",)

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
        self.closed = False  # type: ignore[misc]
        self.loop_thread = loop_thread
        self.link = link
        self.timeout = timeout
        self.owns = owns
        self.last: Piece = NO_PIECE
        """The piece of the file that was read last; always right, as files are."""
        self.is_busy = False
        """Whether a thread is in `readinto`, and thus has the lock of a buffer."""
        self._other: Piece = NO_PIECE  # the piece before
        self._through: Callable[[int, int], bytes] | None = None
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
        self.check_open()
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Set the offset and return it; raises what `seek_to` raises."""
        self._place = seek_to(self._place, self.file.size, offset, whence)
        return self._place

    def check_open(self) -> None:
        """Raise `ValueError` after `close`."""
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill `buffer`, but with no more bytes than there are in memory or a block.

        A buffer of lines is longer than a line, and the rest of it is not worth a
        request. Raises what `pread` raises.
        """
        view = memoryview(buffer).cast("B")
        first = self._place
        self.is_busy = True
        try:
            piece = self.piece(first, first + len(view))
            size = len(piece) or self._reader.rest_of_block(first)
            if piece:
                view[:size] = piece
            else:
                size = self.copy(view[:size], first)
        finally:
            self.is_busy = False
        self._place = first + size
        return size

    def copy(self, view: memoryview, first: int) -> int:
        """Fill `view` with bytes from `first`; return how many the file has there.

        Raises what `pread` raises.
        """
        place = 0
        while place < len(view):
            pieces = self._pieces(len(view) - place, first + place)
            if not pieces:
                break
            for piece in pieces:
                view[place : place + len(piece)] = piece
                place += len(piece)
        return place

    def pread(self, size: int, offset: int) -> bytes:
        """Return `size` bytes from `offset`, fewer only at the end of the file.

        Raises `NotFoundError`, `VerificationError` or another `ShoalError`.
        """
        self.check_open()
        blocks: list[bytes] = []
        while size > 0 and (pieces := self._pieces(size, offset)):
            blocks.append(b"".join(pieces))
            size -= len(blocks[-1])
            offset += len(blocks[-1])
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def read_through(self, call: Callable[[int, int], bytes] | None) -> None:
        """Read through the cache of another library from now on; None for none.

        `call` returns bytes FIRST to END - 1.
        """
        self._through = call
        self.last = self._other = NO_PIECE

    def close(self) -> None:
        """Close the file; idempotent."""
        if self.closed:
            return
        super().close()
        self.closed = True  # type: ignore[misc]
        self.last = self._other = NO_PIECE
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
        self.check_open()
        stop = min(first + size, self.file.size)
        end = min(stop, first + MAX_TAKEN)
        # What is read in several steps is not read ahead as well.
        until = stop if size > MAX_TAKEN or self._is_stepping else None
        self._is_stepping = end < stop
        if first >= end:
            return []
        if self._through is not None:
            return [memoryview(self._through(first, end))]
        return self._take(first, end, until)

    def _take(self, first: int, end: int, until: int | None) -> list[memoryview]:
        """Return bytes `first` to `end - 1`: what is in memory, then the rest."""
        pieces: list[memoryview] = []
        while first < end and (piece := self.piece(first, end)):
            pieces.append(piece)
            first += len(piece)
        if first < end:
            start = first
            pieces += self._call(lambda reader: reader.get(start, end, until))
            if self._through is None:
                self._other = self.last
                self.last = self._reader.find(end - 1) or NO_PIECE
        return pieces

    def piece(self, first: int, end: int) -> memoryview:
        """Return bytes from `first` in memory, up to `end`; empty if there are none."""
        start, view = self.last
        if not start <= first < start + len(view):
            if self._through is not None or self.closed:
                return view[:0]
            start, view = self._other
            self._other = self.last
            if not start <= first < start + len(view):
                found = self._reader.find(first)
                if found is None:
                    return view[:0]
                start, view = found
                if self._reader.note(first, start + len(view)):
                    self.loop_thread.post(self._reader.advance)
            self.last = start, view
        return view[first - start : end - start]

    def _call(self, work: Callable[[FileReader], Coroutine[Any, Any, T]]) -> T:
        """Run `work` with the reader, on the loop; wait for its result."""
        if self._generation != self.loop_thread.generation:
            self._reader = self._open()
        reader = self._reader
        return self.loop_thread.call(lambda node: work(reader))
