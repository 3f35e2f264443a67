"""An origin in memory, with a limited rate, which counts the bytes it sends."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

from shoal.errors import PeerError
from shoal.origin.parts import Block, OriginFileError, Part

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
        self.ignores_ranges = False
        """Whether it answers with the whole file."""
        self.first_byte = 0.0
        """Seconds until an answer begins."""
        self.reads = 0
        self.parts: list[Part] = []
        """What was requested so far."""
        self.is_closed = False
        self._line = line or Line(1e9)
        self._speaks = asyncio.Event()
        self._speaks.set()

    @property
    def is_silent(self) -> bool:
        """Whether it sends nothing for now."""
        return not self._speaks.is_set()

    @is_silent.setter
    def is_silent(self, is_silent: bool) -> None:
        if is_silent:
            self._speaks.clear()
        else:
            self._speaks.set()

    async def read(self, part: Part) -> AsyncGenerator[Block, None]:
        """Yield the bytes of a part; raise `error` if it is set."""
        self.reads += 1
        self.parts.append(part)
        data = self.files.get(part.path)
        if data is None:
            raise OriginFileError(f"it has no {part.path}")
        await asyncio.sleep(self.first_byte)
        first, end = part.first, part.first + part.size
        if self.ignores_ranges:
            first, end = 0, len(data)
        for start in range(first, end, BLOCK):
            block = data[start : min(start + BLOCK, end)]
            await self._line.carry(len(block))
            if self.error is not None:
                raise self.error
            await self._speaks.wait()
            self.sent += len(block)
            yield Block(start, block, self.ignores_ranges)

    async def aclose(self) -> None:
        """Note that the origin was closed."""
        self.is_closed = True
