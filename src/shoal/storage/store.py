"""What every place that holds chunks offers, and the simplest of them.

`ChunkReader` is what serving needs, `ChunkStore` what fetching needs. Behind them
stand `SourceStore` (files that are shared), `FileStore` (a file being fetched) and
`MemoryStore` (here). Chunks are numbered as `Chunks` says; whoever puts one in has
verified it before.

All methods block and are called from one worker thread at a time, except those
whose name ends in `now` and `have`: they belong to the event loop, at any time
until the store is being finished or closed.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.manifest.manifest import Manifest
from shoal.storage.disk.disk import Data

__all__ = ["ChunkReader", "ChunkStore", "Holding", "MemoryStore", "check_length"]


class ChunkReader(Protocol):
    """Read the chunks of one share."""

    @property
    def chunks(self) -> Chunks:
        """Return how the share is cut."""

    @property
    def have(self) -> Bitfield:
        """Return which chunks are there; it changes as they come."""

    def get(self, index: int) -> bytes:
        """Return a chunk; raise `KeyError` when it is not there.

        Raises `StoreError` when it cannot be read.
        """

    def get_now(self, index: int) -> bytes | None:
        """Return a chunk if that needs no waiting; on None ask `get` in a thread.

        Raises `KeyError` when the chunk is not there.
        """

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        """Return what `get_now` would for each; cheaper than one by one."""

    def close(self) -> None:
        """Let go of everything; idempotent."""


class ChunkStore(ChunkReader, Protocol):
    """Read the chunks of one share and put in those that are missing."""

    def put(self, index: int, data: Data) -> None:
        """Keep a verified chunk; one that is there already stays as it is.

        Raises `ValueError` when its length is wrong.
        """

    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        """Keep several verified chunks; cheaper than one by one."""


class Holding(NamedTuple):
    """What is here of a sealed share, and what is known of it."""

    manifest: Manifest
    """With all pages."""
    store: ChunkReader


def check_length(chunks: Chunks, index: int, data: Data) -> None:
    """Raise `ValueError` unless `data` is as long as chunk `index` has to be."""
    if not 0 <= index < chunks.count:
        raise ValueError(f"chunk {index} of {chunks.count}")
    if len(data) != chunks.length(index):
        raise ValueError(
            f"chunk {index} has {len(data)} bytes instead of {chunks.length(index)}"
        )


class MemoryStore:
    """Keep chunks in memory."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks = chunks
        """How the share is cut."""
        self.have = Bitfield(chunks.count)
        """Which chunks are there."""
        self._data: dict[int, bytes] = {}

    def get(self, index: int) -> bytes:
        """Return a chunk; raise `KeyError` when it is not there."""
        return self._data[index]

    def get_now(self, index: int) -> bytes | None:
        """Return a chunk; raise `KeyError` when it is not there."""
        return self._data[index]

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        """Return several chunks; raise `KeyError` when one is not there."""
        return [self._data[index] for index in indexes]

    def put(self, index: int, data: Data) -> None:
        """Keep a copy of a chunk; one that is there already stays as it is."""
        check_length(self.chunks, index, data)
        if index not in self.have:
            self._data[index] = bytes(data)
            self.have.add(index)

    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        """Keep copies of several chunks."""
        for index, data in items:
            self.put(index, data)

    def close(self) -> None:
        """Keep everything: what is in memory needs no closing."""
