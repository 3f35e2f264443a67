"""Recently read chunks of a share, in a limited amount of memory.

A reader pins the chunk that it waits for, so that other readers cannot push that chunk
out of the cache before it has read it.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.wire.framing import LARGE_FRAME
from shoal.storage.disk.disk import Data
from shoal.storage.store import DownloadStore, check_length

__all__ = ["CACHE_SIZE", "ChunkCache"]

CACHE_SIZE = 64 * 1024 * 1024  # bytes
_SLACK = 4096  # bytes that other objects may take of the memory in `make_room`


class ChunkCache(DownloadStore):
    """A store that keeps the chunks that were put or read last."""

    def __init__(
        self,
        chunks: Chunks,
        on_forgotten: Callable[[int], None],
        size: int = CACHE_SIZE,
    ) -> None:
        """Keep about `size` bytes; call `on_forgotten` with each chunk removed."""
        self.chunks = chunks
        """How the share is divided."""
        self.have = Bitfield(chunks.count)
        """The chunks in the cache."""
        self._limit = size
        self._size = 0
        self._cached: OrderedDict[int, Data] = OrderedDict()
        self._pins: dict[int, int] = {}
        self._on_forgotten = on_forgotten

    def look(self, index: int) -> Data | None:
        """Return a chunk and mark it as read; None if it is not in the cache."""
        data = self._cached.get(index)
        if data is not None:
            self._cached.move_to_end(index)
        return data

    def pin(self, index: int) -> None:
        """Keep a chunk, now or when it arrives, until as many calls of `unpin`."""
        self._pins[index] = self._pins.get(index, 0) + 1

    def unpin(self, index: int) -> None:
        """Undo one call of `pin`."""
        pins = self._pins.pop(index) - 1
        if pins:
            self._pins[index] = pins

    def is_pinned(self, index: int) -> bool:
        """Return True if a reader waits for a chunk."""
        return index in self._pins

    def make_room(self, index: int) -> None:
        """Have memory ready for a chunk that is about to arrive.

        New memory from the system takes as much time as receiving into it. Memory that
        is touched and freed here is reused for the chunk. A large chunk is kept in the
        buffer that receives it, so it needs none.
        """
        size = self.chunks.length(index)
        if size < LARGE_FRAME and self._size + size <= self._limit:
            bytearray(size + _SLACK)

    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        """Store verified chunks without a copy; remove the least recently read."""
        for index, data in items:
            check_length(self.chunks, index, data)
            if self.have.add(index):
                self._cached[index] = data
                self._size += len(data)
                self._shrink()

    def get(self, index: int) -> bytes:
        """Return a copy of a chunk; raise `KeyError` if it is not in the cache."""
        return bytes(self._cached[index])

    def get_now(self, index: int) -> bytes | None:
        """Return a copy of a chunk; raise `KeyError` if it is not in the cache."""
        return self.get(index)

    def _shrink(self) -> None:
        """Remove chunks that are not pinned, but never the newest."""
        while self._size > self._limit and len(self._cached) > 1:
            index = next((i for i in self._cached if i not in self._pins), None)
            if index is None or index == next(reversed(self._cached)):
                return
            self._size -= len(self._cached.pop(index))
            self.have.discard(index)
            self._on_forgotten(index)
