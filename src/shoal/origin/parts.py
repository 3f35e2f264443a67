"""What every origin is read by: parts of files in, bytes out, chunks put together.

An `OriginReader` knows one protocol and nothing of chunks. `ChunkCollector` finds the
chunks in the bytes that it yields. Nothing is verified here.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple, Protocol

from shoal.core.manifest.chunks import Chunks
from shoal.errors import PeerError, option

if TYPE_CHECKING:  # it is never created here
    from shoal.core.manifest.manifest import Manifest

__all__ = [
    "Block",
    "ChunkCollector",
    "OriginBusyError",
    "OriginFileError",
    "OriginReader",
    "Part",
    "how_to_allow",
    "parts_of",
    "read_run",
]


def how_to_allow() -> str:
    """Return how the user allows an origin that only the link names."""
    return f"name it with {option('--origin')} to use it"


class Part(NamedTuple):
    """Name bytes of one file of a share."""

    path: str
    """Path within the share, with slashes; "" if the share is a single file."""
    name: str
    """Name of the share."""
    first: int
    """Offset of the first byte within the file."""
    size: int
    """Bytes, at least one."""
    file_size: int
    """Bytes of the whole file."""
    begin: int = 0
    """Offset of the file's first byte within the share."""


def parts_of(manifest: "Manifest", run: range) -> list[Part]:
    """Return the parts of files that adjacent chunks consist of, in order.

    Raises `LookupError` while the files are not known.
    """
    first, end = map(manifest.chunks.offset, (run.start, run.stop))
    name, is_folder = manifest.root.name, manifest.root.is_folder
    parts = []
    for file, start, length in manifest.spans(first, end):
        path, begin = file.path if is_folder else "", first - start
        parts.append(Part(path, name, start, length, file.size, begin))
        first += length
    return parts


class Block(NamedTuple):
    """Carry some bytes of a file."""

    offset: int
    """Offset of the first byte within the file."""
    data: bytes
    is_whole: bool = False
    """Whether the origin sends the whole file, although a part was requested."""


class OriginFileError(PeerError):
    """Report that one file at an origin is missing or differs; others may be usable."""


class OriginBusyError(PeerError):
    """Report that an origin asks to be left alone for some time (`Retry-After`)."""

    def __init__(self, message: str, seconds: float) -> None:
        """Note the `seconds` for which nothing should be requested."""
        super().__init__(message)
        self.seconds = seconds
        """How long the origin asks to be left alone."""


class OriginReader(Protocol):
    """Read bytes of the files of a share at one origin."""

    @property
    def name(self) -> str:
        """Return the origin's name for messages, without any secret in its URL."""

    def read(self, part: Part) -> AsyncGenerator[Block, None]:
        """Yield exactly the bytes of `part` as they arrive.

        If the origin ignores ranges, yield the whole file instead. Raises
        `OriginFileError` if other files may still be readable, otherwise another
        `PeerError`.
        """

    async def aclose(self) -> None:
        """Close all connections; idempotent."""


class ChunkCollector:
    """Put chunks together from the bytes of files, which come in order."""

    def __init__(self, chunks: Chunks, takes: Callable[[int], bool]) -> None:
        """Collect the chunks for which `takes` returns True when they begin."""
        self._chunks = chunks
        self._takes = takes
        self._next = 0  # offset in the share of the byte after the last one
        self._pieces: list[memoryview] = []
        self._missing = 0  # bytes of the chunk that is being collected
        self._passing = 0  # bytes until the next chunk begins

    @property
    def unfinished(self) -> int | None:
        """Return the chunk of which some bytes are here, or None."""
        return self._next // self._chunks.chunk_size if self._pieces else None

    def feed(self, offset: int, block: bytes) -> Iterator[tuple[int, bytes]]:
        """Take bytes at an offset in the share; yield the chunks that are complete."""
        if offset != self._next:
            self._pieces.clear()
            self._missing, self._passing = 0, -offset % self._chunks.chunk_size
        view, self._next = memoryview(block), offset
        while view:
            if not self._missing and not self._passing:
                self._begin_chunk()
            piece = view[: self._missing or self._passing]
            view = view[len(piece) :]
            self._next += len(piece)
            if not self._missing:
                self._passing -= len(piece)
                continue
            self._pieces.append(piece)
            self._missing -= len(piece)
            if not self._missing:
                data = b"".join(self._pieces)
                self._pieces.clear()
                yield (self._next - 1) // self._chunks.chunk_size, data

    def _begin_chunk(self) -> None:
        index = self._next // self._chunks.chunk_size
        size = self._chunks.length(index)
        if self._takes(index):
            self._missing = size
        else:
            self._passing = size


async def read_run(
    reader: OriginReader, manifest: "Manifest", run: range
) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the index and the bytes of each chunk of a run; nothing is verified.

    Raises what the reader raises.
    """
    collector = ChunkCollector(manifest.chunks, run.__contains__)
    for part in parts_of(manifest, run):
        async with aclosing(reader.read(part)) as blocks:
            async for block in blocks:
                for chunk in collector.feed(part.begin + block.offset, block.data):
                    yield chunk
                if block.offset + len(block.data) >= part.first + part.size:
                    break
