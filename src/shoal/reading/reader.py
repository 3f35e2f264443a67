"""Decide what a read of one file fetches: the blocks, the chunks, and how far ahead.

A read fetches only the blocks that it covers, the one at the reader's position first,
or whole chunks where it covers most of them. Sequential reads also fetch some bytes
ahead. Each block is verified before a byte of it is returned.

A `FileReader` belongs to the event loop. Other threads only look for bytes in memory
(`find`) and leave a note of what they have read there (`note`).
"""

import asyncio
import os
from collections import deque
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from shoal.core.manifest.blocks import BLOCK_SIZE
from shoal.core.manifest.chunks import check_index
from shoal.core.manifest.file_tree import File
from shoal.core.manifest.listing import refuse_folder
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.schedule.readahead import LEFT, ReadAhead
from shoal.errors import NotFoundError
from shoal.storage.disk.disk import Data

if TYPE_CHECKING:
    from shoal.reading.share_cache import ShareCache
    from shoal.reading.share_caches import ShareCaches

__all__ = ["NO_PIECE", "FileReader", "Piece", "open_reader", "read_chunk", "seek_to"]

Piece: TypeAlias = tuple[int, memoryview]
"""An offset in the file, and bytes that are there."""

NO_PIECE: Piece = (0, memoryview(b""))
LINE_BLOCK = 8 * 1024  # bytes searched at once for the end of a line
MAX_NOTES = 64  # pieces that were read from memory before the loop knows of it


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
        self._last = self._other = NO_PIECE  # last read
        self._noted: deque[tuple[int, int, float]] = deque(maxlen=MAX_NOTES)
        self._turn: float = inf  # the offset at which more should be requested
        self._is_closed = False

    def close(self) -> None:
        """Cancel the requests of this reader; idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._last = self._other = NO_PIECE
            self._cache.remove_reader(self._position)
            self._caches.leave(self._cache)

    def rest_of_block(self, position: int) -> int:
        """Return how many bytes there are from `position` to the end of its block."""
        size = self._chunks.chunk_size
        in_chunk = (self.file.offset + position) % size
        room = min(BLOCK_SIZE - in_chunk % BLOCK_SIZE, size - in_chunk)
        return max(min(room, self.file.size - position), 0)

    # What other threads than the loop's may call.

    def find(self, position: int) -> Piece | None:
        """Return a piece in memory that has the byte at `position`; None without one.

        Thread-safe.
        """
        for piece in (self._last, self._other):
            if piece[0] <= position < piece[0] + len(piece[1]):
                return piece
        found = self._cache.peek(self._chunks, self.file.offset + position)
        return self._within_file(*found) if found is not None else None

    def note(self, first: int, end: int) -> bool:
        """Note that bytes `first` to `end - 1` were read from memory, in one piece.

        Return True if the loop should `advance` now. Thread-safe.
        """
        self._noted.append((first, end, self._clock()))
        return end > self._turn

    # What only the loop's thread may call.

    def advance(self) -> None:
        """Request more, ahead of what was noted."""
        self._turn = inf
        if self._is_closed or not self._noted:
            return
        end = self._noted[-1][1]
        edge = self._edge(end, self._use_notes(), None)
        if edge > end:
            self._cache.move(self._position, *self._span(end, edge))
            self._turn = _turn(end, edge)

    def _use_notes(self) -> int:
        """Tell `ReadAhead` what was noted; return how much it would fetch ahead."""
        ahead = 0
        while self._noted:
            first, end, now = self._noted.popleft()
            ahead = self._ahead.on_read(first, end, now)
        return ahead

    def _read_on(self, first: int, end: int) -> int:
        """Note a read that must wait; return how many bytes to fetch ahead of it."""
        self._use_notes()
        return self._ahead.on_read(first, end, self._clock())

    def at_hand(self, first: int, end: int) -> memoryview:
        """Return bytes from `first` to the end of one of the two pieces read last.

        They end at `end` if that is before. Empty without such a piece.
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
                    ahead = self._read_on(first, end)
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
            ahead = self._read_on(first, stop)
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
        begun = self._clock()
        begin, edge = self._span(first, edge)
        found = await self._cache.piece(
            self._position, begin, edge, self._timeout, leads=leads
        )
        piece = self._within_file(*found)
        self._other, self._last = self._last, piece
        end = piece[0] + len(piece[1])
        self._turn = _turn(end, edge - self.file.offset)
        self._ahead.on_got(first, end, self._clock() - begun)

    def _span(self, first: int, edge: int) -> tuple[int, int]:
        """Return the same offsets in the share, no more than the cache has room for."""
        limit = self._cache.ahead_limit
        if edge - first > limit:
            room = first + limit
            if limit >= self._chunks.chunk_size:
                room = self._round_up(room)
            edge = max(min(edge, room), first + 1)
        return self.file.offset + first, self.file.offset + edge

    def _within_file(self, offset: int, data: Data) -> Piece:
        """Return the part of bytes at an offset of the share that is in this file."""
        start = offset - self.file.offset
        begin, stop = max(start, 0), min(start + len(data), self.file.size)
        # Bytes of the next file, to a reader beyond the end of this one, are none.
        return begin, memoryview(data)[begin - start : max(stop, begin) - start]

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


def _turn(end: int, edge: int) -> float:
    """Return where to request more, if a reader at `end` has requested up to `edge`."""
    return edge - int(LEFT * (edge - end)) if edge > end else inf


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
