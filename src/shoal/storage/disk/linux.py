"""Three system calls that Python does not offer: fallocate, renameat2 and syncfs.

`os.posix_fallocate` will not do: where a file system cannot preallocate, the C
library writes a byte into every page instead, which takes minutes for a large
file. Where a call is missing (another system, an old C library) the functions
raise `OSError` with `ENOSYS`, and the caller does without.

It is imported only when one of them is needed, since ctypes costs milliseconds.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from errno import ENOSYS

__all__ = ["fallocate", "rename_without_replacing", "syncfs"]

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


def fallocate(fd: int, size: int) -> None:
    """Reserve room for the first `size` bytes of a file and make it that long."""
    _call(
        ("fallocate64", "fallocate"),
        ctypes.c_int(fd),
        ctypes.c_int(0),
        ctypes.c_longlong(0),
        ctypes.c_longlong(size),
    )


def rename_without_replacing(
    source: str, target: str, at: int | None = None, to: int | None = None
) -> None:
    """Rename a file or folder; fail with `EEXIST` when `target` is there.

    `at` and `to` are the open folders that the two names are in.
    """
    _call(
        ("renameat2",),
        ctypes.c_int(_AT_FDCWD if at is None else at),
        ctypes.c_char_p(os.fsencode(source)),
        ctypes.c_int(_AT_FDCWD if to is None else to),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(_RENAME_NOREPLACE),
    )


def syncfs(fd: int) -> None:
    """Wait until everything on the file system of an open file is on the disk."""
    _call(("syncfs",), ctypes.c_int(fd))


def _call(names: tuple[str, ...], *arguments: object) -> None:
    if _find(names)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _find(names: tuple[str, ...]) -> Callable[..., int]:
    if sys.platform == "linux":
        library = ctypes.CDLL(None, use_errno=True)
        for name in names:
            function: Callable[..., int] | None = getattr(library, name, None)
            if function is not None:
                return function
    raise OSError(ENOSYS, os.strerror(ENOSYS))
