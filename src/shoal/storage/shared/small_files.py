"""Read and compare very many small files, many together.

To keep so many files open is impossible and to open one with the checks of `OpenFiles`
takes longer than to read it. So each small file is opened, read whole and closed.
"""

from collections.abc import Iterator, Sequence

from shoal.storage.disk.disk import Disk
from shoal.storage.extents import FileRange
from shoal.storage.shared.scanned import ScannedFiles

__all__ = ["SmallFiles"]

_LARGEST = 64 * 1024  # bytes; larger files are not read whole
_BATCH = 1000  # files whose states are compared together


class SmallFiles:
    """Read the small files of a share that has more files than may be open."""

    def __init__(self, files: ScannedFiles, disk: Disk) -> None:
        """Read from these files."""
        self._files = files
        self._sizes = files.sizes
        self._disk = disk

    def read(
        self, ranges: Sequence[FileRange], *, are_compared: bool
    ) -> dict[int, bytes]:
        """Return all bytes of the small files among those of `ranges`, by number.

        If they `are_compared`, those that are not in their first states are left out.
        """
        sizes = self._sizes
        small = [number for number, _, _ in ranges if sizes[number] <= _LARGEST]
        files = self._files.whole(small, are_compared=are_compared)
        found = self._disk.read_whole(files)
        return {
            number: data
            for number, data in zip(small, found, strict=True)
            if data is not None
        }

    def read_chunk(self, ranges: Sequence[FileRange]) -> bytes | None:
        """Return a chunk of small files, unverified; None if the files are not small.

        To verify such a chunk takes less time than to keep its files open and compare
        their states, and proves more.
        """
        found = self.read(ranges, are_compared=False)
        if len(found) < len(ranges):
            return None
        return b"".join(
            [found[number][offset : offset + size] for number, size, offset in ranges]
        )

    def suspects(self) -> Iterator[int]:
        """Yield the files that are perhaps not in their first states any more."""
        files = self._files
        for start in range(0, len(files), _BATCH):
            end = min(start + _BATCH, len(files))
            found = self._disk.states_at(files.locations(start, end))
            states = zip(found, files.states(start, end), strict=True)
            for number, (now, first) in enumerate(states, start):
                if now is None or not now.is_same_state(first):
                    yield number
