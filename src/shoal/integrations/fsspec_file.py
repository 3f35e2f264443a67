"""Open files of shares as fsspec has them, and copies of them on the local disk."""

import io
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from fsspec.caching import BaseCache, caches
from fsspec.callbacks import Callback

from shoal.blocking.file import BlockingFile
from shoal.blocking.loop_thread import LoopThread
from shoal.core.names.link import Link

if TYPE_CHECKING:
    from shoal.integrations.fsspec import ShoalFileSystem

__all__ = ["Place", "ShoalFile", "copy_to", "write_copy"]

READ_SIZE = 64 * 1024  # bytes; the unit of a cache type of fsspec
COPY_SIZE = 1024 * 1024  # bytes read at once for a local copy

Place: TypeAlias = tuple[LoopThread, Link, str]
"""The thread of the node that reads a file, the link, and the path in the share."""


class ShoalFile(BlockingFile):
    """Read a file of a share; `ShoalFileSystem.open` returns these.

    Without a `cache_type`, only shoal's own cache is used: it keeps whole chunks and
    prefetches for sequential reads. Threads may share a file, as they may share a
    `BlockingFile`. A pickled file opens again, at its position.
    """

    def __init__(
        self,
        fs: "ShoalFileSystem",
        path: str,
        place: Place,
        *,
        block_size: int | None,
        cache_type: str,
        cache_options: Mapping[str, Any] | None,
    ) -> None:
        """Open `path`, which is at `place`; use `ShoalFileSystem.open` instead.

        The block size, in bytes, is that of the cache. Raises what `Node.open` raises.
        """
        super().__init__(*place, timeout=fs.read_timeout)
        self.fs = fs
        """The file system."""
        self.path = path
        """The path with the id of the share."""
        self.blocksize = block_size or READ_SIZE
        self._cache_options = dict(cache_options or {})
        self.cache = caches[cache_type](
            self.blocksize, self._fetch_range, self.size, **self._cache_options
        )

    @property
    def cache(self) -> Any:
        """Return the cache of fsspec that reads pass through."""
        return self._cache

    @cache.setter
    def cache(self, cache: Any) -> None:
        # fsspec's block cache replaces the cache of an open file by its own.
        self._cache = cache
        is_none = cache is None or type(cache) is BaseCache
        self._raw.read_through(None if is_none else cache._fetch)

    @property
    def closed(self) -> bool:
        """Return True after `close`."""
        return io.RawIOBase.closed.__get__(self)  # type: ignore[no-any-return]

    @closed.setter
    def closed(self, closed: bool) -> None:
        # fsspec's block cache sets this after it has called `close`.
        if closed:
            self.close()

    @property
    def loc(self) -> int:
        """Return the position, as fsspec calls it."""
        return self.tell()

    @property
    def details(self) -> dict[str, Any]:
        """Return the description of the file: `file.details["size"]`."""
        return self.fs.info(self.path)

    def info(self) -> dict[str, Any]:
        """Return the description of the file: `file.info()["size"]`."""
        return self.details

    @property
    def full_name(self) -> str:
        """Return the URL of the file."""
        return self.fs.unstrip_protocol(self.path)

    def close(self) -> None:
        """Close the file and leave the share: `file.close()`; idempotent."""
        close = getattr(getattr(self, "_cache", None), "close", None)
        if not self.closed and close is not None:
            close()
        super().close()

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._raw.fetch(start, end)

    def __reduce__(self) -> tuple[Any, ...]:
        name = "none" if self._cache is None else self._cache.name or "none"
        options = self._cache_options
        place = self.tell()
        return _reopen, (self.fs, self.path, self.blocksize, name, options, place)


def _reopen(
    fs: "ShoalFileSystem",
    path: str,
    block_size: int,
    cache_type: str,
    cache_options: dict[str, Any],
    position: int,
) -> ShoalFile:
    options = {"cache_type": cache_type, "cache_options": cache_options}
    file: ShoalFile = fs.open(path, block_size=block_size, **options)
    file.seek(position)
    return file


def write_copy(file: ShoalFile, path: str, callback: Callback) -> None:
    """Write a local copy of a file, which appears under its name when it is complete.

    A reader of the copy, or the next run after an interruption, would take part of it
    for the whole. Raises `OSError` and what `read` raises.
    """
    path = os.path.realpath(path)  # a symbolic link stays one
    if os.path.exists(path) and not os.path.isfile(path):
        # A device or a pipe has no complete copy; a folder raises the usual error.
        with open(path, "wb") as out:
            copy_to(file, out, callback)
        return
    temporary = os.path.join(os.path.dirname(path), f".shoal-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as out:
            copy_to(file, out, callback)
        with suppress(FileNotFoundError):
            os.chmod(temporary, os.stat(path).st_mode & 0o7777)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def copy_to(file: ShoalFile, out: BinaryIO, callback: Callback) -> None:
    """Write the bytes of a file to an open one; raises what `read` and `write` do."""
    callback.set_size(file.size)
    while data := file.read(COPY_SIZE):
        out.write(data)
        callback.relative_update(len(data))
