"""The chunks of a share that were read lately, in memory and never more than so many.

Whoever reads pins what it waits for, so that a crowd of readers cannot push out
what one of them has not seen yet.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.wire.framing import LARGE_FRAME
from shoal.storage.disk.disk import Data
from shoal.storage.store import DownloadStore, check_length

__all__ = ["CACHE_SIZE", "ChunkCache"]

CACHE_SIZE = 64 * 1024 * 1024  # bytes
_SLACK = 4096  # bytes of whatever else is kept meanwhile


class ChunkCache(DownloadStore):
    """Keep what was put in last or read last; a store that forgets."""

    def __init__(
        self,
        chunks: Chunks,
        on_forgotten: Callable[[int], None],
        size: int = CACHE_SIZE,
    ) -> None:
        """Hold about `size` bytes; `on_forgotten` hears which chunk had to go."""
        self.chunks = chunks
        """How the share is cut."""
        self.have = Bitfield(chunks.count)
        """Which chunks are there."""
        self._limit = size
        self._size = 0
        self._kept: OrderedDict[int, Data] = OrderedDict()
        self._pins: dict[int, int] = {}
        self._on_forgotten = on_forgotten

    def look(self, index: int) -> Data | None:
        """Return a chunk, which counts as read; None when it is not there."""
        data = self._kept.get(index)
        if data is not None:
            self._kept.move_to_end(index)
        return data

    def pin(self, index: int) -> None:
        """Keep a chunk, once it comes, until it is unpinned as often."""
        self._pins[index] = self._pins.get(index, 0) + 1

    def unpin(self, index: int) -> None:
        """Let go of a chunk that was pinned."""
        pins = self._pins.pop(index) - 1
        if pins:
            self._pins[index] = pins

    def make_room(self, index: int) -> None:
        """Have memory at hand for a chunk that is about to come.

        What the system gives anew costs as much time as receiving into it. What was
        touched and let go of here is what the chunk will lie in; large ones have the
        buffer that they come in.
        """
        size = self.chunks.length(index)
        if size < LARGE_FRAME and self._size + size <= self._limit:
            bytearray(size + _SLACK)

    def is_pinned(self, index: int) -> bool:
        """Say whether somebody waits for a chunk."""
        return index in self._pins

    # What a store does.

    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        """Keep verified chunks themselves; forget those not read for longest."""
        for index, data in items:
            check_length(self.chunks, index, data)
            if self.have.add(index):
                self._kept[index] = data
                self._size += len(data)
                self._shrink()

    def get(self, index: int) -> bytes:
        """Return a copy of a chunk; raise `KeyError` when it is not there."""
        return bytes(self._kept[index])

    def get_now(self, index: int) -> bytes | None:
        """Return a copy of a chunk; raise `KeyError` when it is not there."""
        return self.get(index)

    def _shrink(self) -> None:
        """Forget chunks that nobody waits for, but never the newest."""
        while self._size > self._limit and len(self._kept) > 1:
            index = next((i for i in self._kept if i not in self._pins), None)
            if index is None or index == next(reversed(self._kept)):
                return
            self._size -= len(self._kept.pop(index))
            self.have.discard(index)
            self._on_forgotten(index)
