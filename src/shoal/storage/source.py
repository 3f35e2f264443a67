"""The files that are shared, read as one byte string and never changed.

Their chunks may span several files, as in fs-chunk-store. The files stay open, so
that a share survives their being deleted or replaced. What must not happen is that
bytes are sent that were not there when the share was hashed: after each read the
state of the file is compared with that at the beginning, and once it differs, a
chunk leaves this store only if it still verifies.

There is no mmap: reading a file that somebody truncates would end the process.
Not noticed are changes that leave size and time of change as they were (some done
through mmap); the receiver's own verification is there for those.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, TypeAlias

from shoal.core.chunks import Bitfield, Chunks
from shoal.errors import ShoalError, StoreError, UsageError
from shoal.storage.disk import Data, Disk, Identity

__all__ = ["SourceChangedError", "SourceStore"]


class SourceChangedError(StoreError):
    """Say that a chunk is no longer what was shared, so it is not sent."""


class _File(NamedTuple):
    path: Path
    fd: int
    state: Identity  # when it was opened


_Span: TypeAlias = tuple[int, int, int]  # place of a file, bytes, offset in it


class SourceStore:
    """Read the chunks of one or several files; open it with `open`.

    `get` may be called from several threads.
    """

    def __init__(self, files: Sequence[_File], chunk_size: int, disk: Disk) -> None:
        ends = list(accumulate(file.state.size for file in files))
        self.chunks = Chunks(ends[-1] if ends else 0, chunk_size)
        """How the files, taken together, are cut."""
        self.have = Bitfield.full(self.chunks.count)
        """Which chunks there are: all, always."""
        self.verify: Callable[[int, Data], bool] | None = None
        """Says whether a chunk is what was shared; None while nobody can tell."""
        self.changed: str | None = None
        """What happened to a file meanwhile, as a sentence for the user."""
        self._disk = disk
        self._files = files
        self._ends = ends
        self._altered: set[int] = set()  # places in _files

    @classmethod
    def open(
        cls, paths: Sequence[Path], chunk_size: int, *, disk: Disk, follow: bool = True
    ) -> "SourceStore":
        """Open files to share; `follow` those that are links, or refuse them.

        Raises `UsageError` for a folder or special file, `ForbiddenError` for one
        that may not be read, `ShoalError` for one that is not there.
        """
        files: list[_File] = []
        try:
            for path in paths:
                files.append(_open(path, disk, follow))
        except ShoalError:
            for file in files:
                disk.close(file.fd)
            raise
        return cls(files, chunk_size, disk)

    def get(self, index: int) -> bytes:
        """Return a chunk as it was when it was shared.

        Raises `SourceChangedError` when it is so no more, `StoreError` when it
        cannot be read, `KeyError` when there is no such chunk.
        """
        spans = list(self._spans(index))
        data = b"".join(
            self._disk.pread(self._files[place].fd, size, offset)
            for place, size, offset in spans
        )
        if not self._is_altered([place for place, _, _ in spans]):
            return data
        if self.verify is not None and len(data) == self.chunks.length(index):
            if self.verify(index, data):
                return data
        raise SourceChangedError(
            f"Chunk {index} is not sent: {self.changed} Share it again."
        )

    def get_now(self, index: int) -> bytes | None:
        """Return a chunk if that needs no waiting; on None ask `get` in a thread.

        Raises `KeyError` when there is no such chunk.
        """
        return self.get_many_now((index,))[0]

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        """Return what `get_now` would for each, looking at each file only once."""
        read, files = self._disk.pread_now, self._files
        found: list[bytes | None] = []
        places: set[int] = set()
        for index in indexes:
            data: bytes | None = b""
            for place, size, offset in self._spans(index):
                part = read(files[place].fd, size, offset)
                data = None if data is None or part is None else data + part
                places.add(place)
            found.append(data)
        if self._is_altered(places):
            return [None] * len(found)  # verifying takes time: that is for `get`
        return found

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` from `offset` on; raise `StoreError` when bytes are missing."""
        done = 0
        for place, size, start in self._cover(offset, offset + len(buffer)):
            into = buffer[done : done + size]
            if self._disk.pread_into(self._files[place].fd, into, start) != size:
                self.check_unchanged()
                raise StoreError(
                    f"{self._files[place].path} cannot be read to its end."
                )
            done += size

    def check_unchanged(self) -> None:
        """Raise `StoreError` if a file has changed since it was opened."""
        for file in self._files:
            if not self._disk.identity(file.fd).is_same_state(file.state):
                raise StoreError(
                    f"{file.path} changed while it was read; share it again when it "
                    "is complete."
                )

    def close(self) -> None:
        """Close the files; idempotent."""
        files, self._files = self._files, ()
        for file in files:
            self._disk.close(file.fd)

    def _spans(self, index: int) -> Iterable[_Span]:
        """Return what chunk `index` is made of."""
        size, chunk_size = self.chunks.size, self.chunks.chunk_size
        first = index * chunk_size
        if not 0 <= first < size:
            raise KeyError(index)
        if len(self._files) == 1:  # quick, since that is the usual case
            return ((0, min(chunk_size, size - first), first),)
        return self._cover(first, min(first + chunk_size, size))

    def _cover(self, first: int, end: int) -> Iterator[_Span]:
        """Yield what bytes `first` to `end - 1` are made of."""
        place = bisect_right(self._ends, first)
        while first < end:
            size = min(end, self._ends[place]) - first
            if size:
                begin = self._ends[place] - self._files[place].state.size
                yield place, size, first - begin
            first += size
            place += 1

    def _is_altered(self, places: Sequence[int] | set[int]) -> bool:
        """Look at files again; say whether the bytes of one may have changed."""
        for place in places:
            if place in self._altered:
                continue
            file = self._files[place]
            now = self._disk.identity(file.fd)
            if not now.is_same_state(file.state):
                if not self._altered:
                    what = "truncated" if now.size < file.state.size else "changed"
                    self.changed = (
                        f"{file.path} was {what} since it was shared; "
                        "chunks that no longer match are not sent."
                    )
                self._altered.add(place)
            elif not now.links and self.changed is None:
                self.changed = (
                    f"{file.path} was deleted or replaced since it was shared; "
                    "what it was is still being sent."
                )
        return not self._altered.isdisjoint(places)


def _open(path: Path, disk: Disk, follow: bool) -> _File:
    found = disk.identity_at(path, follow=follow)
    if found is None:
        raise ShoalError(f"There is no file {path}; check its name.")
    if found.is_directory:
        raise UsageError(f"{path} is a folder; name a single file.")
    if not found.is_file:
        raise UsageError(f"{path} is not a regular file; name one that is.")
    fd = disk.open_read(path, follow=follow)
    try:
        return _File(path, fd, disk.identity(fd))
    except ShoalError:
        disk.close(fd)
        raise
