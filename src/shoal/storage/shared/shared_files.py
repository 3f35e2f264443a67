"""The files that are shared, read as one byte string and never changed.

Their chunks may span several files, as in fs-chunk-store. A bounded number of files
is open at a time; a share of no more than that survives their being deleted or
replaced. What must not happen is that bytes are sent that were not there when the
share was hashed: a file is compared, each time it is opened and after each read,
with the state it was in at the beginning. Once it differs, a chunk of it leaves
this store only if it still verifies. A chunk of many small files is verified each
time instead.

There is no mmap: reading a file that somebody truncates would end the process.
Not noticed are changes that leave size and time of change as they were (some done
through mmap); the receiver's own verification is there for those.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.errors import ShoalError, StoreError, UsageError
from shoal.storage.disk.disk import Data, Disk, FileState
from shoal.storage.disk.openfiles import MAX_OPEN, OpenFiles
from shoal.storage.extents import Extents, FileRange
from shoal.storage.shared.scan import ScannedFolder

__all__ = ["SharedFileChangedError", "SharedFiles"]

_SMALL_FILE = 64 * 1024  # bytes; a file of no more is read whole when there are many
_SMALL_CHUNK = 16 * 1024  # bytes; the way to larger chunks takes little of the time


class SharedFileChangedError(StoreError):
    """Say that a chunk is no longer what was shared, so it is not sent."""


class _File(NamedTuple):
    path: Path | str
    state: FileState  # at the beginning
    name: str  # within a folder that is shared
    follow: bool  # what was a link from the beginning


class SharedFiles:
    """Read the chunks of one or several files; open it with `open` or `open_folder`.

    `get` may be called from several threads.
    """

    def __init__(
        self,
        files: Sequence[_File],
        chunk_size: int,
        disk: Disk,
        max_open: int = MAX_OPEN,
    ) -> None:
        self._extents = Extents(file.state.size for file in files)
        self.chunks = Chunks(self._extents.total, chunk_size)
        """How the files, taken together, are cut."""
        self.have = Bitfield.full(self.chunks.count)
        """Which chunks there are: all, unless files were missing from the start."""
        self.verify: Callable[[int, Data], bool] | None = None
        """Says whether a chunk is what was shared; None while nobody can tell."""
        self.changed: str | None = None
        """What happened to a file meanwhile, as a sentence for the user."""
        self.trusted = True
        """Whether the hashes are those of bytes read by this very process.

        If not, no chunk leaves this store before it has verified once.
        """
        self._proven = Bitfield(self.chunks.count)  # of use while not trusted
        self._disk = disk
        self._files = files
        self._opened = OpenFiles(self._open, disk.close, max_open)
        self._is_many = len(files) > max_open
        self._altered: set[int] = set()  # numbers of files

    @classmethod
    def open(
        cls, paths: Sequence[Path], chunk_size: int, *, disk: Disk, follow: bool = True
    ) -> Self:
        """Open files to share; `follow` those that are links, or refuse them.

        Raises `UsageError` for a folder or special file, `ForbiddenError` for one
        that may not be read, `ShoalError` for one that is not there.
        """
        files = [_look_at(path, disk, follow) for path in paths]
        store = cls(files, chunk_size, disk)
        try:
            for number in range(len(files)):  # tells of what may not be read
                store._opened.borrow(number)
                store._opened.give_back(number)
        except ShoalError:
            store.close()
            raise
        return store

    @classmethod
    def open_folder(
        cls,
        tree: ScannedFolder,
        chunk_size: int,
        *,
        disk: Disk,
        trusted: bool = True,
        max_open: int = MAX_OPEN,
    ) -> Self:
        """Share the files of a folder, opening each when it is needed."""
        files = [
            _File(file.location, file.state, file.path, follow=False)
            for file in tree.files
        ]
        store = cls(files, chunk_size, disk, max_open)
        store.trusted = trusted
        return store

    @property
    def states(self) -> Iterable[tuple[str, FileState]]:
        """Return the names and states of the files when the share began.

        A file that is not shared as part of a folder has the empty name.
        """
        return ((file.name, file.state) for file in self._files)

    def get(self, index: int) -> bytes:
        """Return a chunk as it was when it was shared.

        Raises `SharedFileChangedError` when it is so no more, `StoreError` when it
        cannot be read, `KeyError` when there is no such chunk.
        """
        spans = self._file_ranges(index)
        small = self._read_small(spans)
        if small is not None and self.verify is not None:
            if self.verify(index, small):
                return small
        parts = [self._read(*span) for span in spans]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        is_altered = any(number in self._altered for number, _, _ in spans)
        if small is None and not is_altered:
            if self.trusted or index in self._proven:
                return data
        if self.verify is not None and len(data) == self.chunks.length(index):
            if self.verify(index, data):
                if not is_altered:
                    self._proven.add(index)
                return data
        what = self.changed or (
            "it is not what it was when it was hashed, though nothing shows it."
        )
        raise SharedFileChangedError(
            f"Chunk {index} is not sent: {what} Share it again."
        )

    def _read_small(self, spans: Sequence[FileRange]) -> bytes | None:
        """Return a chunk of small files, to be verified; None when it is not one.

        Such files are not worth being kept open, and the hash of the chunk says more
        than their states would, in less time.
        """
        if self.verify is None or not self._is_many:
            return None
        parts: list[bytes] = []
        for number, size, offset in spans:
            file = self._files[number]
            if file.follow or file.state.size > _SMALL_FILE:
                return None
            whole = self._disk.read_small(file.path, file.state.size)
            if whole is None:
                return None
            parts.append(whole[offset : offset + size])
        return b"".join(parts)

    def _read(self, number: int, size: int, offset: int) -> bytes:
        fd = self._opened.borrow(number)
        try:
            data = self._disk.pread(fd, size, offset)
            self._compare(number, self._disk.state(fd))
        finally:
            self._opened.give_back(number)
        return data

    def get_now(self, index: int) -> bytes | None:
        """Return a chunk if that needs no waiting; on None ask `get` in a thread.

        Raises `KeyError` when there is no such chunk.
        """
        if not self.trusted or len(self._files) > 1:
            return self.get_many_now((index,))[0]
        # Somebody waits for just this one, so it goes the shortest way.
        ((number, size, offset),) = self._file_ranges(index)
        fd = self._opened.borrow_now(number)
        if fd is None:
            return None
        try:
            data = self._disk.pread_now(fd, size, offset)
            self._compare(number, self._disk.state(fd))
        finally:
            self._opened.give_back(number)
        return None if self._altered else data

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        """Return what `get_now` would for each, looking at each file only once.

        It is of use for files that are open: opening one may take time.
        """
        borrowed: dict[int, int] = {}
        try:
            if self._are_alike(indexes):
                found = self._get_alike_now(indexes, borrowed)
            else:
                found = [self._get_now(index, borrowed) for index in indexes]
            for number, fd in borrowed.items():
                self._compare(number, self._disk.state(fd))
        finally:
            for number in borrowed:
                self._opened.give_back(number)
        if not self._altered.isdisjoint(borrowed):
            return [None] * len(found)  # verifying takes time: that is for `get`
        return found

    def _are_alike(self, indexes: Sequence[int]) -> bool:
        """Say whether these are small chunks of one file, all of full length."""
        size, chunk_size = self._extents.total, self.chunks.chunk_size
        return (
            len(self._files) == 1
            and chunk_size <= _SMALL_CHUNK
            and min(indexes, default=0) >= 0
            and max(indexes, default=0) < size // chunk_size
            and (self.trusted or all(index in self._proven for index in indexes))
        )

    def _get_alike_now(
        self, indexes: Sequence[int], borrowed: dict[int, int]
    ) -> list[bytes | None]:
        fd = self._opened.borrow_now(0)
        if fd is None:
            return [None] * len(indexes)
        borrowed[0] = fd
        size = self.chunks.chunk_size
        return self._disk.pread_many_now(fd, size, (index * size for index in indexes))

    def _get_now(self, index: int, borrowed: dict[int, int]) -> bytes | None:
        spans = self._file_ranges(index)
        if not self.trusted and index not in self._proven:
            return None
        parts: list[bytes] = []
        for number, size, offset in spans:
            fd = borrowed.get(number)
            if fd is None:
                fd = self._opened.borrow_now(number)
                if fd is None:
                    return None
                borrowed[number] = fd
            part = self._disk.pread_now(fd, size, offset)
            if part is None:
                return None
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` from `offset` on; raise `StoreError` when bytes are missing."""
        done = 0
        for number, size, start in self._extents.cover(offset, offset + len(buffer)):
            fd = self._opened.borrow(number)
            try:
                into = buffer[done : done + size]
                count = self._disk.pread_into(fd, into, start)
            finally:
                self._opened.give_back(number)
            if count != size or number in self._altered:
                self.check_unchanged()
                path = self._files[number].path
                raise StoreError(f"{path} cannot be read to its end.")
            done += size

    def check_unchanged(self) -> None:
        """Raise `StoreError` if a file has changed since it was looked at first."""
        for number, file in enumerate(self._files):
            fd = self._opened.borrow_now(number)
            if fd is None:
                now = self._disk.state_at(file.path, follow=file.follow)
            else:
                now = self._disk.state(fd)
                self._opened.give_back(number)
            if now is None or not now.is_same_state(file.state):
                raise StoreError(
                    f"{file.path} changed while it was read; share it again when it "
                    "is complete."
                )

    def close(self) -> None:
        """Close the files; idempotent."""
        self._opened.close()

    def _open(self, number: int) -> int:
        file = self._files[number]
        try:
            fd = self._disk.open_read(file.path, follow=file.follow)
        except UsageError as error:
            raise self._gone(number) from error
        except StoreError as error:
            now = self._disk.state_at(file.path, follow=file.follow)
            if now is not None and now.is_same_state(file.state):
                raise
            raise self._gone(number) from error
        self._compare(number, self._disk.state(fd))
        return fd

    def _gone(self, number: int) -> SharedFileChangedError:
        path = self._files[number].path
        self._altered.add(number)
        if self.changed is None:
            self.changed = (
                f"{path} was deleted or replaced since it was shared; "
                "chunks that no longer match are not sent."
            )
        return SharedFileChangedError(
            f"{path} was deleted or replaced since it was shared. Share it again."
        )

    def _compare(self, number: int, now: FileState) -> None:
        """Note what became of a file: whether its bytes may have changed."""
        if number in self._altered:
            return
        file = self._files[number]
        if not now.is_same_state(file.state):
            if not self._altered:
                what = "truncated" if now.size < file.state.size else "changed"
                self.changed = (
                    f"{file.path} was {what} since it was shared; "
                    "chunks that no longer match are not sent."
                )
            self._altered.add(number)
        elif not now.links and self.changed is None:
            self.changed = (
                f"{file.path} was deleted or replaced since it was shared; "
                "what it was is still being sent."
            )

    def _file_ranges(self, index: int) -> Sequence[FileRange]:
        """Return what chunk `index` is made of."""
        size, chunk_size = self.chunks.size, self.chunks.chunk_size
        first = index * chunk_size
        if not 0 <= first < size:
            raise KeyError(index)
        if len(self._files) == 1:  # quick, since that is the usual case
            return ((0, min(chunk_size, size - first), first),)
        if index not in self.have:
            raise KeyError(index)
        return self._extents.cover(first, min(first + chunk_size, size))


def _look_at(path: Path, disk: Disk, follow: bool) -> _File:
    found = disk.state_at(path, follow=follow)
    if found is None:
        raise ShoalError(f"There is no file {path}; check its name.")
    if found.is_directory:
        raise UsageError(f"{path} is a folder; name a single file.")
    if not found.is_file:
        raise UsageError(f"{path} is not a regular file; name one that is.")
    return _File(path, found, "", follow)
