"""Cut the bytes from a peer into frames; pure.

A frame is the varint length of its body, then the body: docs/protocol.md, "Frames".
`FrameReader` owns the memory that a connection receives into. A small frame is handed
out as a view of that memory. A large frame takes its buffer along, so that a chunk is
never copied between the socket and the disk; `BufferPool` keeps such buffers for the
next chunk.

The length of a frame is an unsigned LEB128 of at most four bytes in its shortest form.
It is checked against `limit` before any memory is allocated, and more than `trusted`
bytes are only allocated as the bytes arrive.
"""

from collections.abc import Iterator

from shoal.errors import ProtocolError

__all__ = ["LARGE_FRAME", "BufferPool", "FrameReader"]

MAX_VARINT_SIZE = 4  # bytes
LARGE_FRAME = 128 * 1024  # bytes; a frame of this size or more keeps its buffer
MIN_BUFFER = 4 * 1024  # bytes; the buffer of an idle connection
MAX_BUFFER = 256 * 1024  # bytes; the largest buffer for small frames
PAGE = 4 * 1024  # bytes; buffers of large frames are multiples of it
POOL_SIZE = 32 * 1024 * 1024  # bytes kept for reuse


class BufferPool:
    """Keep used buffers for the next frame of the same size."""

    def __init__(self, max_size: int = POOL_SIZE) -> None:
        """Start empty; keep at most `max_size` bytes."""
        self._free: dict[int, list[bytearray]] = {}
        self._kept = 0
        self._max_size = max_size

    def take(self, size: int) -> bytearray:
        """Return a buffer of at least `size` bytes with arbitrary content."""
        size = -(-size // PAGE) * PAGE
        kept = self._free.get(size)
        if kept:
            self._kept -= size
            return kept.pop()
        return bytearray(size)

    def give(self, buffer: bytearray) -> None:
        """Keep a buffer that no one reads any more."""
        size = len(buffer)
        if size < LARGE_FRAME:
            return
        if self._kept + size > self._max_size:
            # The sizes change with the share, so those of others are only a burden.
            self.clear()
        self._free.setdefault(size, []).append(buffer)
        self._kept += size

    def clear(self) -> None:
        """Keep no buffer."""
        self._free.clear()
        self._kept = 0


class FrameReader:
    """Cut bytes into frames where they were received.

    Receive into `get_buffer()`, report the number of bytes to `buffer_updated(n)`, then
    iterate over all `frames()` before the next `get_buffer()`.
    """

    def __init__(self, limit: int, pool: BufferPool | None = None) -> None:
        """Accept frames of at most `limit` bytes; take large buffers from `pool`."""
        self.limit = limit
        """Longest frame that is accepted, in bytes; may change between frames."""
        self.trusted = LARGE_FRAME
        """How many bytes may be allocated for a frame before they arrive."""
        self.pool = pool or BufferPool()
        self._buffer = bytearray(MIN_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = 0  # of the first frame that was not handed out
        self._end = 0  # of the received bytes
        self._want = 0  # bytes of the frame at _start with its length; 0: unknown
        self._is_data = False  # they are data without a length in front
        self._usual = MIN_BUFFER  # size of the next buffer

    @property
    def is_mid_frame(self) -> bool:
        """Return True if the beginning of a frame was received, but not all of it."""
        return self._end > self._start

    @property
    def missing(self) -> int:
        """Return how many bytes of a frame that has begun are still missing."""
        return max(0, self._want - (self._end - self._start))

    @property
    def pending(self) -> memoryview:
        """Return the received bytes that were not handed out, from a frame's start."""
        return self._view[self._start : self._end]

    def expect_data(self, size: int) -> None:
        """Yield the next `size` bytes as they are, without a length in front."""
        self._want, self._is_data = size, True

    def discard(self) -> None:
        """Drop all received bytes, and expect a frame."""
        self._start, self._want, self._is_data = self._end, 0, False

    def skip(self, size: int) -> None:
        """Count whole frames of `size` bytes together as handed out."""
        if size:
            self._start += size
            self._want = 0

    def get_buffer(self) -> memoryview:
        """Return the memory to receive the next bytes into; never empty."""
        pending = self._end - self._start
        if not pending:
            self._start = self._end = 0
        size = self._next_size(pending)
        if size > len(self._buffer):
            self._move(self.pool.take(size), pending)
        elif self._is_short_of_room(pending):
            self._move(self._buffer, pending)
        return self._view[self._end :]

    def _is_short_of_room(self, pending: int) -> bool:
        """Return True if the pending bytes should move to the buffer's front."""
        size = len(self._buffer)
        needed = self._start + max(self._want, pending + 1)
        # Each small read costs a system call; to move few bytes costs almost nothing.
        return needed > size or (self._start > size // 2 and pending < size // 4)

    def _next_size(self, pending: int) -> int:
        if self._want <= max(self.trusted, self._usual):
            return max(self._want, self._usual)
        # A peer announced a long frame: allocate only as fast as it arrives.
        return min(self._want, max(2 * pending, self.trusted))

    def _move(self, target: bytearray, pending: int) -> None:
        """Use `target` as the buffer, with the pending bytes at its front."""
        view = memoryview(target)
        view[:pending] = self._view[self._start : self._end]
        self._buffer, self._view = target, view
        self._start, self._end = 0, pending

    def buffer_updated(self, received: int) -> None:
        """Note that `received` bytes were written to the buffer."""
        self._end += received
        # Of messages that were decrypted, the next one may not have fitted any more.
        if 2 * self._end > len(self._buffer) and self._usual < MAX_BUFFER:
            self._usual = min(2 * len(self._buffer), MAX_BUFFER)

    def frames(self) -> Iterator[memoryview]:
        """Yield the body of every complete frame.

        A frame shorter than `LARGE_FRAME` is valid until the next `get_buffer()`. A
        longer one stays unchanged as long as it is referenced; its `.obj` may be given
        to the pool afterwards.
        Raises `ProtocolError` when a length is malformed or exceeds the limit.
        """
        while True:
            body = 0 if self._is_data else self._read_length()
            if not self._want or self._end < self._start + self._want:
                return
            begin, end = self._start + body, self._start + self._want
            self._start, self._want, self._is_data = end, 0, False
            frame = self._view[begin:end]
            if end - begin >= LARGE_FRAME:
                self._part_with_buffer(end - begin + body)
            yield frame

    def _part_with_buffer(self, size: int) -> None:
        """Leave the buffer to the frame in it; keep the bytes after that."""
        pending = self._end - self._start
        # The next frame probably has the same size. In a buffer of just that size, no
        # bytes of a later frame have to be moved.
        self._usual = -(-size // PAGE) * PAGE
        self._move(self.pool.take(max(MIN_BUFFER, pending)), pending)

    def _read_length(self) -> int:
        """Set `_want` from the frame's length; return how many bytes that takes.

        Returns 0 if not all bytes of the length have arrived.
        """
        start, end, view = self._start, self._end, self._view
        length = 0
        for position in range(start, min(end, start + MAX_VARINT_SIZE)):
            byte = view[position]
            length |= (byte & 0x7F) << 7 * (position - start)
            if byte < 0x80:
                used = position - start + 1
                if not byte and used > 1:
                    raise ProtocolError("a frame's length is not in its shortest form")
                if not 1 <= length <= self.limit:
                    raise ProtocolError(
                        f"a frame of {length} bytes; {self.limit} are allowed"
                    )
                self._want = used + length
                return used
        if end - start >= MAX_VARINT_SIZE:
            raise ProtocolError(f"a frame's length of over {MAX_VARINT_SIZE} bytes")
        return 0
