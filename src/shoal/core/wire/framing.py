"""Frames: a varint length, then that many bytes; what `msgpack5-stream` 1 writes.

`FrameReader` owns the memory that a connection receives into. Bytes land where
they stay: a small frame is handed out as a view of the buffer it arrived in, a
large one takes its buffer with it, so a chunk is never copied between the socket
and the disk. `BufferPool` keeps such buffers for the next chunk.

The length is an unsigned LEB128 of at most four bytes in its shortest form. It
is checked against `limit` before anything is allocated, and memory beyond
`trusted` is only given as bytes really arrive.
"""

from collections.abc import Iterator

from shoal.errors import ProtocolError

__all__ = ["LARGE_FRAME", "BufferPool", "FrameReader", "encode_varint"]

MAX_VARINT_SIZE = 4  # bytes
LARGE_FRAME = 128 * 1024  # bytes; from here on a frame keeps its buffer
MIN_BUFFER = 4 * 1024  # bytes; what an idle connection holds
MAX_BUFFER = 256 * 1024  # bytes; what a connection of small frames grows to
PAGE = 4 * 1024  # bytes; buffers of large frames come in multiples of it
POOL_SIZE = 32 * 1024 * 1024  # bytes kept for reuse


def encode_varint(value: int) -> bytes:
    """Return `value` as an unsigned LEB128 in its shortest form."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class BufferPool:
    """Keep buffers that were used up for the next frame of the same size."""

    def __init__(self, max_size: int = POOL_SIZE) -> None:
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
        """Take back a buffer that nobody reads any more."""
        size = len(buffer)
        if size < LARGE_FRAME:
            return
        if self._kept + size > self._max_size:
            # Sizes change with the share; what is kept of others only costs.
            self._free.clear()
            self._kept = 0
        self._free.setdefault(size, []).append(buffer)
        self._kept += size


class FrameReader:
    """Cut what a peer sends into frames, in place.

    Receive into `get_buffer()`, say how much came with `buffer_updated(n)`, then
    iterate `frames()` to its end before asking for the next buffer.
    """

    def __init__(self, limit: int, pool: BufferPool | None = None) -> None:
        self.limit = limit
        """Longest frame that is accepted, in bytes; may change at any frame."""
        self.trusted = LARGE_FRAME
        """Up to this many bytes are allocated for a frame before they arrive."""
        self.pool = pool or BufferPool()
        self._buffer = bytearray(MIN_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = 0  # of the first frame not handed out
        self._end = 0  # of what was received
        self._want = 0  # bytes of the frame at _start with its length; 0: unknown
        self._usual = MIN_BUFFER  # what the next buffer should hold

    @property
    def is_mid_frame(self) -> bool:
        """Say whether the peer has sent a part of a frame and not its end."""
        return self._end > self._start

    @property
    def missing(self) -> int:
        """Return how many bytes of a frame that has begun are still to come."""
        return max(0, self._want - (self._end - self._start))

    @property
    def pending(self) -> memoryview:
        """Return what was received and not handed out, from a frame's start on."""
        return self._view[self._start : self._end]

    def skip(self, size: int) -> None:
        """Take whole frames of together `size` bytes as handed out."""
        if size:
            self._start += size
            self._want = 0

    def get_buffer(self) -> memoryview:
        """Return where to receive the next bytes; never empty."""
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
        """Say whether what is pending should move to the buffer's front."""
        size = len(self._buffer)
        needed = self._start + max(self._want, pending + 1)
        # Half-empty reads cost a system call each; a short move costs nothing.
        return needed > size or (self._start > size // 2 and pending < size // 4)

    def _next_size(self, pending: int) -> int:
        if self._want <= max(self.trusted, self._usual):
            return max(self._want, self._usual)
        # Someone announced a lot: believe it only as fast as it arrives.
        return min(self._want, max(2 * pending, self.trusted))

    def _move(self, target: bytearray, pending: int) -> None:
        """Go on in `target`, with what is pending at its front."""
        view = memoryview(target)
        view[:pending] = self._view[self._start : self._end]
        self._buffer, self._view = target, view
        self._start, self._end = 0, pending

    def buffer_updated(self, received: int) -> None:
        """Note that `received` bytes were put into the buffer."""
        self._end += received
        if self._end == len(self._buffer) and self._usual < MAX_BUFFER:
            self._usual = min(2 * len(self._buffer), MAX_BUFFER)

    def frames(self) -> Iterator[memoryview]:
        """Yield every frame that is complete.

        A frame shorter than `LARGE_FRAME` may be read until the next
        `get_buffer()`. A longer one stays as it is for as long as it is wanted;
        its `.obj` may then be given back to the pool.
        Raises `ProtocolError` when a length is malformed or over the limit.
        """
        while True:
            body = self._read_length()
            if not body or self._end < self._start + self._want:
                return
            begin, end = self._start + body, self._start + self._want
            self._start, self._want = end, 0
            frame = self._view[begin:end]
            if end - begin >= LARGE_FRAME:
                self._part_with_buffer(end - begin + body)
            yield frame

    def _part_with_buffer(self, size: int) -> None:
        """Leave the buffer to the frame in it; keep what came after."""
        pending = self._end - self._start
        # The next frame probably has this size; with its buffer just as long,
        # nothing of the one after it comes along and has to be moved.
        self._usual = -(-size // PAGE) * PAGE
        self._move(self.pool.take(max(MIN_BUFFER, pending)), pending)

    def _read_length(self) -> int:
        """Set `_want` from the frame's length; return how many bytes that took.

        Returns 0 when the length has not arrived as a whole.
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
