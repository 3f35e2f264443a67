"""Read a file of a share from its peers, in an asyncio program.

A read fetches only the chunks that it covers, the one at the reader's position first.
Sequential reads also fetch some chunks ahead. Each chunk is verified before a byte of
it is returned.
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
from typing import TYPE_CHECKING, Any, Self

from shoal.core.manifest.chunks import check_index
from shoal.core.manifest.file_table import File
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link

if TYPE_CHECKING:
    from shoal.reading.share_cache import ShareCaches

__all__ = [
    "AHEAD_LIMIT",
    "AsyncFile",
    "FileReader",
    "Opening",
    "ReadAhead",
    "open_reader",
    "read_chunk",
    "seek_to",
]

AHEAD_LIMIT = 16 * 1024 * 1024  # bytes that one reader fetches ahead
LINE_BLOCK = 8 * 1024  # bytes searched at once for the end of a line


class ReadAhead:
    """Decide how far to fetch ahead of one reader, by its sequential reads.

    As many bytes are fetched ahead as it has read without a jump, up to `AHEAD_LIMIT`.
    So a stream is soon fetched as fast as it arrives, a reader that jumps about costs
    nothing that it does not read, and no more bytes are wasted than were used.
    """

    def __init__(self) -> None:
        """Start before the first read."""
        self._next = -1  # where a sequential read would begin
        self._run = 0  # bytes read without a jump

    def on_read(self, first: int, end: int) -> int:
        """Note a read of bytes `first` to `end - 1`; return how many more to fetch."""
        is_jump = first != self._next
        self._next = end
        self._run = end - first + (0 if is_jump else self._run)
        return 0 if is_jump else min(self._run, AHEAD_LIMIT)


class FileReader:
    """Read one file by offset; the base of both kinds of file objects."""

    def __init__(
        self,
        caches: "ShareCaches",
        link: Link,
        manifest: Manifest,
        file: File,
        timeout: float | None,
    ) -> None:
        """Read `file`, waiting `timeout` seconds at most for each chunk."""
        self.file = file
        """Its path, and its size in bytes."""
        self._caches = caches
        self._cache = caches.enter(link)
        self._position = self._cache.add_reader()
        self._chunks = manifest.chunks
        self._timeout = timeout
        self._ahead = ReadAhead()
        self._last = (0, memoryview(b""))  # offset in the file, and bytes, last read
        self._is_closed = False

    def close(self) -> None:
        """Cancel the requests of this reader; idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._last = (0, memoryview(b""))
            self._cache.remove_reader(self._position)
            self._caches.leave(self._cache)

    def rest_of_chunk(self, position: int) -> int:
        """Return how many bytes there are from `position` to the end of its chunk."""
        size = self._chunks.chunk_size
        room = size - (self.file.offset + position) % size
        return max(min(room, self.file.size - position), 0)

    def at_hand(self, first: int, end: int) -> memoryview:
        """Return bytes from `first` to the end of the last read chunk, or to `end`.

        The view is empty if `first` is in another chunk. Thread-safe.
        """
        start, view = self._last
        return view[first - start : end - start] if first >= start else view[:0]

    async def get(
        self, first: int, end: int, until: int | None = None
    ) -> list[memoryview]:
        """Return bytes `first` to `end - 1`, which must exist, in pieces.

        With `until`, the offset at which the caller will stop, everything up to there
        and nothing beyond is fetched ahead, as the cache has room. Raises
        `NotFoundError`, `VerificationError` or another `ShoalError`.
        """
        piece = self.at_hand(first, end)
        pieces = [piece] if piece else []
        first += len(piece)
        if first >= end:
            return pieces
        size, base = self._chunks.chunk_size, self.file.offset
        # Whole chunks are fetched, so the rest of the last one counts as read.
        stop = end + self.rest_of_chunk(end - 1) - 1
        ahead = stop + self._ahead.on_read(first, stop)
        ahead = min(ahead, self.file.size) if until is None else until
        for index in range((base + first) // size, -(-(base + stop) // size)):
            offset = index * size - base
            start = max(offset, first)
            indexes = range(index, index + 1)
            if ahead > offset + size:
                # No more at once than the cache has room for.
                edge = max(min(ahead, start + self._cache.ahead_limit), start + 1)
                indexes = range(index, -(-(base + edge) // size))
            data = await self._cache.chunk(self._position, indexes, self._timeout)
            view = memoryview(data)[start - offset : stop - offset]
            self._last = (start, view)
            pieces.append(view[: end - start])
        return pieces

    async def line(self, first: int, stop: int) -> bytes:
        r"""Return bytes from `first` up to and including the next `\n`, or to `stop`.

        Raises what `get` raises.
        """
        line = bytearray()
        while first < stop and not line.endswith(b"\n"):
            room = min(self.rest_of_chunk(first), LINE_BLOCK)
            block = b"".join(await self.get(first, min(first + room, stop)))
            used = block.find(b"\n") + 1 or len(block)
            line += block[:used]
            first += used
        return bytes(line)


class AsyncFile:
    """Read one file of a share; an async context manager.

    ```python
    async with node.open(link, "model.safetensors") as file:
        size = int.from_bytes(await file.read(8), "little")
        file.seek(8 + size)
        async for block in file.blocks():
            ...
    ```

    A read that fails or is cancelled leaves the position unchanged, and the chunks
    verified until then are not fetched again. Tasks may share a file: their reads run
    one after another.
    """

    def __init__(self, reader: FileReader) -> None:
        """Start at the first byte; use `Node.open` instead."""
        self.name = reader.file.path
        """The path within the share."""
        self.size = reader.file.size
        """Bytes."""
        self.reader = reader
        """Reads the same file by offset, independent of the position."""
        self._position = 0
        self._lock = asyncio.Lock()
        self.closed = False
        """Whether `aclose` was called."""

    async def aclose(self) -> None:
        """Close the file; idempotent."""
        self.closed = True
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
        """Set the position and return it: `file.seek(-8, os.SEEK_END)`.

        A seek fetches nothing. Raises `ValueError` for a negative position.
        """
        self._check_open()
        self._position = seek_to(self._position, self.size, offset, whence)
        return self._position

    async def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer only at the end: `await file.read(1024)`.

        Without `size`, return everything from the position on. Raises `NotFoundError`
        when no peer sends a chunk in time, `VerificationError` when all peers that send
        it send wrong bytes.
        """
        async with self._lock:
            pieces = await self._take(size)
            if len(pieces) > 1:
                return b"".join(pieces)
            return _as_bytes(pieces[0]) if pieces else b""

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill `buffer`; return the number of bytes: `await file.readinto(buffer)`.

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
        r"""Return bytes up to and including the next `\n`: `await file.readline()`.

        A line longer than `limit` bytes is cut there. Raises what `read` raises.
        """
        async with self._lock:
            self._check_open()
            stop = self.size if limit < 0 else min(self._position + limit, self.size)
            line = await self.reader.line(self._position, stop)
            self._position += len(line)
            return line

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield lines, as binary files do: `async for line in file`."""
        while line := await self.readline():
            yield line

    async def blocks(self, size: int = -1) -> AsyncGenerator[bytes, None]:
        """Yield the rest of the file, or `size` bytes of it, as chunks arrive.

        `async for block in file.blocks(): ...`; each block ends at the end of a chunk.
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
        """Return the next `size` bytes and advance the position."""
        self._check_open()
        left = max(self.size - self._position, 0)
        first = self._position
        end = first + (left if size < 0 else min(size, left))
        pieces = await self.reader.get(first, end, until)
        self._position = end
        return pieces

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def __repr__(self) -> str:
        return f"<AsyncFile {self.name!r}, {self.size} bytes>"


class Opening:
    """A file to open: use it in `async with`, or `await` it and `aclose` the result."""

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
    caches: "ShareCaches", link: Link, path: str | None, timeout: float | None
) -> FileReader:
    """Return a reader of a file of a share; raises what `Manifest.find` raises."""
    cache = caches.enter(link)
    try:
        manifest = await cache.load(lambda m: m.missing_path(path), timeout)
        return FileReader(caches, link, manifest, manifest.find(path), timeout)
    finally:
        caches.leave(cache)


async def read_chunk(
    caches: "ShareCaches", link: Link, index: int, timeout: float | None
) -> bytes:
    """Return one chunk of a share; raises `UsageError` for an invalid index."""
    cache = caches.enter(link)
    reader = cache.add_reader()
    try:
        manifest = await cache.load(lambda m: (), timeout)
        check_index(index, manifest.chunks.count)
        return bytes(await cache.chunk(reader, range(index, index + 1), timeout))
    finally:
        cache.remove_reader(reader)
        caches.leave(cache)


def _as_bytes(view: memoryview) -> bytes:
    """Return the bytes of a view, without a copy if it covers a whole object."""
    whole = view.obj
    if isinstance(whole, bytes) and len(whole) == len(view):
        return whole
    return bytes(view)


def seek_to(position: int, size: int, offset: int, whence: int) -> int:
    """Return the new position of a `seek` in a file of `size` bytes.

    Raises `ValueError` for an unknown `whence` or a negative position.
    """
    start = {os.SEEK_SET: 0, os.SEEK_CUR: position, os.SEEK_END: size}.get(whence)
    if start is None:
        raise ValueError(f"whence is {whence}; it must be 0, 1 or 2")
    if start + offset < 0:
        raise ValueError(f"position {start + offset} is before the start of the file")
    return start + offset
