"""Stores that keep chunks in memory."""

from collections.abc import Sequence

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.storage.disk.disk import Data
from shoal.storage.store import DownloadStore, check_length

__all__ = ["MemoryStore", "TransientStore"]


class MemoryStore(DownloadStore):
    """Keep copies of chunks in memory."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks = chunks
        self.have = Bitfield(chunks.count)
        self._data: dict[int, bytes] = {}

    def get(self, index: int) -> bytes:
        return self._data[index]

    def get_now(self, index: int) -> bytes | None:
        return self.get(index)

    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        for index, data in items:
            check_length(self.chunks, index, data)
            if self.have.add(index):
                self._data[index] = bytes(data)


class TransientStore(MemoryStore):
    """Keep chunks in memory until the test takes them."""

    is_behind = False

    def take(self, index: int) -> bytes:
        """Return a chunk and forget its bytes; raise `KeyError` if it is missing."""
        return self._data.pop(index)

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        """Return nothing: these chunks are not uploaded."""
        return [None for _ in indexes]
