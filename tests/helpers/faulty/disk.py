"""A disk in memory that loses power, loses processes, fills up and fails.

It separates synced from unsynced changes. `lose_power` keeps a random part of the
unsynced changes: of each write none, all or some sectors, and any of the created,
renamed and removed names. `lose_process` keeps everything except open files and locks.

Before each call, `fault` decides if it fails: it takes the number of the call and the
name of the method, and returns an errno or 0. A failed write has written half of its
data. A failed sync drops the unsynced data at the next power loss, although reads still
return it, as on Linux.
"""

import random
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from errno import EEXIST, ENOENT, ENOSPC, ENOTDIR
from os import strerror
from pathlib import Path, PurePath

from shoal.errors import StoreError, TargetExistsError, UsageError
from shoal.storage.disk.disk import Data, Disk, Name, NewFiles, WholeFile
from shoal.storage.disk.file_state import FileState
from shoal.storage.disk.system import NewFile, translate
from tests.helpers.faulty.inodes import SECTOR, Inode, Write
from tests.helpers.faulty.names import Key, Names

__all__ = ["SECTOR", "FaultyDisk"]


class FaultyDisk(Disk):
    """A `Disk` in memory that fails as `fault` decides."""

    def __init__(self, root: Path, capacity: int = 1 << 40) -> None:
        self.fault: Callable[[int, str], int] = lambda number, method: 0
        """Decides which calls fail; see the docstring of the module."""
        self.calls = 0
        """The number of calls so far."""
        self.capacity = capacity
        """Maximum total size of all files in bytes."""
        self.can_sync_all = True
        """Whether `sync_file_system` works."""
        self._path = root
        self._boot = 1
        self._clock = 0
        self._opens = 0
        self._tree = Names()
        self._handles: dict[int, tuple[Inode, PurePath]] = {}
        self._locks: dict[int, int] = {}  # inode -> fd

    # Failures and changes from outside.

    def lose_process(self) -> None:
        """Kill the process that has all open files."""
        self._handles.clear()
        self._locks.clear()

    def lose_power(self, rng: random.Random) -> None:
        """Lose power: keep a random part of the unsynced changes."""
        self.lose_process()
        self._boot += 1
        self._tree.lose_power(rng)

    def contents(self, path: Path) -> bytes | None:
        """Return the bytes of a file; None if it does not exist."""
        inode = self._look_up(path)
        return None if inode is None else bytes(inode.seen)

    def is_safe(self, path: Path) -> bool:
        """Return True if a file or folder, and all in it, survives a power loss."""
        key = self._key(path)
        return key is not None and self._tree.is_safe(key)

    def mode(self, path: Path) -> int:
        """Return the permissions of a file or folder."""
        inode = self._look_up(path)
        assert inode is not None
        return stat.S_IMODE(inode.mode)

    def overwrite(self, path: Path, offset: int, data: bytes | None) -> None:
        """Change a file from outside; without `data`, let it end at `offset`."""
        self._clock += 10**10
        inode = self._look_up(path)
        assert inode is not None
        inode.do(Write(offset, data), self._clock)

    def alter(self, path: Path, offset: int, *, quiet: bool) -> None:
        """Change one byte of a file from outside; `quiet` keeps the file's mtime."""
        inode = self._look_up(path)
        assert inode is not None
        before = inode.mtime
        self.overwrite(path, offset, bytes([inode.seen[offset] ^ 1]))
        if quiet:
            inode.mtime = before

    @property
    def used(self) -> int:
        """Return the size of all files in bytes."""
        return self._used()

    @property
    def open_count(self) -> int:
        """Return how many files and folders are open."""
        return len(self._handles)

    def paths(self) -> set[Path]:
        """Return the paths of all files and folders except the root."""
        return {path for path, _ in self._tree.walk(self._tree.root, self._path)}

    def files(self, path: Path) -> dict[str, bytes] | None:
        """Return the bytes of a folder's files by name; None if it does not exist."""
        inode = self._look_up(path)
        if inode is None:
            return None
        return {
            str(each.relative_to(path)): bytes(found.seen)
            for each, found in self._tree.walk(inode, path)
            if not found.is_directory
        }

    # The methods of `Disk`.

    def open_read(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int:
        self._enter("open_read", path)
        if self._look_up(path, at) is None:
            raise _error(ENOENT, path, "open")
        return self._opened(path, at)

    def open_write(self, path: Name, *, at: int | None = None) -> int:
        self._enter("open_write", path)
        key = self._key(path, at)
        if key is None:
            raise _error(ENOENT, path, "open")
        if key not in self._tree:
            self._tree.make(key, stat.S_IFREG | 0o600)
        return self._opened(path, at)

    def create(
        self, path: Name, *, at: int | None = None, mode: int = 0o600
    ) -> int | None:
        self._enter("create", path)
        key = self._key(path, at)
        if key is None:
            raise _error(ENOENT, path, "make")
        if key in self._tree:
            return None
        self._tree.make(key, stat.S_IFREG | mode & 0o755)
        return self._opened(path, at)

    def write_new(self, folders: Sequence[NewFiles]) -> list[int]:
        return [self._create_all(files, at) for at, files in folders]

    def _create_all(self, files: Sequence[NewFile], at: int) -> int:
        for number, (name, data, mode) in enumerate(files):
            fd = self.create(name, at=at, mode=mode)
            if fd is None:
                return number
            try:
                self.pwrite(fd, [data], 0)
            finally:
                self.close(fd)
        return len(files)

    def open_directory(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int | None:
        self._enter("open_directory", path)
        inode = self._look_up(path, at)
        if inode is None:
            return None
        if not inode.is_directory:
            raise _error(ENOTDIR, path, "open")
        self._opens += 1
        self._handles[self._opens] = inode, PurePath(path)
        return self._opens

    def list_directory(self, fd: int) -> list[str]:
        inode, path = self._handles[fd]
        self._enter("list_directory", path)
        return self._tree.list(inode)

    def close(self, fd: int) -> None:
        inode, _ = self._handles.pop(fd)
        if self._locks.get(inode.number) == fd:
            del self._locks[inode.number]

    def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int) -> int:
        data = self.pread(fd, len(buffer), offset)
        buffer[: len(data)] = data
        return len(data)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        inode, path = self._handles[fd]
        self._enter("pread", path)
        return bytes(inode.seen[offset : offset + size])

    def pread_now(self, fd: int, size: int, offset: int) -> bytes | None:
        inode, _ = self._handles[fd]
        data = bytes(inode.seen[offset : offset + size])
        return data if len(data) == size else None

    def pread_many_now(
        self, fd: int, size: int, offsets: Iterable[int]
    ) -> list[bytes | None]:
        return [self.pread_now(fd, size, offset) for offset in offsets]

    def read_whole(self, files: Iterable[WholeFile]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for path, size, state in files:
            inode, data = self._look_up(path), None
            with suppress(StoreError):
                self._enter("read_whole", path)
                if inode is not None and not inode.is_directory:
                    if state is None or inode.identity.is_same_state(state):
                        data = bytes(inode.seen)
            found.append(data if data is not None and len(data) == size else None)
        return found

    def pwrite(self, fd: int, buffers: Sequence[Data], offset: int) -> None:
        inode, path = self._handles[fd]
        data = b"".join(buffers)
        try:
            self._enter("pwrite", path)
        except Exception:
            inode.do(Write(offset, data[: len(data) // 2]), self._clock)
            raise
        self._make_room(inode, path, offset + len(data))
        inode.do(Write(offset, data), self._clock)

    def fdatasync(self, fd: int) -> None:
        inode, path = self._handles[fd]
        try:
            self._enter("fdatasync", path)
        except Exception:
            inode.pending.clear()
            raise
        inode.sync()

    def sync_file_system(self, fd: int) -> bool:
        _, path = self._handles[fd]
        inodes = {*self._tree.inodes(), *(inode for inode, _ in self._handles.values())}
        try:
            self._enter("sync_file_system", path)
        except Exception:
            for inode in inodes:
                inode.pending.clear()
            raise
        if not self.can_sync_all:
            return False
        for inode in inodes:
            inode.sync()
        self._tree.sync()
        return True

    def fsync_directory(self, path: Name, *, at: int | None = None) -> None:
        self._enter("fsync_directory", path)
        inode = self._look_up(path, at)
        if inode is None:
            raise _error(ENOENT, path, "flush")
        self._tree.sync(inode)

    def allocate(self, fd: int, size: int) -> None:
        inode, path = self._handles[fd]
        self._enter("allocate", path)
        self._make_room(inode, path, size)
        inode.do(Write(size, None), self._clock)

    def truncate(self, fd: int, size: int) -> None:
        inode, path = self._handles[fd]
        self._enter("truncate", path)
        inode.do(Write(size, None), self._clock)

    def set_mode(self, fd: int, mode: int) -> None:
        inode, path = self._handles[fd]
        self._enter("set_mode", path)
        inode.mode = stat.S_IFMT(inode.mode) | mode

    def acl_of(self, path: Name, *, at: int | None = None) -> bytes | None:
        return None

    def set_acl(self, fd: int, acl: bytes | None) -> None:
        assert acl is None

    def permitted(self, at: int) -> int:
        return 0o755

    def free_space(self, at: Path | int) -> int:
        self._enter("free_space", at)
        return self.capacity - self._used()

    def state(self, fd: int) -> FileState:
        inode, path = self._handles[fd]
        self._enter("state", path)
        return inode.identity

    def states_at(
        self, paths: Sequence[Name], *, at: int | None = None, follow: bool = False
    ) -> list[FileState | None]:
        found: list[FileState | None] = []
        for path in paths:
            self._enter("state_at", path)
            inode = self._look_up(path, at)
            found.append(None if inode is None else inode.identity)
        return found

    def rename(
        self,
        source: Name,
        target: Name,
        *,
        at: int | None = None,
        to: int | None = None,
        replace: bool = True,
    ) -> None:
        self._enter("rename", target)
        replaced = self._look_up(target, to)
        if replaced is not None and not replace:
            raise TargetExistsError(f"{target} already exists.")
        self._move(self._key(source, at), self._key(target, to), target)
        if replaced is not None:
            replaced.links = 0

    def make_directory(self, path: Name, *, at: int | None = None) -> None:
        self._enter("make_directory", path)
        key = self._key(path, at)
        if key is None:
            raise _error(ENOENT, path, "make")
        if key not in self._tree:
            self._tree.make(key, stat.S_IFDIR | 0o700)

    def unlink(self, path: Name, *, at: int | None = None) -> None:
        self._enter("unlink", path)
        inode = self._look_up(path, at)
        if inode is not None:
            assert not inode.is_directory
            self._remove(path, at, inode)

    def remove_directory(self, path: Name, *, at: int | None = None) -> bool:
        self._enter("remove_directory", path)
        inode = self._look_up(path, at)
        if inode is not None:
            if self._tree.list(inode):
                return False
            self._remove(path, at, inode)
        return True

    def lock(self, fd: int) -> bool:
        inode, path = self._handles[fd]
        self._enter("lock", path)
        return self._locks.setdefault(inode.number, fd) == fd

    def boot_id(self) -> bytes:
        self._enter("boot_id", "the boot id")
        return self._boot.to_bytes(16, "big")

    def _enter(self, method: str, path: object) -> None:
        self.calls += 1
        self._clock += 1000
        number = self.fault(self.calls, method)
        if number == EEXIST:
            raise TargetExistsError(f"{path} already exists.")
        if number:
            raise _error(number, path, method)

    def _key(self, path: Name, at: int | None = None) -> Key | None:
        """Return the folder and name of a path; None if the folder does not exist."""
        path = Path(path)
        if at is not None:
            inode: Inode | None = self._handles[at][0]
            parts = path.parts
        else:
            if not path.is_relative_to(self._path):
                return None
            inode, parts = self._tree.root, path.relative_to(self._path).parts
        return self._tree.key(inode, parts)

    def _look_up(self, path: Name, at: int | None = None) -> Inode | None:
        key = self._key(path, at)
        if key is None:
            return None
        if key[1] == ".":
            return self._tree.root if at is None else self._handles[at][0]
        return self._tree.get(key)

    def _opened(self, path: Name, at: int | None) -> int:
        inode = self._look_up(path, at)
        assert inode is not None
        if inode.is_directory:
            raise UsageError(f"{path} is not a regular file")
        self._opens += 1
        self._handles[self._opens] = inode, PurePath(path)
        return self._opens

    def _move(self, old: Key | None, new: Key | None, target: Name) -> None:
        if old is None or old not in self._tree or new is None:
            raise _error(ENOENT, target, "write")
        self._tree.move(old, new)

    def _remove(self, path: Name, at: int | None, inode: Inode) -> None:
        key = self._key(path, at)
        assert key is not None
        self._tree.remove(key)
        inode.links = 0

    def _used(self) -> int:
        return sum(len(inode.seen) for inode in self._tree.inodes())

    def _make_room(self, inode: Inode, path: object, size: int) -> None:
        if size - len(inode.seen) > self.capacity - self._used():
            raise _error(ENOSPC, path, "write")


def _error(number: int, path: object, verb: str) -> Exception:
    return translate(OSError(number, strerror(number)), path, verb)
