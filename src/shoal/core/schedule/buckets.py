"""Keep a set of chunks, each with a level, and choose one of the lowest level; pure."""

import re
from array import array
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain, islice
from random import Random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from shoal.core.manifest.chunks import Bitfield

__all__ = ["SLICE", "Buckets"]

PROBES = 8  # random tries in a level, before all chunks are searched
SPARE = 64  # chunks of a list that may have left its level
SPARSE = 32  # chunks for each one of a level, above which the level is listed
QUICK_LIST = 16_384  # chunks of a share, up to which a level is always listed
TRIES = 4  # random chunks that are tried, before the next one of a level is searched
MAX_LOOKS = 4096  # chunks of a level searched for one
MAX_CANDIDATES = 256  # chunks returned by one search
SLICE = 32 * 1024  # bytes of a bitfield that are added to levels together
_ORDER: Literal["little", "big"] = "little" if array("H", [1]).tobytes()[0] else "big"
_NOT_EMPTY = re.compile(rb"[^\x00]")


class Buckets:
    """Hold a set of chunks, out of `count`, each with a level from 0 up.

    Chunks outside the set have a level, too. The set is a bitfield for each level.
    Moving one chunk to another level, removing one and picking a random one of the
    lowest level take about constant time. Moving all chunks of a peer takes a few
    operations on whole bitfields, and no Python code for each chunk.
    """

    def __init__(self, count: int, members: "Bitfield | None" = None) -> None:
        """Begin with the set `members`, all at level 0."""
        held = bytes(members) if members is not None else bytes(-(-count // 8))
        self._count = count
        self._level = array("H", bytes(2 * count))
        self._bits = bytearray(held)  # the set, as in a Bitfield
        # The part of the set at each level; it may be empty where there is none.
        self._at = [bytearray(self._bits)]
        self._size = len(members) if members is not None else 0
        self._sizes = [self._size]
        # All chunks of a level, and some that have left it since, to choose from.
        self._listed: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return self._size

    def __contains__(self, index: int) -> bool:
        return self._bits[index >> 3] & (0x80 >> (index & 7)) != 0

    def level(self, index: int) -> int:
        """Return the level of a chunk, in the set or not."""
        return self._level[index]

    def size_of(self, level: int) -> int:
        """Return how many chunks of the set have this level."""
        return self._sizes[level] if level < len(self._sizes) else 0

    def one_of(self, level: int) -> int | None:
        """Return a chunk of the set that has this level, or None."""
        if not self.size_of(level):
            return None
        return next(_indexes(self._at[level], 0))

    def add(self, index: int) -> None:
        """Add a chunk to the set, unless it is in it."""
        byte, mask = index >> 3, 0x80 >> (index & 7)
        if not self._bits[byte] & mask:
            self._bits[byte] |= mask
            self._size += 1
            self._enter(self._level[index], index)

    def discard(self, index: int) -> None:
        """Remove a chunk from the set, if it is in it."""
        byte, mask = index >> 3, 0x80 >> (index & 7)
        if self._bits[byte] & mask:
            self._bits[byte] &= ~mask
            self._size -= 1
            self._leave(self._level[index], index)

    def shift(self, index: int, change: int) -> None:
        """Change the level of a chunk by `change`."""
        level = self._level[index]
        self._level[index] = level + change
        if index in self:
            self._leave(level, index)
            self._enter(level + change, index)

    def shift_all(self, chunks: "Bitfield", change: int) -> None:
        """Change the levels of all these chunks by `change`, which is 1 or -1."""
        if chunks.count:
            self.shift_part(slice(0, len(self._bits)), bytes(chunks), change)

    def shift_part(self, part: slice, chunks: bytes, change: int) -> None:
        """Change the levels of the chunks whose bits are those of a part of the set."""
        _add_lanes(self._level, part.start, chunks, change)
        bits = int.from_bytes(chunks, "big")
        levels = range(len(self._sizes))
        # The chunks that move to the next level from the one before it, and how many.
        coming, number = 0, 0
        for level in levels if change > 0 else reversed(levels):
            if coming or self._sizes[level]:
                coming, number = self._exchange(level, part, bits, coming, number)
        if coming and change > 0:
            self._grow(len(levels))
            self._exchange(len(levels), part, 0, coming, number)

    def _exchange(
        self, level: int, part: slice, leaving: int, coming: int, number: int
    ) -> tuple[int, int]:
        """Take chunks out of one level and add a number of others.

        Returns those taken out, and their number. Each level is read and written once,
        however many levels there are.
        """
        at = self._at[level]
        here = int.from_bytes(at[part], "big")
        taken = here & leaving
        removed = taken.bit_count()
        if number or removed:
            self._sizes[level] += number - removed
            if not self._sizes[level]:
                self._at[level] = bytearray()
            else:
                if not at:
                    at = self._at[level] = bytearray(len(self._bits))
                # They were not at this level, and those taken out were.
                here ^= taken | coming
                at[part] = here.to_bytes(part.stop - part.start, "big")
        if coming:
            self._listed.pop(level, None)
        return taken, removed

    def _grow(self, level: int) -> None:
        while len(self._sizes) <= level:
            self._sizes.append(0)
            self._at.append(bytearray())

    def _enter(self, level: int, index: int) -> None:
        self._grow(level)
        if not self._at[level]:
            self._at[level] = bytearray(len(self._bits))
        self._at[level][index >> 3] |= 0x80 >> (index & 7)
        self._sizes[level] += 1
        listed = self._listed.get(level)
        if listed is not None:
            listed.append(index)
            if len(listed) > 2 * self._sizes[level] + SPARE:
                del self._listed[level]

    def _leave(self, level: int, index: int) -> None:
        self._at[level][index >> 3] &= ~(0x80 >> (index & 7))
        self._sizes[level] -= 1

    def probe(self, rng: Random, accepts: Callable[[int], bool]) -> int | None:
        """Return a chunk that `accepts`, of about the lowest possible level, or None.

        Only a few random chunks of each level are tried, so None does not mean that
        there is no such chunk; `candidates` finds it then.
        """
        for level, size in enumerate(self._sizes):
            if not size:
                continue
            for index in self._random_ones(level, min(PROBES, size), rng):
                if accepts(index):
                    return index
        return None

    def _random_ones(self, level: int, number: int, rng: Random) -> Iterator[int]:
        """Yield up to `number` random chunks of a level; one may come twice.

        In a level with many chunks, random bits are tried: to list all of its chunks
        takes milliseconds, and each peer that joins would make the list void.
        """
        at, count = self._at[level], self._count
        if count > QUICK_LIST and self._sizes[level] * SPARSE >= count:
            for _ in range(number):
                yield self._random_one(at, rng)
            return
        listed = self._listing(level)
        while number:
            place = int(rng.random() * len(listed))
            index = listed[place]
            if at[index >> 3] & (0x80 >> (index & 7)):
                yield index
                number -= 1
            else:
                listed[place] = listed[-1]  # it has left this level
                listed.pop()

    def _random_one(self, at: bytearray, rng: Random) -> int:
        """Return a random chunk of a level that has many."""
        index = 0
        for _ in range(TRIES):
            index = int(rng.random() * self._count)
            if at[index >> 3] & (0x80 >> (index & 7)):
                return index
        return next(_indexes(at, index >> 3))

    def _listing(self, level: int) -> list[int]:
        """Return the list for a level, of which at least half are still there."""
        listed, size = self._listed.get(level), self._sizes[level]
        if listed is None or len(listed) > 2 * size + SPARE:
            listed = self._listed[level] = list(_indexes(self._at[level], 0))
        return listed

    def find(
        self, rng: Random, accepts: Callable[[int], bool], *, is_seen: bool
    ) -> int | None:
        """Return a chunk of level 0 that `accepts`, or None, after a limited search.

        With `is_seen`, search the other levels too. The search of each level begins at
        a random chunk.
        """
        start = int(rng.random() * len(self._bits))
        for at in self._at if is_seen else self._at[:1]:
            index = next(filter(accepts, islice(_indexes(at, start), MAX_LOOKS)), None)
            if index is not None:
                return index
        return None

    def has_any_in(self, indexes: range) -> bool:
        """Return True if one of these adjacent chunks is in the set."""
        first, end = -(-indexes.start // 8), indexes.stop // 8
        if first >= end:
            return any(index in self for index in indexes)
        edges = (*range(indexes.start, first * 8), *range(end * 8, indexes.stop))
        is_inside = _NOT_EMPTY.search(self._bits, first, end) is not None
        return is_inside or any(index in self for index in edges)

    def has_any(self, chunks: "Bitfield") -> bool:
        """Return True if one of these chunks is in the set."""
        bits = int.from_bytes(bytes(chunks), "big")
        return bits & int.from_bytes(self._bits, "big") != 0

    def candidates(self, rng: Random, among: bytes, at: int = 0) -> list[int]:
        """Return chunks of the set that are in part of a bitfield, `among`.

        The part begins with byte `at`. There are at most `MAX_CANDIDATES` of them, one
        of the lowest level last.
        """
        size = len(among)
        both = int.from_bytes(among, "big")
        both &= int.from_bytes(self._bits[at : at + size], "big")
        indexes = _indexes(both.to_bytes(size, "big"), int(rng.random() * size))
        found = [8 * at + index for index in islice(indexes, MAX_CANDIDATES)]
        rng.shuffle(found)
        found.sort(key=self._level.__getitem__, reverse=True)
        return found


def _indexes(bits: bytes | bytearray, start: int) -> Iterator[int]:
    """Yield the indexes in a bitfield that may be nearly empty.

    They begin at the byte `start`; with a random one, the first few are not always the
    same.
    """
    for match in chain(
        _NOT_EMPTY.finditer(bits, start), _NOT_EMPTY.finditer(bits, 0, start)
    ):
        byte = bits[match.start()]
        while byte:
            bit = 8 - byte.bit_length()
            yield match.start() * 8 + bit
            byte &= ~(0x80 >> bit)


def _add_lanes(levels: "array[int]", at: int, bits: bytes, change: int) -> None:
    """Change 16-bit levels by 1 or -1 for each chunk in part of a bitfield.

    The part begins with byte `at`.
    Those of a slice are added as one number. No level is negative or reaches 65,536, so
    nothing is carried from one to the next. A slice limits the memory, which is a
    hundred times that of its bits.
    """
    for begin in range(0, len(bits), SLICE):
        part = bits[begin : begin + SLICE]
        if part.count(0) == len(part):
            continue
        start = at + begin
        lanes = levels[8 * start : 8 * (start + SLICE)]
        size = lanes.itemsize * len(lanes)
        number = int.from_bytes(lanes, _ORDER)
        number += change * int.from_bytes(_spread(part)[:size], _ORDER)
        changed = array("H", number.to_bytes(size, _ORDER))
        levels[8 * start : 8 * start + len(lanes)] = changed


def _spread(bits: bytes) -> bytes:
    """Return the bits of a bitfield as 16-bit numbers."""
    return b"".join(map(_spread_bytes().__getitem__, bits))


@cache
def _spread_bytes() -> list[bytes]:
    """Return for each value of a byte its bits as eight 16-bit numbers."""
    return [
        array("H", [byte >> 7 - bit & 1 for bit in range(8)]).tobytes()
        for byte in range(256)
    ]
