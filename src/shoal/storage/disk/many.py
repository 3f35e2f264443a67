"""Examine, read and create very many files with the fewest calls.

A share may have millions of small files, for each of which a few calls more are a few
seconds more. These functions do the same as a loop over the methods of `Disk`.
"""

import os
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TypeAlias

from shoal.errors import UsageError
from shoal.storage.disk.file_state import FileState
from shoal.storage.disk.system import (
    NEW_FLAGS,
    NO_LINKS,
    SAFE_FLAGS,
    Below,
    Name,
    NewFile,
    NewFiles,
    translate,
)

__all__ = ["WholeFile", "create_files", "read_whole", "states_of"]

WholeFile: TypeAlias = tuple[Name, int, FileState | None]
"""A file to read: its path, its size in bytes, and the state it must be in, if any."""

_READ = os.O_RDONLY | NO_LINKS | SAFE_FLAGS
_MANY = 100  # files; creating fewer takes less time than starting a thread
# All of `FileState`, and those of its fields that `is_same_state` compares.
_state = attrgetter(
    *("st_dev", "st_ino", "st_size", "st_mtime_ns"),
    *("st_nlink", "st_mode", "st_uid", "st_ctime_ns"),
)
_same = attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns")


def states_of(
    names: Iterable[Name], at: int | None, follow: bool, folder: object
) -> list[FileState | None]:
    """Return the states of files; None for each that does not exist.

    `folder` is the name of the open folder `at`, for messages.
    """
    found: list[FileState | None] = []
    stat, new = os.stat, tuple.__new__
    for name in names:
        try:
            values = _state(stat(name, dir_fd=at, follow_symlinks=follow))
        except (FileNotFoundError, NotADirectoryError):
            found.append(None)
        except ValueError as error:
            raise UsageError(f"{str(name)!r} cannot be the name of a file.") from error
        except OSError as error:
            place = name if at is None else Below(folder, name)
            raise translate(error, place, "examine") from error
        else:
            found.append(new(FileState, values))
    return found


def read_whole(files: Iterable[WholeFile]) -> list[bytes | None]:
    """Return all bytes of regular files; None for each that is not as it should be.

    That is a file that cannot be read, has another size or state, or is a link.
    """
    found: list[bytes | None] = []
    open_file, fstat, read, close = os.open, os.fstat, os.read, os.close
    for path, size, state in files:
        data = None
        try:
            fd = open_file(path, _READ)
            try:
                if state is None or _same(fstat(fd)) == state[:4]:
                    data = read(fd, size + 1)
            finally:
                close(fd)
        except OSError:
            data = None
        found.append(data if data is not None and len(data) == size else None)
    return found


def create_files(folders: Sequence[NewFiles], names: Sequence[object]) -> list[int]:
    """Create files in several folders, in each only those before a name that exists.

    Return how many in each. `names` are the folders' own, for messages.
    """
    made = [0] * len(folders)
    turns = iter(range(len(folders)))

    def make() -> None:
        for turn in turns:
            made[turn] = _create_files(*folders[turn], names[turn])

    if len(folders) == 1 or sum(len(files) for _, files in folders) < _MANY:
        make()
        return made
    from concurrent.futures import ThreadPoolExecutor

    # Most of the time is the kernel's work on each folder, and two threads in
    # different folders do not wait for each other.
    with ThreadPoolExecutor(1, "shoal-make") as pool:
        other = pool.submit(make)
        make()
    other.result()
    return made


def _create_files(at: int, files: Sequence[NewFile], folder: object) -> int:
    # There may be very many small files, so this makes the fewest calls.
    write, close = os.write, os.close
    for number, (name, data, mode) in enumerate(files):
        try:
            fd = os.open(name, NEW_FLAGS, mode, dir_fd=at)
        except FileExistsError:
            return number
        except OSError as error:
            raise translate(error, Below(folder, name), "create") from error
        try:
            try:
                done = write(fd, data)
                while done < len(data):
                    done += write(fd, memoryview(data)[done:])
            finally:
                close(fd)
        except OSError as error:
            raise translate(error, Below(folder, name), "write") from error
    return len(files)
