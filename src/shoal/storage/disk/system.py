"""The flags of the system's calls on files, and what their errors mean.

`translate` turns the errors of the system into those of `shoal.errors`.
"""

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from errno import (
    EACCES,
    EDQUOT,
    EEXIST,
    EFBIG,
    EINVAL,
    ELOOP,
    EMFILE,
    ENFILE,
    ENOSPC,
    ENOSYS,
    ENOTEMPTY,
    ENOTSUP,
    EPERM,
    EROFS,
)
from pathlib import Path
from typing import NamedTuple, TypeAlias

from shoal.errors import (
    NO_DESCRIPTORS,
    DiskFullError,
    ForbiddenError,
    StoreError,
    TargetExistsError,
    UsageError,
    run_again,
)
from shoal.storage.disk.linux import rename_without_replacing

__all__ = [
    "FOLDER_FLAGS",
    "NEW_FLAGS",
    "NO_LINKS",
    "SAFE_FLAGS",
    "UNKNOWN_BOOT",
    "UNSUPPORTED",
    "Below",
    "Data",
    "Name",
    "NewFile",
    "NewFiles",
    "real_path",
    "rename_new",
    "translate",
    "translated",
    "write_slices",
]

Data: TypeAlias = bytes | bytearray | memoryview
"""Bytes to be written; a memoryview must have items of one byte."""

Name: TypeAlias = Path | str
"""A path; relative to the open folder `at` if a method is given one."""

NewFile: TypeAlias = tuple[str, Data, int]
"""A file to create: its name, its bytes, and its permissions before the umask."""

NewFiles: TypeAlias = tuple[int, Sequence[NewFile]]
"""An open folder, and the files to create in it."""

UNKNOWN_BOOT = bytes(16)
"""The boot id of a machine that does not report one; two of these never match."""


SAFE_FLAGS = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a FIFO must not hang
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
"""The flags with which every file is opened."""
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
"""The flag with which a link is refused, on systems that have it."""
FOLDER_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | SAFE_FLAGS
"""The flags with which every folder is opened."""
UNSUPPORTED = frozenset({EINVAL, ENOSYS, ENOTSUP, EPERM})
"""The errors of a kernel or file system that does not support an operation."""
NEW_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINKS | SAFE_FLAGS
"""The flags with which every new file is created."""
_MAX_BUFFERS = 1024  # buffers; the most that Linux accepts in one pwritev
# Bytes per write call. Larger calls were up to four times slower when measured;
# docs/design.md gives possible reasons.
_SLICE = 256 * 1024


def write_slices(fd: int, buffers: Sequence[Data], offset: int) -> None:
    """Write all buffers, one after the other, beginning at `offset`."""
    for some in _slices(buffers):
        offset = _write_all(fd, some, offset)


def _slices(buffers: Sequence[Data]) -> Iterator[list[Data]]:
    """Yield the same bytes in lists, each small enough for one write call."""
    some: list[Data] = []
    size = 0
    for buffer in buffers:
        view = memoryview(buffer)
        while view:
            part = view[: _SLICE - size]
            some.append(part)
            size += len(part)
            view = view[len(part) :]
            if size == _SLICE or len(some) == _MAX_BUFFERS:
                yield some
                some, size = [], 0
    if some:
        yield some


def _write_all(fd: int, buffers: Sequence[Data], offset: int) -> int:
    """Write all buffers at `offset`; return the offset after them."""
    end = offset + sum(map(len, buffers))
    while (written := os.pwritev(fd, buffers, offset)) < end - offset:
        offset += written
        rest: list[Data] = []
        for buffer in buffers:
            if written < len(buffer):
                rest.append(memoryview(buffer)[written:])
            written = max(0, written - len(buffer))
        buffers = rest
    return end


class Below(NamedTuple):
    """A name in an open folder; joined only when a message needs the text."""

    folder: object
    name: object

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


def translate(error: OSError, path: object, verb: str) -> StoreError:
    """Return the shoal error for a system error about `path`.

    `verb` is the operation that failed: open, read, write and so on.
    """
    number = error.errno
    if number in (ENOSPC, EDQUOT):
        return DiskFullError(
            f"The disk is full: there is no space for {path}. "
            f"Free some space and {run_again()} to resume."
        )
    if number == EFBIG:
        return StoreError(
            f"{path} would be larger than is allowed here; raise the limit (ulimit -f) "
            "or choose a file system that stores larger files."
        )
    if number in (EMFILE, ENFILE):
        return StoreError(NO_DESCRIPTORS)
    if number in (EACCES, EPERM, EROFS):
        return ForbiddenError(
            f"This machine does not allow shoal to {verb} {path} ({error.strerror}); "
            "change its permissions or choose another place."
        )
    return StoreError(
        f"Could not {verb} {path} ({error.strerror}); "
        f"fix the problem and {run_again()}."
    )


class translated:
    """Raise the error of `translate` for a system error that is not ignored.

    It is a class because each read of each file enters one: a generator would take
    several times as long.
    """

    __slots__ = ("_ignored", "_path", "_verb")

    def __init__(self, path: object, verb: str, ignored: Collection[int] = ()) -> None:
        self._path = path
        self._verb = verb
        self._ignored = ignored

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> bool | None:
        if not isinstance(error, OSError):
            return None
        if error.errno not in self._ignored:
            raise translate(error, self._path, self._verb) from error
        return True


def real_path(path: str) -> str | None:
    """Return where the links in a path lead; None if nothing is there.

    Raises `UsageError` if a link leads back to itself.
    """
    try:
        return os.path.realpath(path, strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == ELOOP:
            raise UsageError(
                f"{path} is a link that leads back to itself; remove or exclude it."
            ) from None
        raise translate(error, path, "follow") from error


def rename_new(
    source: Name, target: Name, at: int | None, to: int | None, place: object
) -> None:
    """Rename a file or folder without replacing anything.

    Raises `TargetExistsError` with `place`, the name of the target, if that exists.
    """
    try:
        try:
            rename_without_replacing(str(source), str(target), at, to)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            _rename_new_without_renameat2(source, target, at, to)
    except OSError as error:
        if error.errno not in (EEXIST, ENOTEMPTY):
            raise
        raise TargetExistsError(
            f"Another program created {place}, which was left unchanged; "
            "choose another name."
        ) from error


def _rename_new_without_renameat2(
    source: Name, target: Name, at: int | None, to: int | None
) -> None:
    """Rename without replacing, where the kernel cannot do that in one call.

    A file gets the new name as a second one, which fails if the name exists, and then
    loses the old one. A folder cannot have two names; `os.rename` replaces a folder
    only if it is empty.
    """
    if stat.S_ISDIR(os.stat(source, dir_fd=at, follow_symlinks=False).st_mode):
        if _exists(target, to):
            raise FileExistsError(EEXIST, os.strerror(EEXIST))
        os.rename(source, target, src_dir_fd=at, dst_dir_fd=to)
        return
    try:
        os.link(source, target, src_dir_fd=at, dst_dir_fd=to, follow_symlinks=False)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        # No hard links either (FAT): create the new name, then rename over it.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE_FLAGS
        os.close(os.open(target, flags, 0o600, dir_fd=to))
        os.replace(source, target, src_dir_fd=at, dst_dir_fd=to)
    else:
        os.unlink(source, dir_fd=at)


def _exists(path: Name, at: int | None) -> bool:
    try:
        os.stat(path, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
