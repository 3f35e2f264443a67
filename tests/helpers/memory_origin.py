"""An origin in memory, with a limited rate, which counts the bytes it sends."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

from shoal.errors import PeerError
from shoal.origin.source import OriginFileError, Part

__all__ = ["Line", "MemoryOrigin"]

BLOCK = 16_384  # bytes sent at once


class Line:
    """A line with a rate in bytes per second, which several origins can share."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def carry(self, size: int) -> None:
        """Wait until this many bytes are transferred."""
        loop = asyncio.get_running_loop()
        self._free_at = max(self._free_at, loop.time()) + size / self._rate
        await asyncio.sleep(self._free_at - loop.time())


class MemoryOrigin:
    """An origin with files by path; a single file has the empty path."""

    def __init__(self, files: Mapping[str, bytes], line: Line | None = None) -> None:
        self.name = "memory://origin"
        self.files = files
        self.sent = 0
        """Bytes sent so far."""
        self.error: PeerError | None = None
        """The error that every read raises."""
        self.is_silent = False
        """Whether it no longer answers."""
        self.reads = 0
        self.is_closed = False
        self._line = line or Line(1e9)

    async def read(self, part: Part) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a part; raise `error` if it is set."""
        self.reads += 1
        data = self.files.get(part.path)
        if data is None:
            raise OriginFileError(f"it has no {part.path}")
        end = part.first + part.size
        for start in range(part.first, end, BLOCK):
            block = data[start : min(start + BLOCK, end)]
            await self._line.carry(len(block))
            if self.error is not None:
                raise self.error
            if self.is_silent:
                await asyncio.Event().wait()
            self.sent += len(block)
            yield block

    async def aclose(self) -> None:
        """Note that the origin was closed."""
        self.is_closed = True
