"""Describe, open and copy the files of shares as fsspec does."""

import errno
import io
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partialmethod
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeAlias

from fsspec import AbstractFileSystem
from fsspec.caching import BaseCache, caches
from fsspec.callbacks import Callback

from shoal.blocking.file import READ_ONLY, BlockingFile
from shoal.blocking.loop_thread import LoopThread
from shoal.core.manifest.file_tree import File
from shoal.core.manifest.listing import children
from shoal.core.manifest.manifest import Manifest, Missing
from shoal.core.names.link import Link
from shoal.errors import NotFoundError

if TYPE_CHECKING:
    from shoal.integrations.fsspec import ShoalFileSystem

__all__ = [
    "DATE",
    "Info",
    "Place",
    "ReadOnlyFileSystem",
    "ShareTree",
    "ShoalFile",
    "copy_to",
    "inner_path",
    "read_only",
    "write_copy",
]

# The bytes behind a path never change, so every file has the same date: the first that
# all formats can express. Readers compare it with the date of what they have cached.
DATE = datetime(1980, 1, 1, tzinfo=UTC)

Info: TypeAlias = dict[str, Any]


class ShareTree:
    """Describe the files and folders of one share for fsspec.

    Paths begin with the id of the share, `top`. fsspec describes a file or folder by a
    dict with at least its name, its size in bytes and its type. The pages of the list
    of files are loaded when a name needs them, and kept.
    """

    def __init__(self, top: str, load: Callable[[Missing], Manifest]) -> None:
        """Start with the root record; `load` returns a manifest with more pages."""
        self._top = top
        self._load_from = load
        self._manifest = load(lambda manifest: ())
        self.only_file: str | None = None
        """The path of a share's only file; None for a folder."""
        if not self._manifest.root.is_folder:
            self.only_file = f"{top}/{self._manifest.root.name}"

    def info(self, path: str) -> Info:
        """Return the description of a path, with its date.

        Raises `FileNotFoundError`.
        """
        inner = inner_path(path)
        file = self._find(inner) if inner else None
        if inner and file is None and not self._list(inner):
            what = "The share has no such file or folder"
            raise FileNotFoundError(errno.ENOENT, what, inner)
        return {**self._describe(inner, file), "mtime": DATE.timestamp()}

    def entries(self, path: str) -> list[Info]:
        """Return the descriptions of what is in a folder, or of a file.

        Raises `FileNotFoundError`.
        """
        return self._list(inner_path(path)) or [self.info(path)]

    def _find(self, inner: str) -> File | None:
        self._load(lambda manifest: manifest.missing_path(inner))
        try:
            return self._manifest.find(inner)
        except NotFoundError:
            return None

    def _list(self, inner: str) -> list[Info]:
        self._load(lambda manifest: manifest.missing_children(inner))
        start = f"{inner}/" if inner else ""
        found = children(self._manifest, inner)
        return [self._describe(start + name, file) for name, file in found]

    def _load(self, missing: Missing) -> None:
        if any(True for _ in missing(self._manifest)):
            loaded = self._load_from(missing)
            for key in loaded.keys():
                self._manifest.add_page(key, loaded.page(key) or b"")

    def _describe(self, inner: str, file: File | None) -> Info:
        return {
            "name": f"{self._top}/{inner}" if inner else self._top,
            "size": 0 if file is None else file.size,
            "type": "directory" if file is None else "file",
            "executable": file is not None and file.executable,
        }


def inner_path(path: str) -> str:
    """Return the path within the share: everything after the share's id."""
    return path.partition("/")[2]


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
