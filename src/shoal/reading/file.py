"""Read a file of a share from its peers, in an asyncio program.

A read fetches only the blocks that it covers, the one at the reader's position first,
or whole chunks where it covers most of them. Sequential reads also fetch some bytes
ahead. Each block is verified before a byte of it is returned.
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

from shoal.core.manifest.blocks import BLOCK_SIZE
from shoal.core.manifest.chunks import check_index
from shoal.core.manifest.file_tree import File
from shoal.core.manifest.listing import refuse_folder
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.schedule.readahead import ReadAhead
from shoal.errors import NotFoundError

if TYPE_CHECKING:
    from shoal.reading.share_cache import ShareCache, ShareCaches

__all__ = [
    "AsyncFile",
    "FileReader",
    "Opening",
    "open_reader",
    "read_chunk",
    "seek_to",
]

LINE_BLOCK = 8 * 1024  # bytes searched at once for the end of a line


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
        self._chunks = manifest.chunks
        self._position = self._cache.add_reader(self._chunks)
        self._timeout = timeout
        self._ahead = ReadAhead()
        self._reach = 0  # where that ended, rounded up
        self._clock = asyncio.get_running_loop().time
        self._last = self._other = (0, memoryview(b""))  # offset and bytes, last read
        self._is_closed = False

    def close(self) -> None:
        """Cancel the requests of this reader; idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._last = self._other = (0, memoryview(b""))
            self._cache.remove_reader(self._position)
            self._caches.leave(self._cache)

    def rest_of_block(self, position: int) -> int:
        """Return how many bytes there are from `position` to the end of its block."""
        size = self._chunks.chunk_size
        in_chunk = (self.file.offset + position) % size
        room = min(BLOCK_SIZE - in_chunk % BLOCK_SIZE, size - in_chunk)
        return max(min(room, self.file.size - position), 0)

    def at_hand(self, first: int, end: int) -> memoryview:
        """Return bytes from `first` to the end of one of the two pieces read last.

        They end at `end` if that is before. Empty without such a piece. Thread-safe.
        """
        start, view = self._last
        if not start <= first < start + len(view):
            start, view = self._other
        return view[first - start : end - start] if first >= start else view[:0]

    async def get(
        self, first: int, end: int, until: int | None = None
    ) -> list[memoryview]:
        """Return bytes `first` to `end - 1`, which must exist, in pieces.

        With `until`, the offset at which the caller will stop, everything up to there
        and nothing beyond is fetched ahead, as the cache has room. Raises
        `NotFoundError`, `VerificationError` or another `ShoalError`.
        """
        pieces: list[memoryview] = []
        edge: int | None = None
        while first < end:
            piece = self.at_hand(first, end)
            if not piece:
                if edge is None:
                    ahead = self._ahead.on_read(first, end, self._clock())
                    edge = self._edge(end, ahead, until)
                await self._fetch(first, edge)
                piece = self.at_hand(first, end)
            pieces.append(piece)
            first += len(piece)
        return pieces

    async def piece(self, first: int, end: int, until: int | None = None) -> memoryview:
        """Return the first of bytes `first` to `end - 1`: as many as arrive together.

        For a caller that passes them on; `until` and errors are as for `get`.
        """
        piece = self.at_hand(first, end)
        if not piece:
            stop = min(end, first + self.rest_of_block(first))
            ahead = self._ahead.on_read(first, stop, self._clock())
            await self._fetch(first, self._edge(stop, ahead, until), leads=not ahead)
            piece = self.at_hand(first, end)
        return piece

    def _edge(self, end: int, ahead: int, until: int | None) -> int:
        """Return the offset up to which to fetch, for a read that ends at `end`."""
        if until is not None:
            return max(end, until)
        edge = end + ahead
        if ahead >= self._chunks.chunk_size:
            edge = self._round_up(edge)
        # What was requested ahead stays so, although less of it is ahead now.
        self._reach = max(edge, self._reach) if ahead else edge
        return min(self._reach, self.file.size)

    def _round_up(self, offset: int) -> int:
        """Return the offset of the end of a chunk, so that no part of it is wanted."""
        size, base = self._chunks.chunk_size, self.file.offset
        return -(-(base + offset) // size) * size - base

    async def _fetch(self, first: int, edge: int, *, leads: bool = False) -> None:
        """Fetch the bytes from `first` to `edge`; wait for the first block or chunk.

        With `leads`, the first block should arrive soon, not together with its chunk.
        """
        limit = self._cache.ahead_limit
        if edge - first > limit:  # no more at once than the cache has room for
            room = first + limit
            if limit >= self._chunks.chunk_size:
                room = self._round_up(room)
            edge = max(min(edge, room), first + 1)
        base, begun = self.file.offset, self._clock()
        start, data = await self._cache.piece(
            self._position, base + first, base + edge, self._timeout, leads=leads
        )
        stop = min(start - base + len(data), self.file.size)
        begin = max(start - base, 0)
        view = memoryview(data)[begin + base - start : stop + base - start]
        self._other, self._last = self._last, (begin, view)
        self._ahead.on_got(first, stop, self._clock() - begun)

    async def line(self, first: int, stop: int) -> bytes:
        r"""Return bytes from `first` up to and including the next `\n`, or to `stop`.

        Raises what `get` raises.
        """
        line = bytearray()
        while first < stop and not line.endswith(b"\n"):
            room = min(self.rest_of_block(first), LINE_BLOCK)
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

        `async for block in file.blocks(): ...`; a block has up to a whole chunk.
        Raises what `read` raises.
        """
        left = max(self.size - self._position, 0)
        until = self._position + (left if size < 0 else min(size, left))
        while True:
            async with self._lock:
                self._check_open()
                if self._position >= until:
                    return
                piece = await self.reader.piece(self._position, until, until)
                self._position += len(piece)
            yield _as_bytes(piece)

    async def _take(self, size: int) -> list[memoryview]:
        """Return the next `size` bytes and advance the position."""
        self._check_open()
        left = max(self.size - self._position, 0)
        first = self._position
        end = first + (left if size < 0 else min(size, left))
        pieces = await self.reader.get(first, end)
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
        try:
            file = manifest.find(path)
        except NotFoundError:
            await _refuse_folder(cache, path, timeout)
            raise
        return FileReader(caches, link, manifest, file, timeout)
    finally:
        caches.leave(cache)


async def _refuse_folder(
    cache: "ShareCache", path: str | None, timeout: float | None
) -> None:
    """Raise `UsageError` if the share has a folder with this path."""
    folder = (path or "").rstrip("/")
    manifest = await cache.load(lambda m: m.missing_children(folder), timeout)
    refuse_folder(manifest, folder)


async def read_chunk(
    caches: "ShareCaches", link: Link, index: int, timeout: float | None
) -> bytes:
    """Return one chunk of a share; raises `UsageError` for an invalid index."""
    cache = caches.enter(link)
    try:
        manifest = await cache.load(lambda m: (), timeout)
        check_index(index, manifest.chunks.count)
        reader = cache.add_reader(manifest.chunks)
        try:
            return bytes(await cache.chunk(reader, index, timeout))
        finally:
            cache.remove_reader(reader)
    finally:
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
