"""Which bytes of a share are in which of its files.

A share is one byte string: its files one after the other, in their order. A single
file is the case of one extent. This is arithmetic only; `layout` says where a
download puts the bytes, `source` reads them from what is shared.
"""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple, Protocol, TypeAlias

__all__ = ["Extents", "FileEntry", "FileInfo", "FileRange"]

FileRange: TypeAlias = tuple[int, int, int]
"""The number of a file, how many bytes, and where in that file they begin."""


class FileInfo(Protocol):
    """Be known before any of its bytes are there: a file of a folder."""

    @property
    def path(self) -> str:
        """Return its path relative to the folder, with `/` between the names."""

    @property
    def size(self) -> int:
        """Return its size in bytes."""

    @property
    def executable(self) -> bool:
        """Say whether it is executable at its origin."""


class FileEntry(NamedTuple):
    """Describe a file; `FileInfo` says what that means."""

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

    def cover(self, first: int, end: int) -> list[FileRange]:
        """Return what bytes `first` to `end - 1` are made of; empty files never are."""
        ends = self._ends
        number = bisect_right(ends, first)
        spans: list[FileRange] = []
        start = ends[number] - self.sizes[number] if first < end else 0
        while first < end:
            stop = ends[number]
            after = stop if stop < end else end
            if first < after:
                spans.append((number, after - first, first - start))
            first = start = stop
            number += 1
        return spans
