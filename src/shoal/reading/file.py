"""A file of a share, read from its peers as if it were here; for asyncio.

Only the chunks that hold what is read are fetched, those at the reader's position
first and, for who reads on and on, some ahead. Each is verified before a byte of it
is returned.
"""

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
)
from typing import Any, Self

from shoal.core.manifest.chunks import check_index
from shoal.core.manifest.file_table import File
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.schedule.readahead import ReadAhead
from shoal.reading.share_cache import Readings

__all__ = [
    "AsyncFile",
    "FileReader",
    "Opening",
    "open_reader",
    "read_chunk",
    "seek_to",
]

LINE_BLOCK = 8 * 1024  # bytes that are looked through at once for the end of a line


class FileReader:
    """Get bytes of one file by their offset; what both kinds of file objects use."""

    def __init__(
        self,
        readings: Readings,
        link: Link,
        manifest: Manifest,
        file: File,
        timeout: float | None,
    ) -> None:
        """Read `file`, waiting `timeout` seconds at most for each chunk."""
        self.file = file
        """Its path, and its size in bytes."""
        self._readings = readings
        self._reading = readings.enter(link)
        self._place = self._reading.enter()
        self._chunks = manifest.chunks
        self._timeout = timeout
        self._ahead = ReadAhead()
        self._last = (0, memoryview(b""))  # where in the file, and what
        self._is_closed = False

    def close(self) -> None:
        """Want nothing any more; idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._last = (0, memoryview(b""))
            self._reading.leave(self._place)
            self._readings.leave(self._reading)

    def rest_of_chunk(self, position: int) -> int:
        """Return how many bytes of the file from `position` lie in the same chunk."""
        size = self._chunks.chunk_size
        room = size - (self.file.offset + position) % size
        return max(min(room, self.file.size - position), 0)

    def at_hand(self, first: int, end: int) -> memoryview:
        """Return as many bytes from `first` as are in the chunk read last.

        Any thread may ask.
        """
        start, view = self._last
        return view[first - start : end - start] if first >= start else view[:0]

    async def get(
        self, first: int, end: int, until: int | None = None
    ) -> list[memoryview]:
        """Return bytes `first` to `end - 1`, which must exist, in pieces.

        `until` is where the reader is known to end: all up to there is fetched as
        soon as it fits, and nothing after it.
        Raises `NotFoundError`, `VerificationError` or another `ShoalError`.
        """
        piece = self.at_hand(first, end)
        pieces = [piece] if piece else []
        first += len(piece)
        if first >= end:
            return pieces
        size, base = self._chunks.chunk_size, self.file.offset
        # The chunk is here as a whole, so the rest of it counts as read.
        stop = end + self.rest_of_chunk(end - 1) - 1
        ahead = stop + self._ahead.on_read(first, stop)
        ahead = min(ahead, self.file.size) if until is None else until
        for index in range((base + first) // size, -(-(base + stop) // size)):
            offset = index * size - base
            start = max(offset, first)
            wants = range(index, index + 1)
            if ahead > offset + size:
                # No more at once than the cache has room for.
                edge = max(min(ahead, start + self._reading.ahead_limit), start + 1)
                wants = range(index, -(-(base + edge) // size))
            data = await self._reading.chunk(self._place, wants, self._timeout)
            view = memoryview(data)[start - offset : stop - offset]
            self._last = (start, view)
            pieces.append(view[: end - start])
        return pieces


class AsyncFile:
    """Read one file of a share; an async context manager.

    ```python
    async with node.open(link, "model.safetensors") as file:
        size = int.from_bytes(await file.read(8), "little")
        file.seek(8 + size)
        async for block in file.blocks():
            ...
    ```

    A read that is cancelled or fails leaves the position where it was; what was
    verified meanwhile is not fetched again. Tasks may share it: one read follows the
    other.
    """

    def __init__(self, reader: FileReader) -> None:
        """Begin at the first byte; `Node.open` makes these."""
        self.name = reader.file.path
        """The path within the share."""
        self.size = reader.file.size
        """Bytes."""
        self.reader = reader
        """Gets its bytes by their offset, wherever the position is."""
        self._position = 0
        self._lock = asyncio.Lock()
        self._is_closed = False

    @property
    def closed(self) -> bool:
        """Say whether `aclose` was called."""
        return self._is_closed

    async def aclose(self) -> None:
        """Let go of the share; idempotent."""
        self._is_closed = True
        self.reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def tell(self) -> int:
        """Return the position: `file.tell()`."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position and return it: `file.seek(-8, os.SEEK_END)`.

        Nothing is fetched, so nothing is waited for.
        """
        self._check_open()
        self._position = seek_to(self._position, self.size, offset, whence)
        return self._position

    async def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer only at the end: `await file.read(1024)`.

        Without `size`, all that is left. Raises `NotFoundError` when nobody gives
        them in time, `VerificationError` when only liars would.
        """
        async with self._lock:
            pieces = await self._take(size)
            if len(pieces) > 1:
                return b"".join(pieces)
            return _as_bytes(pieces[0]) if pieces else b""

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill `buffer`; return how many bytes it took: `await file.readinto(buffer)`.

        Raises what `read` raises.
        """
        view = memoryview(buffer).cast("B")
        async with self._lock:
            place = 0
            for piece in await self._take(len(view)):
                view[place : place + len(piece)] = piece
                place += len(piece)
            return place

    async def readline(self, limit: int = -1) -> bytes:
        r"""Return bytes up to the next `\n`, or `limit`: `await file.readline()`.

        Raises what `read` raises.
        """
        async with self._lock:
            self._check_open()
            position, line = self._position, bytearray()
            stop = self.size if limit < 0 else min(position + limit, self.size)
            while position < stop and not line.endswith(b"\n"):
                room = min(self.reader.rest_of_chunk(position), LINE_BLOCK)
                end = min(position + room, stop)
                block = b"".join(await self.reader.get(position, end))
                used = block.find(b"\n") + 1 or len(block)
                line += block[:used]
                position += used
            self._position = position
            return bytes(line)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield lines, as binary files do: `async for line in file`."""
        while line := await self.readline():
            yield line

    async def blocks(self, size: int = -1) -> AsyncGenerator[bytes, None]:
        """Yield all that is left, or `size` bytes, as they come.

        `async for block in file.blocks(): ...`; a block ends where a chunk does.
        Raises what `read` raises.
        """
        left = max(self.size - self._position, 0)
        until = self._position + (left if size < 0 else min(size, left))
        while True:
            async with self._lock:
                room = self.reader.rest_of_chunk(self._position)
                room = min(room, until - self._position)
                block = b"".join(await self._take(room, until)) if room > 0 else b""
            if not block:
                return
            yield block

    async def _take(self, size: int, until: int | None = None) -> list[memoryview]:
        """Return the next `size` bytes and go on behind them."""
        self._check_open()
        left = max(self.size - self._position, 0)
        first = self._position
        end = first + (left if size < 0 else min(size, left))
        pieces = await self.reader.get(first, end, until)
        self._position = end
        return pieces

    def _check_open(self) -> None:
        if self._is_closed:
            raise ValueError("I/O operation on closed file")

    def __repr__(self) -> str:
        return f"<AsyncFile {self.name!r}, {self.size} bytes>"


class Opening:
    """A file about to be opened: `async with` it, or `await` it and `aclose` it."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, AsyncFile]]) -> None:
        self._start = start
        self._file: AsyncFile | None = None

    def __await__(self) -> Generator[Any, Any, AsyncFile]:
        return self._start().__await__()

    async def __aenter__(self) -> AsyncFile:
        self._file = await self
        return self._file

    async def __aexit__(self, *_: object) -> None:
        if self._file is not None:
            await self._file.aclose()


async def open_reader(
    readings: Readings, link: Link, path: str | None, timeout: float | None
) -> FileReader:
    """Return what reads a file of a share; raises what `Manifest.find` raises."""
    reading = readings.enter(link)
    try:
        manifest = await reading.load(lambda m: m.file_pages, timeout)
        return FileReader(readings, link, manifest, manifest.find(path), timeout)
    finally:
        readings.leave(reading)


async def read_chunk(
    readings: Readings, link: Link, index: int, timeout: float | None
) -> bytes:
    """Return one chunk of a share; raises `UsageError` when there is no such."""
    reading = readings.enter(link)
    place = reading.enter()
    try:
        manifest = await reading.load(lambda m: (), timeout)
        check_index(index, manifest.chunks.count)
        return bytes(await reading.chunk(place, range(index, index + 1), timeout))
    finally:
        reading.leave(place)
        readings.leave(reading)


def _as_bytes(view: memoryview) -> bytes:
    """Return the bytes of a view, themselves where they are all of what it views."""
    whole = view.obj
    if isinstance(whole, bytes) and len(whole) == len(view):
        return whole
    return bytes(view)


def seek_to(position: int, size: int, offset: int, whence: int) -> int:
    """Return where in a file of `size` bytes `seek` goes; raises `ValueError`."""
    start = {os.SEEK_SET: 0, os.SEEK_CUR: position, os.SEEK_END: size}.get(whence)
    if start is None:
        raise ValueError(f"whence is {whence}; it has to be 0, 1 or 2")
    if start + offset < 0:
        raise ValueError(f"there is no position {start + offset}")
    return start + offset
