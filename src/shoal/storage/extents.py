"""Map the bytes of a share to its files.

A share is one string of bytes: its files one after the other, in order. A share that
is a single file has one extent. This is arithmetic only. `layout` decides where a
download writes the bytes, and `shared_files` reads them from shared files.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeAlias

__all__ = ["Extents", "FileRange", "part_of"]

FileRange: TypeAlias = tuple[int, int, int]
"""The number of a file, a length in bytes, and the offset in the file."""


class Extents:
    """Map ranges of a share's bytes to its files."""

    def __init__(self, sizes: Iterable[int]) -> None:
        # Eight bytes for each, as a share may have millions of files.
        self.sizes: Sequence[int] = array("Q", sizes)
        """Of the files, in bytes."""
        self._ends = array("Q", accumulate(self.sizes))

    @property
    def total(self) -> int:
        """Return the size of the share in bytes."""
        return self._ends[-1] if self._ends else 0

    def start(self, number: int) -> int:
        """Return the offset in the share at which file `number` begins."""
        return self._ends[number] - self.sizes[number]

    def cover(self, first: int, end: int) -> list[FileRange]:
        """Return the file ranges that make up bytes `first` to `end - 1`.

        Empty files are left out.
        """
        ends = self._ends
        number = bisect_right(ends, first)
        ranges: list[FileRange] = []
        start = ends[number] - self.sizes[number] if first < end else 0
        while first < end:
            stop = ends[number]
            after = stop if stop < end else end
            if first < after:
                ranges.append((number, after - first, first - start))
            first = start = stop
            number += 1
        return ranges


def part_of(ranges: Iterable[FileRange], first: int, end: int) -> Iterator[FileRange]:
    """Yield the file ranges of bytes `first` to `end - 1` of all `ranges` together."""
    start = 0
    for number, size, offset in ranges:
        after, before = max(first - start, 0), min(end - start, size)
        if after < before:
            yield number, before - after, offset + after
        start += size
