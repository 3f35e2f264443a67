"""Read, write and flush the files of a download.

`DataFiles` owns the open files and folders of a download. It writes chunks where
`Layout` maps them, flushes them, and at the end sets permissions and checks the files.
It does not know which chunks are stored, or whether they can be trusted.

A file of a folder is created when the first chunk with its bytes arrives, a large one
at the start with its full size. It has its final permissions at once, since no other
user can enter the staging folder. Everything is opened from the open folder `root`,
one path component at a time, and no link is followed.

Threads: `sync` may run at the same time as anything else, and `read` at the same time
as `write`. Otherwise only one method may run at a time.
"""

import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import islice
from stat import S_ISGID
from typing import TypeAlias

from shoal.errors import StoreError, run_again
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.disk.file_state import FileState
from shoal.storage.disk.folders import Folders, remove_all
from shoal.storage.disk.openfiles import OpenFiles
from shoal.storage.disk.system import NewFile
from shoal.storage.download.layout import SIDE, Layout
from shoal.storage.extents import FileRange, part_of

__all__ = ["DataFiles"]

_NumberedFile: TypeAlias = tuple[int, NewFile]

_BATCH = 1000  # files that are examined together
_FEW = 4  # files; more are flushed together, with the whole file system
_FOLDER_MODE = 0o777
_FOLDERS = 16  # folders; how many are open while files are created in them


class DataFiles:
    """Read and write the files of one download."""

    def __init__(self, disk: Disk, layout: Layout, staging: int, root: int) -> None:
        """Use the open folders `root`, which `close` closes, and `staging`.

        For a single file both are the same folder, which the caller closes.
        """
        self.layout = layout
        """The file and offset of each byte."""
        self._disk = disk
        self._staging = staging
        self._root: int | None = root
        self._folders = Folders(disk, root)
        self._files = OpenFiles(self._open, disk.close, of_node=disk.open_files)
        self._opening = threading.Lock()
        self._marking = threading.Lock()
        self._exists = bytearray(layout.side + 1)
        self._found: set[int] = set()  # files of an earlier run
        self._written: set[int] = set()  # since the last sync
        self._has_new_names = False  # since the last sync

    # Chunks.

    def read(self, index: int, first: int = 0, end: int | None = None) -> bytes:
        """Return a chunk, or some bytes of it; raise `StoreError` if that fails."""
        return b"".join(self._read(*each) for each in self._ranges(index, first, end))

    def _ranges(self, index: int, first: int, end: int | None) -> Sequence[FileRange]:
        ranges = self.layout.file_ranges(index)
        return ranges if end is None else list(part_of(ranges, first, end))

    def _read(self, number: int, size: int, offset: int) -> bytes:
        with self._files.borrowed(number) as fd:
            data = self._disk.pread(fd, size, offset)
        if len(data) != size:
            raise StoreError(
                f"Another program shortened {self.layout.place(number)[1]} during the "
                f"download; {run_again()}."
            )
        return data

    def read_now(
        self, index: int, first: int = 0, end: int | None = None
    ) -> bytes | None:
        """Return the same if that does not block, otherwise None."""
        parts: list[bytes] = []
        for number, size, offset in self._ranges(index, first, end):
            fd = self._files.borrow_now(number)
            if fd is None:
                return None
            try:
                part = self._disk.pread_now(fd, size, offset)
            finally:
                self._files.give_back(number)
            if part is None:
                return None
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, ordered: Iterable[tuple[int, Data]]) -> None:
        """Write chunks in ascending order; raise `StoreError` if that fails."""
        layout = self.layout
        numbers: set[int] = set()
        whole: dict[str, list[_NumberedFile]] = {}  # new files by folder
        for number, offset, buffers in layout.gather(ordered):
            numbers.add(number)
            if offset or self._exists[number] or not layout.is_all(number, buffers):
                self._write(number, buffers, offset)
            else:
                data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
                folder, name, mode = layout.new_file(number)
                whole.setdefault(folder, []).append((number, (name, data, mode)))
        groups = iter(whole.items())
        while some := dict(islice(groups, _FOLDERS)):
            self._create(some)
        # Only now, because `sync` expects that files in this set are written.
        with self._marking:
            self._written |= numbers

    @property
    def unsynced(self) -> int:
        """Return how many files were written to since the last `sync`."""
        return len(self._written)

    def _write(self, number: int, buffers: Sequence[Data], offset: int) -> None:
        with self._files.borrowed(number) as fd:
            self._disk.pwrite(fd, buffers, offset)

    def _create(self, new: dict[str, list[_NumberedFile]]) -> None:
        """Create complete small files in several folders."""
        while new:
            try:
                with self._opening:
                    fds = self._folders.make_all(list(new))
                    groups = [[file for _, file in group] for group in new.values()]
                    made = self._disk.write_new(list(zip(fds, groups, strict=True)))
                    for count, group in zip(made, new.values(), strict=True):
                        for number, _ in group[:count]:
                            self._exists[number] = 1
            finally:
                self._mark_new_names()  # after an error too, since some may exist
            rest: dict[str, list[_NumberedFile]] = {}
            for count, (folder, group) in zip(made, new.items(), strict=True):
                for number, (_, data, _) in group[count : count + 1]:
                    # The name exists, so an earlier attempt to write it failed.
                    self._write(number, (data,), 0)
                if group[count + 1 :]:
                    rest[folder] = group[count + 1 :]
            new = rest

    def sync(self) -> None:
        """Flush all writes so far, so that they survive a power loss.

        After `StoreError` no write since the last success can be relied on.
        """
        with self._marking:
            numbers, self._written = self._written, set()
            has_new_names, self._has_new_names = self._has_new_names, False
        if self.layout.is_folder and (has_new_names or len(numbers) > _FEW):
            self._sync_all(numbers)
            return
        self._sync_each(numbers)
        if has_new_names:
            self._disk.fsync_directory(".", at=self._staging)

    def sync_all(self) -> None:
        """Flush all files, including those that an earlier run wrote."""
        numbers = {number for number, exists in enumerate(self._exists) if exists}
        if self.layout.is_folder:
            self._sync_all(numbers)
        else:
            self._sync_each(numbers)

    def _sync_all(self, numbers: set[int]) -> None:
        """Flush the file system or, if it cannot be, each file and folder."""
        assert self._root is not None
        if self._disk.sync_file_system(self._root):
            return
        self._sync_each(numbers)
        for folder in self.layout.folders():
            with self._opening:
                fd = self._folders.find(folder)
                if fd is not None:
                    self._disk.fsync_directory(".", at=fd)
        self._disk.fsync_directory(".", at=self._staging)

    def _sync_each(self, numbers: Iterable[int]) -> None:
        for number in sorted(numbers):
            with self._files.borrowed(number) as fd:
                self._disk.fdatasync(fd)

    # Starting.

    def adopt(self, exists: bytearray) -> None:
        """Use the files of an earlier run: those whose number has a 1 in `exists`."""
        self._exists = exists
        self._found = {number for number, found in enumerate(exists) if found}

    def reserve(self) -> None:
        """Give every large file its full size, and reserve disk space for it."""
        for number in self.layout.reserved:
            with self._files.borrowed(number) as fd:
                self._disk.allocate(fd, self.layout.size(number))

    def repair(self, sizes: Sequence[int]) -> None:
        """Give full size to large files and truncate files whose size is too large."""
        self.reserve()
        for number, size in enumerate(sizes):
            if size > self.layout.size(number):
                with self._files.borrowed(number) as fd:
                    self._disk.truncate(fd, self.layout.size(number))

    def clear(self) -> None:
        """Remove all files of a folder; make a single file empty."""
        if not self.layout.is_folder:
            for number in (self.layout.selected[0], self.layout.side):
                if self._exists[number] or number != self.layout.side:
                    with self._files.borrowed(number) as fd:
                        self._disk.truncate(fd, 0)
            return
        assert self._root is not None
        self._files.close()
        self._folders.close()
        for name in self._disk.list_directory(self._root):
            remove_all(self._disk, name, self._root)
        self._disk.unlink(SIDE, at=self._staging)
        self._exists = bytearray(self.layout.side + 1)
        self._found = set()

    # Finishing.

    def finalize(
        self, replaced: FileState | None = None, acl: bytes | None = None
    ) -> None:
        """Create empty files and set final permissions; `sync` must follow.

        A single file gets the mode and the access ACL of the file that it replaces; all
        others get those of open(2) and mkdir(2), by umask or default ACL. Raises
        `StoreError` if a file is not as it was written.
        """
        assert self._root is not None
        # Folders in it have inherited its default ACL.
        permitted = self._disk.permitted(self._root)
        if not self.layout.is_folder:
            number = self.layout.selected[0]
            mode = self.layout.final_mode(number) & permitted
            with self._files.borrowed(number) as fd:
                if replaced is not None:
                    mode = replaced.mode & 0o777
                    # Before the mode, because an ACL changes that.
                    self._disk.set_acl(fd, acl)
                self._disk.set_mode(fd, mode)
            return
        layout = self.layout
        with closing(Folders(self._disk, self._root)) as folders:
            for number in layout.empty:
                folder, name, mode = layout.new_file(number)
                self._disk.write_new([(folders.make(folder), [(name, b"", mode)])])
            # Files that this run created have their permissions already.
            for number in sorted(self._found - {layout.side}):
                folder, name = layout.place(number)
                fd = self._disk.open_read(name, at=folders.make(folder))
                try:
                    _check(layout, number, self._disk.state(fd))
                    self._disk.set_mode(fd, layout.mode(number) & permitted)
                finally:
                    self._disk.close(fd)
            for folder in layout.folders():
                fd = folders.make(folder)
                # mkdir(2) has inherited this from the folder above, with its group.
                inherited = self._disk.state(fd).mode & S_ISGID
                self._disk.set_mode(fd, _FOLDER_MODE & permitted | inherited)
        self._mark_new_names()

    def check(self) -> bool:
        """Remove files that are not part of a shared folder, and check the others.

        The folder will be renamed as a whole, so everything in it becomes part of the
        target. Each file must have the right size and only one name, and must not be a
        link. Return True if any was removed, which requires another `sync`. It may run
        at the same time as `sync`. Raises `StoreError` if a file is not as it was
        written.
        """
        assert self._root is not None
        if not self.layout.is_folder:
            return False
        by_folder = self.layout.folders()
        has_removed = False
        with closing(Folders(self._disk, self._root)) as folders:
            for folder, numbers in by_folder.items():
                at = folders.make(folder)
                names = dict.fromkeys(self.layout.names(numbers))
                each = iter(names)
                for name in self._disk.list_directory(at):
                    path = f"{folder}/{name}" if folder else name
                    if name not in names and path not in by_folder:
                        remove_all(self._disk, name, at)
                        has_removed = True
                for start in range(0, len(numbers), _BATCH):
                    some = numbers[start : start + _BATCH]
                    states = self._disk.states_at(list(islice(each, _BATCH)), at=at)
                    for number, state in zip(some, states, strict=True):
                        _check(self.layout, number, state)
        if has_removed:
            self._mark_new_names()
        return has_removed

    def close(self) -> None:
        """Close all files and folders; no other method may be running. Idempotent."""
        self._files.close()
        self._folders.close()
        if self._root is not None and self._root != self._staging:
            self._disk.close(self._root)
        self._root = None

    def _open(self, number: int) -> int:
        """Open a file for reading and writing; create it if it does not exist."""
        folder, name = self.layout.place(number)
        with self._opening:
            is_side = number == self.layout.side
            at = self._staging if is_side else self._folders.make(folder)
            if not self._exists[number]:
                fd = self._disk.create(name, at=at, mode=self.layout.mode(number))
                self._exists[number] = 1
                if fd is not None:
                    self._mark_new_names()
                    return fd
                self._found.add(number)
            fd = self._disk.open_write(name, at=at)
        if not self._disk.state(fd).is_sole_link:
            self._disk.close(fd)
            raise StoreError(
                f"Another program gave {name} a second name during the download; "
                f"remove that name and {run_again()}."
            )
        return fd

    def _mark_new_names(self) -> None:
        with self._marking:
            self._has_new_names = True


def _check(layout: Layout, number: int, state: FileState | None) -> None:
    size = layout.extents.sizes[number]
    if state is None or not state.is_sole_link or state.size != size:
        raise StoreError(
            f"Another program changed {layout.files[number].path} during the "
            f"download; {run_again()}."
        )
