"""What a read-only file system answers to methods that write."""

import errno
from functools import partialmethod
from typing import Any, NoReturn

from fsspec import AbstractFileSystem

from shoal.blocking.file import READ_ONLY

__all__ = ["ReadOnlyFileSystem", "read_only"]


def read_only() -> OSError:
    """Return the error of a call that would write."""
    return OSError(errno.EROFS, READ_ONLY)


class ReadOnlyFileSystem(AbstractFileSystem):
    """Refuse to write: fsspec would try it, or do nothing and report no error."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise read_only()

    # They take whatever their callers pass.
    _any = partialmethod(_refuse)
    mkdir = makedirs = rmdir = touch = put = put_file = pipe = pipe_file = _any
    rm = rm_file = _rm = cp_file = copy = mv = write_text = write_bytes = _any
