"""A file of a share as a file object of asyncio programs."""

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

from shoal.reading.reader import FileReader, seek_to

__all__ = ["AsyncFile", "Opening"]


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


def _as_bytes(view: memoryview) -> bytes:
    """Return the bytes of a view, without a copy if it covers a whole object."""
    whole = view.obj
    if isinstance(whole, bytes) and len(whole) == len(view):
        return whole
    return bytes(view)
