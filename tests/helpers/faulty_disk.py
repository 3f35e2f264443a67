"""A disk in memory that loses power, loses processes, fills up and fails.

It keeps what was synced apart from what was not. `lose_power` keeps of the latter
a random part only: of each write nothing, all, or some sectors; of the names made,
changed and removed any. `lose_process` keeps everything but open files and locks.

`fault` decides before each call whether it fails: it gets the number of the call
and the name of the method, and returns an errno, or 0. A write that fails has been
done half; a sync that fails drops what it should have made safe for good, though
it still can be read (as Linux does).
"""

import random
import stat
from collections.abc import Callable, Sequence
from errno import EEXIST, ENOENT, ENOSPC
from os import strerror
from pathlib import Path, PurePath
from typing import NamedTuple

from shoal.errors import TargetExistsError, UsageError
from shoal.storage.disk import Data, Identity
from shoal.storage.osdisk import translate

__all__ = ["SECTOR", "FaultyDisk"]

SECTOR = 64
"""How many bytes are written whole or not at all, if the power goes."""


class _Write(NamedTuple):
    """Put data somewhere, or, without data, set the size to `offset`."""

    offset: int
    data: bytes | None


class _Inode:
    def __init__(self, number: int, mode: int) -> None:
        self.number = number
        self.mode = mode
        self.mtime = 0
        self.links = 1
        self.seen = bytearray()  # what reading gives
        self.safe = bytearray()  # what a power loss leaves, whatever happens
        self.pending: list[_Write] = []

    def do(self, write: _Write, now: int) -> None:
        _apply(self.seen, write)
        self.pending.append(write)
        self.mtime = now

    def sync(self) -> None:
        for write in self.pending:
            _apply(self.safe, write)
        self.pending.clear()


class _Naming(NamedTuple):
    """Remove the name `old` and give `new` to an inode, in one step."""

    old: Path | None
    new: Path | None
    inode: _Inode | None

    def apply(self, names: dict[Path, _Inode]) -> None:
        if self.old is not None:
            names.pop(self.old, None)
        if self.new is not None and self.inode is not None:
            names[self.new] = self.inode

    def touches(self, directory: Path) -> bool:
        return any(path and path.parent == directory for path in self[:2])


class FaultyDisk:
    """Be a `Disk` that fails as told."""

    def __init__(self, root: Path, capacity: int = 1 << 40) -> None:
        self.fault: Callable[[int, str], int] = lambda number, method: 0
        """Says which calls fail, see above."""
        self.calls = 0
        """How many calls there were."""
        self.capacity = capacity
        """How many bytes all files together may have."""
        self._root = root
        self._boot = 1
        self._clock = 0
        self._numbers = 0
        self._names = {root: self._inode(stat.S_IFDIR | 0o755)}
        self._safe_names = dict(self._names)
        self._unsafe: list[_Naming] = []
        self._open: dict[int, tuple[_Inode, Path]] = {}
        self._locks: dict[int, int] = {}  # inode -> fd

    # What happens to it.

    def lose_process(self) -> None:
        """Let the process die that has everything open."""
        self._open.clear()
        self._locks.clear()

    def lose_power(self, rng: random.Random) -> None:
        """Go off and on again, with what was not synced partly lost."""
        self.lose_process()
        self._boot += 1
        for naming in self._unsafe:
            if rng.random() < 0.5:
                naming.apply(self._safe_names)
        self._unsafe.clear()
        self._names = {self._root: self._names[self._root]}
        for path in sorted(self._safe_names):  # a folder before what is in it
            if path.parent in self._names:
                self._names[path] = self._safe_names[path]
        self._safe_names = dict(self._names)
        for inode in set(self._names.values()):
            for write in inode.pending:
                _apply_some(inode.safe, write, rng)
            inode.pending.clear()
            inode.seen[:] = inode.safe

    def contents(self, path: Path) -> bytes | None:
        """Return what is in a file; None when there is none."""
        inode = self._names.get(path)
        return None if inode is None else bytes(inode.seen)

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        """Change a file behind everybody's back."""
        self._clock += 10**10
        self._names[path].do(_Write(offset, data), self._clock)

    def paths(self) -> set[Path]:
        """Return the names of all there is but the root."""
        return set(list(self._names)[1:])

    # What `Disk` says.

    def open_read(self, path: Path, *, follow: bool = False) -> int:
        self._enter("open_read", path)
        if path not in self._names:
            raise translate(OSError(ENOENT, strerror(ENOENT)), path, "open")
        return self._opened(path)

    def open_write(self, path: Path) -> int:
        self._enter("open_write", path)
        if path.parent not in self._names:
            raise translate(OSError(ENOENT, strerror(ENOENT)), path, "open")
        if path not in self._names:
            self._name(_Naming(None, path, self._inode(stat.S_IFREG | 0o600)))
        return self._opened(path)

    def close(self, fd: int) -> None:
        inode, _ = self._open.pop(fd)
        if self._locks.get(inode.number) == fd:
            del self._locks[inode.number]

    def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int) -> int:
        data = self.pread(fd, len(buffer), offset)
        buffer[: len(data)] = data
        return len(data)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        inode, path = self._open[fd]
        self._enter("pread", path)
        return bytes(inode.seen[offset : offset + size])

    def pread_now(self, fd: int, size: int, offset: int) -> bytes | None:
        inode, _ = self._open[fd]
        data = bytes(inode.seen[offset : offset + size])
        return data if len(data) == size else None

    def pwrite(self, fd: int, buffers: Sequence[Data], offset: int) -> None:
        inode, path = self._open[fd]
        data = b"".join(buffers)
        try:
            self._enter("pwrite", path)
        except Exception:
            inode.do(_Write(offset, data[: len(data) // 2]), self._clock)
            raise
        self._make_room(inode, path, offset + len(data))
        inode.do(_Write(offset, data), self._clock)

    def fdatasync(self, fd: int) -> None:
        inode, path = self._open[fd]
        try:
            self._enter("fdatasync", path)
        except Exception:
            inode.pending.clear()
            raise
        inode.sync()

    def fsync_directory(self, path: Path) -> None:
        self._enter("fsync_directory", path)
        for naming in self._unsafe:
            if naming.touches(path):
                naming.apply(self._safe_names)
        self._unsafe = [each for each in self._unsafe if not each.touches(path)]

    def allocate(self, fd: int, size: int) -> None:
        inode, path = self._open[fd]
        self._enter("allocate", path)
        self._make_room(inode, path, size)
        inode.do(_Write(size, None), self._clock)

    def truncate(self, fd: int, size: int) -> None:
        inode, path = self._open[fd]
        self._enter("truncate", path)
        inode.do(_Write(size, None), self._clock)

    def make_public(self, fd: int) -> None:
        inode, path = self._open[fd]
        self._enter("make_public", path)
        inode.mode = stat.S_IFREG | 0o644

    def free_space(self, path: Path) -> int:
        self._enter("free_space", path)
        return self.capacity - self._used()

    def identity(self, fd: int) -> Identity:
        inode, path = self._open[fd]
        self._enter("identity", path)
        return _identity(inode)

    def identity_at(self, path: Path, *, follow: bool = False) -> Identity | None:
        self._enter("identity_at", path)
        inode = self._names.get(path)
        return None if inode is None else _identity(inode)

    def rename(self, source: Path, target: Path) -> None:
        self._enter("rename", target)
        if target in self._names:
            self._names[target].links = 0
        self._name(_Naming(source, target, self._names[source]))

    def rename_new(self, source: Path, target: Path) -> None:
        self._enter("rename_new", target)
        if target in self._names:
            raise TargetExistsError(f"{target} is already there.")
        self._name(_Naming(source, target, self._names[source]))

    def make_directory(self, path: Path) -> None:
        self._enter("make_directory", path)
        if path not in self._names:
            self._name(_Naming(None, path, self._inode(stat.S_IFDIR | 0o700)))

    def unlink(self, path: Path) -> None:
        self._enter("unlink", path)
        if path in self._names:
            self._names[path].links = 0
            self._name(_Naming(path, None, None))

    def remove_directory(self, path: Path) -> bool:
        self._enter("remove_directory", path)
        if any(other.parent == path for other in self._names):
            return False
        self._name(_Naming(path, None, None))
        return True

    def lock(self, fd: int) -> bool:
        inode, path = self._open[fd]
        self._enter("lock", path)
        return self._locks.setdefault(inode.number, fd) == fd

    def boot_id(self) -> bytes:
        self._enter("boot_id", "the boot id")
        return self._boot.to_bytes(16, "big")

    def _enter(self, method: str, path: PurePath | str) -> None:
        self.calls += 1
        self._clock += 1000
        number = self.fault(self.calls, method)
        if number == EEXIST:
            raise TargetExistsError(f"{path} is already there.")
        if number:
            raise translate(OSError(number, strerror(number)), path, method)

    def _inode(self, mode: int) -> _Inode:
        self._numbers += 1
        return _Inode(self._numbers, mode)

    def _opened(self, path: Path) -> int:
        inode = self._names[path]
        if stat.S_ISDIR(inode.mode):
            raise UsageError(f"{path} is not a regular file")
        self._numbers += 1
        self._open[self._numbers] = inode, path
        return self._numbers

    def _name(self, naming: _Naming) -> None:
        naming.apply(self._names)
        self._unsafe.append(naming)

    def _used(self) -> int:
        return sum(len(inode.seen) for inode in set(self._names.values()))

    def _make_room(self, inode: _Inode, path: Path, size: int) -> None:
        if size - len(inode.seen) > self.capacity - self._used():
            raise translate(OSError(ENOSPC, strerror(ENOSPC)), path, "write")


def _identity(inode: _Inode) -> Identity:
    return Identity(
        1, inode.number, len(inode.seen), inode.mtime, inode.links, inode.mode, 0
    )


def _apply(data: bytearray, write: _Write) -> None:
    end = write.offset + len(write.data or b"")
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    if write.data is None:
        del data[end:]
    else:
        data[write.offset : end] = write.data


def _apply_some(data: bytearray, write: _Write, rng: random.Random) -> None:
    """Apply a write whole, not at all, or torn."""
    kind = rng.randrange(3)
    if kind == 0:
        return
    if kind == 1 or write.data is None:
        _apply(data, write)
        return
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        if rng.random() < 0.5:
            torn = write.data[start - write.offset : stop - write.offset]
            _apply(data, _Write(start, torn))
        start = stop
