"""Recently read chunks and blocks of a share, in a limited amount of memory.

A random read fetches a few blocks of a chunk, which are kept one by one; once the cache
has all of them, they become a whole chunk. The hashes of blocks take little memory and
are remembered for longer than the blocks.

A reader pins the chunk that it waits for, so that other readers cannot push that chunk
out of the cache before it has read it.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence

from shoal.core.manifest.blocks import BLOCK_SIZE, BlockHashes, Run, block_count
from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.wire.framing import LARGE_FRAME
from shoal.storage.disk.disk import Data
from shoal.storage.store import DownloadStore, check_length

__all__ = ["CACHE_SIZE", "ChunkCache"]

CACHE_SIZE = 64 * 1024 * 1024  # bytes
MAX_PEEKED = 256  # chunks that were read in other threads, of which a note is kept
_NO_PARTS: dict[int, Data] = {}
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
        # The chunks, least recently read first; None for those in `_parts`.
        self._cached: OrderedDict[int, Data | None] = OrderedDict()
        self.block_hashes = BlockHashes()
        """The hashes of the blocks of the chunks that were read last."""
        self._parts: dict[int, dict[int, Data]] = {}  # blocks of incomplete chunks
        self._pins: dict[int, int] = {}
        self._peeked: deque[int] = deque(maxlen=MAX_PEEKED)
        self._on_forgotten = on_forgotten

    def look(self, index: int) -> Data | None:
        """Return a chunk and mark it as read; None if it is not in the cache."""
        data = self._cached.get(index)
        if data is not None:
            self._cached.move_to_end(index)
        return data

    def peek(self, index: int, block: int) -> tuple[int, Data] | None:
        """Return a chunk and 0, or a block and its offset in the chunk; or None.

        Thread-safe: it changes nothing but a note that this was read.
        """
        data, offset = self._cached.get(index), 0
        if data is None:
            data = self._parts.get(index, _NO_PARTS).get(block)
            offset = block * BLOCK_SIZE
        if data is None:
            return None
        self._peeked.append(index)
        return offset, data

    def pin(self, index: int) -> None:
        """Keep a chunk, now or when it arrives, until as many calls of `unpin`."""
        self._pins[index] = self._pins.get(index, 0) + 1

    def unpin(self, index: int) -> None:
        """Undo one call of `pin`; what was kept for it may be removed now."""
        pins = self._pins.pop(index) - 1
        if pins:
            self._pins[index] = pins
        else:
            self._shrink()

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
                self._drop_parts(index)
                self._cached[index] = data
                self._size += len(data)
                self._shrink()

    def get(self, index: int) -> bytes:
        """Return a copy of a chunk; raise `KeyError` if it is not in the cache."""
        data = self._cached[index]
        if data is None:
            raise KeyError(index)
        return bytes(data)

    def get_now(self, index: int) -> bytes | None:
        """Return a copy of a chunk; raise `KeyError` if it is not in the cache."""
        return self.get(index)

    # Blocks of chunks that are not complete.

    def look_block(self, index: int, block: int) -> Data | None:
        """Return a block of an incomplete chunk, and mark it as read; or None."""
        data = self._parts.get(index, {}).get(block)
        if data is not None:
            self._cached.move_to_end(index)
        return data

    def missing_in(self, run: Run) -> Iterator[Run]:
        """Yield the parts of a run that are not in the cache."""
        if run.index in self.have:
            return
        parts = self._parts.get(run.index, {})
        start: int | None = None
        for block in run.blocks:
            if block in parts and start is not None:
                yield Run(run.index, start, block - start)
                start = None
            elif block not in parts and start is None:
                start = block
        if start is not None:
            yield Run(run.index, start, run.blocks.stop - start)

    def has_part_of(self, index: int) -> bool:
        """Return True if some blocks of a chunk are in the cache, but not all."""
        return index in self._parts

    def put_blocks(self, run: Run, data: Data) -> None:
        """Store the verified blocks of a run; all blocks together become a chunk.

        Blocks are views of `data`, unless some of them are in the cache already.
        """
        if run.index in self.have:
            return
        view = memoryview(data)
        parts = self._parts.setdefault(run.index, {})
        fresh = [block for block in run.blocks if block not in parts]
        for block in fresh:
            start = (block - run.first) * BLOCK_SIZE
            piece: Data = view[start : start + BLOCK_SIZE]
            if len(fresh) < run.count:
                piece = bytes(piece)  # not to keep all of `data` for a part of it
            parts[block] = piece
            self._size += len(piece)
        self._cached[run.index] = None
        self._cached.move_to_end(run.index)
        count = block_count(self.chunks, run.index)
        if len(parts) == count:
            whole = b"".join(parts[block] for block in range(count))
            self.put(run.index, whole)
        else:
            self._shrink()

    def _drop_parts(self, index: int) -> None:
        self._size -= sum(map(len, self._parts.pop(index, {}).values()))
        self._cached.pop(index, None)

    def _shrink(self) -> None:
        """Remove chunks that are not pinned, but never the newest."""
        if self._size > self._limit:
            self._use_notes()
        while self._size > self._limit and len(self._cached) > 1:
            index = next((i for i in self._cached if i not in self._pins), None)
            if index is None or index == next(reversed(self._cached)):
                return
            data = self._cached[index]
            if data is None:
                self._drop_parts(index)
                continue
            del self._cached[index]
            self._size -= len(data)
            self.have.discard(index)
            self._on_forgotten(index)

    def _use_notes(self) -> None:
        """Mark as read what was peeked at; the newest chunk stays so."""
        newest = next(reversed(self._cached))
        while self._peeked:
            index = self._peeked.popleft()
            if index in self._cached:
                self._cached.move_to_end(index)
        self._cached.move_to_end(newest)
