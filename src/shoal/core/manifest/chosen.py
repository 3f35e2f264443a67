"""Some files of a share, chosen by the user, in place of all files; pure.

The bytes between the chosen files count as files without a name, so that the offsets of
the chosen ones stay right and nothing needs to be known of the others.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from typing import overload

from shoal.core.manifest.collisions import problem_of_all
from shoal.core.manifest.file_table import FileTable
from shoal.core.manifest.file_tree import File
from shoal.errors import bad_link

__all__ = ["ChosenFiles", "PathRange"]

PathRange = tuple[str, str | None]
"""The first path, and the path before which a range ends; None for no end."""

_BATCH = 1000  # paths that are checked together


class ChosenFiles(Sequence[File]):
    """List the chosen files, and as files without a name the bytes between them."""

    def __init__(self, table: FileTable, size: int) -> None:
        """Start with none of the files of a share of `size` bytes."""
        self.selected = array("Q")
        """The places of the chosen files in this sequence, ascending."""
        self._table = table
        self._size = size
        self._numbers = array("q")  # of each file in the table; -1 for a gap
        self._starts = array("Q")  # the offset of each
        self._name: str | None = None  # of the one file, in place of its path

    @classmethod
    def choose(
        cls,
        table: FileTable,
        size: int,
        ranges: Iterable[PathRange],
        selects: Callable[[str], bool],
    ) -> "ChosenFiles":
        """Choose the files in these ranges of paths for which `selects` is True.

        Raises `LookupError` if a page with paths of these ranges has not arrived, and
        `ManifestError` if the chosen paths cannot be in one folder.
        """
        chosen = cls(table, size)
        end = 0
        for start, stop in _merged(ranges):
            found = table.between(start, stop)
            for number, file in enumerate(found, found.first):
                if selects(file.path):
                    end = chosen._add(number, file, end)
        if end < size:
            chosen._numbers.append(-1)
            chosen._starts.append(end)
        problem = problem_of_all(chosen._paths)
        if problem is not None:
            raise bad_link(problem)
        return chosen

    @classmethod
    def choose_one(cls, table: FileTable, size: int, path: str) -> "ChosenFiles":
        """Choose the file with this path, if there is one; raises as `choose` does."""
        return cls.choose(table, size, [(path, path + "\0")], path.__eq__)

    def as_one(self, name: str) -> "ChosenFiles":
        """Return the same with the path `name` for the file; one must be chosen."""
        renamed = copy(self)
        renamed._name = name
        return renamed

    def _add(self, number: int, file: File, end: int) -> int:
        if file.offset > end:
            self._numbers.append(-1)
            self._starts.append(end)
        self.selected.append(len(self._numbers))
        self._numbers.append(number)
        self._starts.append(file.offset)
        return file.end

    def _paths(self) -> Iterator[Sequence[str]]:
        selected = self.selected
        for start in range(0, len(selected), _BATCH):
            yield [self[place].path for place in selected[start : start + _BATCH]]

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> File: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[File]: ...
    def __getitem__(self, index: int | slice) -> File | Sequence[File]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        index = range(len(self))[index]
        if self._numbers[index] >= 0:
            file = self._table.at(self._numbers[index])
            if self._name is None:
                return file
            return File(self._name, file.size, file.executable, file.offset)
        start = self._starts[index]
        last = index + 1 == len(self)
        end = self._size if last else self._starts[index + 1]
        return File("", end - start, False, start)


def _merged(ranges: Iterable[PathRange]) -> list[PathRange]:
    """Return the same ranges without overlaps, ascending."""
    found: list[PathRange] = []
    for start, stop in sorted(ranges, key=lambda each: each[0]):
        if found and (found[-1][1] is None or start <= found[-1][1]):
            before = found[-1][1]
            end = None if before is None or stop is None else max(before, stop)
            found[-1] = found[-1][0], end
        else:
            found.append((start, stop))
    return found
