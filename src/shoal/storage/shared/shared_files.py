"""The files that the user shares, read as one string of bytes and never changed.

A chunk may span several files, as in fs-chunk-store. A limited number of files is open
at a time; a share with no more files than that can still be read after they were
deleted or replaced.

Bytes that were not in the files when the share was hashed must never be sent. So each
file is compared with its first state (`FileChanges`) when it is opened and after each
read. Once a file has changed, its chunks are returned only if they still verify. If the
share has many small files, each chunk of them is verified every time instead.

Files are not mapped into memory, because reading a mapped file that another program
truncates would end the process.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.errors import ShoalError, StoreError, UsageError
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.file_state import FileState
from shoal.storage.disk.openfiles import MAX_OPEN, OpenFiles
from shoal.storage.extents import Extents, FileRange, part_of
from shoal.storage.shared.scan import endless, is_empty
from shoal.storage.shared.scanned import (
    FileChanges,
    ScannedFile,
    ScannedFiles,
    ScannedFolder,
    SmallFiles,
)
from shoal.storage.store import Span, Verify, VerifySpan

if TYPE_CHECKING:  # open channels have no blocks
    from shoal.storage.shared.hash_cache import BlockFile

__all__ = ["SharedFiles"]

_QUICK_SIZE = 256 * 1024  # bytes; verifying more would delay the event loop
_SMALL_CHUNK = 16 * 1024  # bytes; reading larger chunks together saves little time


class SharedFiles:
    """Read the chunks of a file or folder; create it by `open_file` or `open_folder`.

    `get` may be called from several threads.
    """

    def __init__(
        self,
        files: Sequence[ScannedFile],
        chunk_size: int,
        disk: Disk,
        follow: bool = False,
        max_open: int = MAX_OPEN,
    ) -> None:
        sizes = files.sizes if isinstance(files, ScannedFiles) else None
        self._extents = Extents(sizes or (file.size for file in files))
        self.chunks = Chunks(self._extents.total, chunk_size)
        """How the bytes of all files together are divided."""
        self.have = Bitfield.full(self.chunks.count)
        """The chunks that can be read: all, unless files were missing at the start."""
        self.verify: Verify | None = None
        """Verifies a chunk against the share's hashes; None until they are known."""
        self.verify_span: VerifySpan | None = None
        """Verifies a part of a chunk by block hashes; set with `verify`."""
        self.trusted = True
        """Whether this process computed the share's hashes from these files.

        If not, each chunk must verify once before it is returned.
        """
        self.kept_hashes: BlockFile | None = None
        """Where block hashes are kept, which `close` closes; None if nowhere."""
        self._verified = Bitfield(self.chunks.count)  # used only if not trusted
        self._disk = disk
        self._files = files
        self._follow = follow  # whether the path of a file may be a link
        self._opened = OpenFiles(self._open, disk.close, max_open, disk.open_files)
        self._small: SmallFiles | None = None  # if not all files can be open
        if isinstance(files, ScannedFiles) and len(files) > max_open:
            self._small = SmallFiles(files, disk)
        self._changes = FileChanges(files)

    @classmethod
    def open_file(
        cls, path: Path, chunk_size: int, *, disk: Disk, follow: bool = True
    ) -> Self:
        """Open a single file to share; refuse a link unless `follow` is set.

        Raises `UsageError` for a folder or special file, `ForbiddenError` for a file
        that may not be read, and `ShoalError` for a missing one.
        """
        state = disk.state_at(path, follow=follow)
        if state is None:
            raise ShoalError(f"There is no file {path}; check its name.")
        if state.is_directory:
            raise UsageError(f"{path} is a folder; name a single file.")
        if not state.is_file:
            raise UsageError(f"{path} is not a regular file; name one that is.")
        store = cls([ScannedFile("", str(path), state)], chunk_size, disk, follow)
        with store._opened.borrowed(0):  # fails for a file that may not be read
            pass
        if not state.size and not is_empty(disk, path, follow=follow):
            raise UsageError(endless(path))
        return store

    @classmethod
    def open_folder(
        cls,
        folder: ScannedFolder,
        chunk_size: int,
        *,
        disk: Disk,
        trusted: bool = True,
        max_open: int = MAX_OPEN,
    ) -> Self:
        """Share the files of a folder; each is opened when it is first read."""
        store = cls(folder.files, chunk_size, disk, max_open=max_open)
        store.trusted = trusted
        return store

    @property
    def changed(self) -> str | None:
        """Return how a file changed, as a sentence for the user; None if none did."""
        return self._changes.first

    @property
    def states(self) -> Iterable[tuple[str, FileState]]:
        """Return the paths and first states of the files.

        Paths are relative to the shared folder; that of a single file is empty.
        """
        files = self._files
        if not isinstance(files, ScannedFiles):
            return ((file.path, file.state) for file in files)
        return files.path_states()

    def get(self, index: int) -> bytes:
        """Return a chunk with the bytes that were shared.

        Raises `SharedFileChangedError` if its bytes have changed, `StoreError` if it
        cannot be read, and `KeyError` if there is no such chunk.
        """
        ranges = self._file_ranges(index)
        small = None
        if self._small is not None and self.verify is not None:
            small = self._small.read_chunk(ranges)
            if small is not None and self.verify(index, small):
                return small
        parts = [self._read(*span) for span in ranges]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        is_altered = self._changes.affect(ranges)
        if small is None and not is_altered:
            if self.trusted or index in self._verified:
                return data
        if self.verify is not None and len(data) == self.chunks.length(index):
            if self.verify(index, data):
                if not is_altered:
                    self._verified.add(index)
                return data
        raise self._changes.error([number for number, _, _ in ranges])

    def get_into(self, index: int, buffer: memoryview) -> bytes | memoryview:
        """Return a chunk, as `ChunkReader.get_into` does."""
        if self.trusted and not self._changes.altered and self._small is None:
            ranges = self._file_ranges(index)
            if len(ranges) == 1 and ranges[0][1] <= len(buffer):
                number, size, offset = ranges[0]
                with self._opened.borrowed(number) as fd:
                    count = self._disk.pread_into(fd, buffer[:size], offset)
                    self._compare(number, self._disk.state(fd))
                if count == size and self.trusted and not self._changes.altered:
                    return buffer[:size]
        return self.get(index)

    def _read(self, number: int, size: int, offset: int) -> bytes:
        with self._opened.borrowed(number) as fd:
            data = self._disk.pread(fd, size, offset)
            self._compare(number, self._disk.state(fd))
        return data

    def _read_now(self, number: int, size: int, offset: int) -> bytes | None:
        """Read a file that is open and in the page cache, otherwise return None."""
        fd = self._opened.borrow_now(number)
        if fd is None:
            return None
        try:
            data = self._disk.pread_now(fd, size, offset)
            self._compare(number, self._disk.state(fd))
        finally:
            self._opened.give_back(number)
        return data

    def get_now(self, index: int) -> bytes | None:
        """Return a chunk, as `ChunkReader.get_now` does."""
        if not self.trusted or len(self._files) > 1:
            return self.get_many_now((index,))[0]
        # A reader waits for this single chunk, so this makes few calls.
        (place,) = self._file_ranges(index)
        data = self._read_now(*place)
        return None if self._changes.altered or not self.trusted else data

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        """Return the results of `get_now` for several chunks.

        Each file is compared with its first state only once. A chunk of a file that is
        not open is None, since opening a file may block.
        """
        borrowed: dict[int, int] = {}
        was_trusted = self.trusted
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
        is_altered = not self._changes.altered.keys().isdisjoint(borrowed)
        if is_altered or self.trusted < was_trusted:
            return [None] * len(found)  # `get` verifies them, which takes time
        return found

    def get_span(self, span: Span) -> bytes:
        """Return bytes of a chunk, as `ChunkReader.get_span` does.

        Unless the files are as they were when the share was hashed, they must verify:
        by block hashes if these are kept, otherwise with the whole chunk.
        """
        index, first, end = span.index, span.first, span.end
        ranges = list(part_of(self._file_ranges(index), first, end))
        is_trusted = self.trusted or index in self._verified
        hashes = None if is_trusted else self.block_hashes_now(index)
        if is_trusted or hashes is not None:
            data = b"".join([self._read(*each) for each in ranges])
            is_altered = self._changes.affect(ranges)
            if hashes is not None and self.verify_span is not None:
                if self.verify_span(span, data, hashes):
                    return data
            elif is_trusted and not is_altered and len(data) == end - first:
                return data
        return self.get(index)[first:end]

    def get_span_now(self, span: Span) -> bytes | None:
        """Return bytes of a chunk, as `ChunkReader.get_span_now` does."""
        index, first, end = span.index, span.first, span.end
        hashes: bytes | None = None
        if not self.trusted and index not in self._verified:
            hashes = self.block_hashes_now(index)
            if hashes is None or end - first > _QUICK_SIZE:
                return None
        parts: list[bytes] = []
        for number, size, offset in part_of(self._file_ranges(index), first, end):
            part = self._read_now(number, size, offset)
            if part is None or number in self._changes.altered:
                return None
            parts.append(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if self.trusted or index in self._verified:
            return data
        if hashes is None or self.verify_span is None:
            return None  # a file has changed meanwhile
        return data if self.verify_span(span, data, hashes) else None

    def block_hashes_now(self, index: int) -> bytes | None:
        """Return block hashes of a chunk, as `ChunkReader.block_hashes_now` does."""
        kept = self.kept_hashes
        return kept.read_now(index) if kept is not None else None

    def _are_alike(self, indexes: Sequence[int]) -> bool:
        """Return True if these are small, full-length chunks of a single file."""
        size, chunk_size = self._extents.total, self.chunks.chunk_size
        return (
            len(self._files) == 1
            and chunk_size <= _SMALL_CHUNK
            and min(indexes, default=0) >= 0
            and max(indexes, default=0) < size // chunk_size
            and (self.trusted or all(index in self._verified for index in indexes))
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
        ranges = self._file_ranges(index)
        if not self.trusted and index not in self._verified:
            return None
        parts: list[bytes] = []
        for number, size, offset in ranges:
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
        """Fill `buffer` with the bytes at `offset`.

        Raises `StoreError` if there are too few.
        """
        ranges = self._extents.cover(offset, offset + len(buffer))
        small = self._small
        found = {} if small is None else small.read(ranges, are_compared=True)
        done = 0
        for number, size, start in ranges:
            into = buffer[done : done + size]
            whole = found.get(number)
            if whole is not None:
                into[:] = whole[start : start + size]
                count = size
            else:
                with self._opened.borrowed(number) as fd:
                    count = self._disk.pread_into(fd, into, start)
            if count != size or number in self._changes.altered:
                self.check_unchanged()
                raise self._changes.incomplete(number)
            done += size

    def check_unchanged(self) -> None:
        """Raise `StoreError` if a file has changed since its first state."""
        small = self._small
        every = range(len(self._files))
        for number in every if small is None else small.suspects():
            self._check_unchanged(number)

    def _check_unchanged(self, number: int) -> None:
        fd = self._opened.borrow_now(number)
        if fd is None:
            location = self._files[number].location
            now = self._disk.state_at(location, follow=self._follow)
        else:
            now = self._disk.state(fd)
            self._opened.give_back(number)
        self._changes.refuse_changed(number, now)

    def close(self) -> None:
        """Close the files; idempotent."""
        self._opened.close()
        if self.kept_hashes is not None:
            self.kept_hashes.close()

    def _open(self, number: int) -> int:
        file = self._files[number]
        try:
            fd = self._disk.open_read(file.location, follow=self._follow)
        except UsageError as error:
            raise self._changes.gone(number) from error
        except StoreError as error:
            now = self._disk.state_at(file.location, follow=self._follow)
            if now is not None and now.is_same_state(file.state):
                raise
            raise self._changes.gone(number) from error
        self._compare(number, self._disk.state(fd))
        return fd

    def _compare(self, number: int, now: FileState) -> None:
        """Compare the present state of a file with its first one."""
        if self._changes.compare(number, now):
            self.trusted = self.verify is None  # each chunk must verify again
            self._verified = Bitfield(self.chunks.count)

    def _file_ranges(self, index: int) -> Sequence[FileRange]:
        """Return the file ranges that make up chunk `index`."""
        size, chunk_size = self.chunks.size, self.chunks.chunk_size
        first = index * chunk_size
        if not 0 <= first < size:
            raise KeyError(index)
        if len(self._files) == 1:  # the usual case, so it is kept fast
            return ((0, min(chunk_size, size - first), first),)
        if index not in self.have:
            raise KeyError(index)
        return self._extents.cover(first, min(first + chunk_size, size))
