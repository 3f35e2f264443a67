"""Notice that shared files change after they were hashed, and read many small ones.

`FileChanges` compares each file with its state at the time of the scan. Changes that
keep its size and mtime (some made through mmap) are not noticed here; the receiver
verifies each chunk anyway.

To keep very many small files open is impossible, and to open one with the checks of
`OpenFiles` takes longer than to read it. So `SmallFiles` opens each, reads it whole and
closes it; its state is compared together with those of many others.
"""

from collections.abc import Iterable, Iterator, Sequence

from shoal.errors import StoreError
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.system import FileState
from shoal.storage.extents import FileRange
from shoal.storage.shared.scanned import ScannedFile, ScannedFiles

__all__ = ["FileChanges", "SharedFileChangedError", "SmallFiles"]


class SharedFileChangedError(StoreError):
    """A chunk is not sent because its bytes have changed since it was shared."""


class FileChanges:
    """Compare the files of one share, by their numbers, with their first states."""

    def __init__(self, files: Sequence[ScannedFile]) -> None:
        """Start with files that have not changed."""
        self.altered: dict[int, str] = {}
        """How files changed, by number: the one message for all chunks of each."""
        self.first: str | None = None
        """The first change, as a sentence for the user; None if there was none."""
        self._files = files
        self._last: dict[int, FileState] = {}  # when last compared, if since the scan

    def compare(self, number: int, now: FileState) -> bool:
        """Note whether a file has changed, by its present state.

        Returns True if its bytes may have changed in place: it must be verified again.
        """
        if number in self.altered:
            return False
        file = self._files[number]
        if not now.is_same_state(file.state):
            change = "truncated" if now.size < file.size else "changed"
            self._note(number, f"was {change} since it was shared")
            return False
        last, self._last[number] = self._last.get(number, file.state), now
        if not now.links and self.first is None:
            self.first = (
                f"{file.location} was deleted or replaced since it was shared; "
                "its original bytes are still being sent."
            )
        # If neither its links, its mode nor its owner changed, then perhaps its bytes
        # did in place (mmap, virtual disks).
        return now.ctime_ns != last.ctime_ns and now[4:7] == last[4:7]

    def affect(self, ranges: Iterable[FileRange]) -> bool:
        """Return True if one of the files that these ranges are of has changed."""
        return any(number in self.altered for number, _, _ in ranges)

    def refuse_changed(self, number: int, now: FileState | None) -> None:
        """Raise `StoreError` unless a file is still in its first state."""
        file = self._files[number]
        if now is None or not now.is_same_state(file.state):
            raise StoreError(
                f"{file.location} changed while it was read; share it again when "
                "it is complete."
            )

    def gone(self, number: int) -> SharedFileChangedError:
        """Note that a file was deleted or replaced; return the error to raise."""
        self._note(number, "was deleted or replaced since it was shared")
        return SharedFileChangedError(self.altered[number])

    def incomplete(self, number: int) -> StoreError:
        """Return the error for a file in its first state that has too few bytes."""
        path = self._files[number].location
        return StoreError(f"{path} could not be read completely; share it again.")

    def error(self, numbers: Sequence[int]) -> SharedFileChangedError:
        """Return the error for a chunk of these files that does not verify."""
        for number in numbers:
            if number in self.altered:
                return SharedFileChangedError(self.altered[number])
        unnoticed = (
            "has other bytes than when it was hashed, though size and time are the same"
        )
        return SharedFileChangedError(self._explain(numbers[0], unnoticed))

    def _note(self, number: int, change: str) -> None:
        text = self.altered.setdefault(number, self._explain(number, change))
        self.first = self.first or text

    def _explain(self, number: int, change: str) -> str:
        return (
            f"{self._files[number].location} {change}; chunks that no longer verify "
            "are not sent. Share it again."
        )


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
