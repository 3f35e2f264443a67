"""Which bytes of a share are in which of its files.

A share is one byte string: its files one after the other, in their order. A single
file is the case of one extent. This is arithmetic only; `layout` says where a
download puts the bytes, `source` reads them from what is shared.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple, TypeAlias

__all__ = ["Extents", "FileEntry", "Span"]

Span: TypeAlias = tuple[int, int, int]
"""The number of a file, how many bytes, and where in that file they begin."""


class FileEntry(NamedTuple):
    """Say what is known of one file of a folder before any of it is there."""

    path: str
    """Relative to the folder, with `/` between the names."""
    size: int
    """In bytes."""
    executable: bool = False


class Extents:
    """Map ranges of one byte string to the files it is made of."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self.sizes = list(sizes)
        """Of the files, in bytes."""
        self._ends = list(accumulate(self.sizes))

    @property
    def total(self) -> int:
        """Return how many bytes there are in all."""
        return self._ends[-1] if self._ends else 0

    def start(self, number: int) -> int:
        """Return where file `number` begins in the byte string."""
        return self._ends[number] - self.sizes[number]

    def cover(self, first: int, end: int) -> Iterator[Span]:
        """Yield what bytes `first` to `end - 1` are made of; empty files never are."""
        number = bisect_right(self._ends, first)
        while first < end:
            size = min(end, self._ends[number]) - first
            if size:
                yield number, size, first - self.start(number)
            first += size
            number += 1
