"""Cut a byte string into chunks, and record which of them a node has; pure.

All chunks have the same size, but the last may be shorter. An empty byte string has no
chunk.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from shoal.errors import UsageError

__all__ = ["MAX_CHUNK_SIZE", "Bitfield", "Chunks", "check_chunk_size", "check_index"]

MAX_CHUNK_SIZE = 16 * 1024 * 1024  # bytes


class Chunks(Struct, frozen=True):
    """Describe how a byte string is cut."""

    size: int
    """Bytes in all."""
    chunk_size: int
    """Bytes in every chunk but the last."""

    @property
    def count(self) -> int:
        """Return how many chunks there are."""
        return -(-self.size // self.chunk_size)

    def offset(self, index: int) -> int:
        """Return the offset of chunk `index` in bytes."""
        return index * self.chunk_size

    def length(self, index: int) -> int:
        """Return how many bytes chunk `index` has."""
        return min(self.chunk_size, self.size - index * self.chunk_size)

    def size_of(self, number: int) -> int:
        """Return the bytes in a number of chunks: exact for all, else of full ones."""
        return min(number * self.chunk_size, self.size)

    def covering(self, first: int, end: int) -> range:
        """Return the indexes of the chunks that hold bytes `first` to `end - 1`."""
        first, end = max(first, 0), min(end, self.size)
        if first >= end:
            return range(0)
        return range(first // self.chunk_size, -(-end // self.chunk_size))


def check_chunk_size(chunk_size: int) -> None:
    """Raise `UsageError` unless chunks of an open channel may have that many bytes."""
    if not 1 <= chunk_size <= MAX_CHUNK_SIZE:
        raise UsageError(
            f"A chunk cannot have {chunk_size} B; choose 1 to {MAX_CHUNK_SIZE} B."
        )


def check_index(index: int, count: int) -> None:
    """Raise `UsageError`, which names the range, unless chunk `index` exists."""
    if not count:
        raise UsageError("This share is empty, so it has no chunk to request.")
    if not 0 <= index < count:
        raise UsageError(
            f"There is no chunk {index}; request one from 0 to {count - 1}."
        )


class Bitfield:
    """Record which of `size` chunks a node has.

    Chunk 0 is the top bit of the first byte, and spare bits of the last byte are zero,
    as in BEP 3 and in docs/protocol.md, "Sealed messages".
    """

    __slots__ = ("_bits", "count", "size")

    def __init__(self, count: int) -> None:
        self.size = count
        """How many chunks there are."""
        self.count = 0
        """How many of them the node has."""
        self._bits = bytearray(-(-count // 8))

    @classmethod
    def full(cls, count: int) -> "Bitfield":
        """Return a bitfield with all of `count` chunks."""
        whole = cls(count)
        whole._bits = bytearray(b"\xff" * (count // 8))
        if count % 8:
            whole._bits.append(0xFF << (8 - count % 8) & 0xFF)
        whole.count = count
        return whole

    @classmethod
    def from_bytes(cls, data: bytes, count: int) -> "Bitfield":
        """Return the bitfield of `count` chunks whose `bytes()` are `data`.

        Raises `ValueError` if the length is wrong or a spare bit is set.
        """
        if len(data) != -(-count // 8):
            raise ValueError(f"{len(data)} bytes cannot be a bitfield of {count}")
        if count % 8 and data[-1] & (0xFF >> count % 8):
            raise ValueError("a spare bit of the bitfield is set")
        field = cls(count)
        field._bits[:] = data
        field.count = int.from_bytes(data, "big").bit_count()
        return field

    @classmethod
    def of(cls, indexes: Iterable[int], count: int) -> "Bitfield":
        """Return a bitfield of `count` chunks with these."""
        field = cls(count)
        for index in indexes:
            field.add(index)
        return field

    def copy(self) -> "Bitfield":
        """Return a bitfield with the same chunks."""
        return self._with(self._bits, self.count)

    def without(self, other: "Bitfield") -> "Bitfield":
        """Return the chunks that are here and not in `other`, of the same size."""
        bits = self._number & ~other._number
        return self._with(bits.to_bytes(len(self._bits), "big"), bits.bit_count())

    def add_all(self, other: "Bitfield") -> None:
        """Add the chunks in `other`, of the same size."""
        bits = self._number | other._number
        self._bits[:] = bits.to_bytes(len(self._bits), "big")
        self.count = bits.bit_count()

    def add_runs(self, runs: Iterable[tuple[int, int]]) -> "Bitfield":
        """Add runs, each a first chunk and a number; return those that were not in it.

        The cost for each chunk is that of a memory copy. Raises `IndexError`.
        """
        named = Bitfield(self.size)
        for first, number in runs:
            if first < 0 or number < 0 or first + number > self.size:
                raise IndexError(first + number)
            start, stop = first // 8, -(-(first + number) // 8)
            bits = (1 << number) - 1 << stop * 8 - first - number
            bits |= int.from_bytes(named._bits[start:stop], "big")
            named._bits[start:stop] = bits.to_bytes(stop - start, "big")
        fresh = named.without(self)
        self.add_all(fresh)
        return fresh

    @property
    def _number(self) -> int:
        return int.from_bytes(self._bits, "big")

    def _with(self, bits: bytes | bytearray, number: int) -> "Bitfield":
        field = Bitfield(self.size)
        field.count, field._bits = number, bytearray(bits)
        return field

    def add(self, index: int) -> bool:
        """Add chunk `index`; return True if it was not in the bitfield."""
        if not 0 <= index < self.size:
            raise IndexError(index)
        mask = 0x80 >> (index & 7)
        if self._bits[index >> 3] & mask:
            return False
        self._bits[index >> 3] |= mask
        self.count += 1
        return True

    def add_run(self, first: int, number: int) -> list[int]:
        """Add `number` chunks from `first` on; return those that were not in it.

        Chunks that were in it cost one look for each eight.
        """
        fresh: list[int] = []
        index, end = first, first + number
        while index < end:
            if not index & 7 and index < self.size and self._bits[index >> 3] == 0xFF:
                index += 8
                continue
            if self.add(index):
                fresh.append(index)
            index += 1
        return fresh

    def discard(self, index: int) -> bool:
        """Remove chunk `index`; return True if it was in the bitfield."""
        if index not in self:
            return False
        self._bits[index >> 3] &= ~(0x80 >> (index & 7))
        self.count -= 1
        return True

    def __contains__(self, index: int) -> bool:
        return (
            0 <= index < self.size
            and self._bits[index >> 3] & (0x80 >> (index & 7)) != 0
        )

    def number_in(self, first: int, end: int) -> int:
        """Return how many of the chunks `first` to `end - 1` are in the bitfield."""
        first, end = max(first, 0), min(end, self.size)
        if first >= end:
            return 0
        stop = -(-end // 8)
        bits = int.from_bytes(self._bits[first // 8 : stop], "big")
        bits >>= stop * 8 - end
        return (bits & (1 << (end - first)) - 1).bit_count()

    def __iter__(self) -> Iterator[int]:
        """Yield the indexes in the bitfield, ascending."""
        return self._indexes(0)

    def missing(self) -> Iterator[int]:
        """Yield the indexes that are not in the bitfield, ascending."""
        return self._indexes(0xFF)

    def _indexes(self, flip: int) -> Iterator[int]:
        for position, byte in enumerate(bytes(self._bits)):
            byte ^= flip
            while byte:
                bit = 7 - (byte.bit_length() - 1)
                index = position * 8 + bit
                if index < self.size:  # not a spare bit
                    yield index
                byte &= ~(0x80 >> bit)

    @property
    def is_complete(self) -> bool:
        """Return True if every chunk is in the bitfield."""
        return self.count == self.size

    def __len__(self) -> int:
        return self.count

    def __bytes__(self) -> bytes:
        return bytes(self._bits)

    def part(self, part: slice) -> bytes:
        """Return some bytes of `bytes(self)`, without copying all."""
        return bytes(self._bits[part])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bitfield):
            return NotImplemented
        return self.size == other.size and self._bits == other._bits

    def __hash__(self) -> int:
        raise TypeError("a Bitfield changes, so it cannot be a key")

    def __repr__(self) -> str:
        return f"<Bitfield {self.count} of {self.size}>"
