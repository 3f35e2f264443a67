"""Shares as a read-only fsspec file system: `shoal://ID/path`.

ID is the link without its `shoal:`, and the path is the one within the share; for a
share that is a single file, the path is the file's name or empty. All file systems with
the same settings share one background node, whichever threads they were made in. A
forked process starts its own node.
"""

import asyncio
import errno
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast
from weakref import WeakValueDictionary

from fsspec.callbacks import DEFAULT_CALLBACK, Callback
from fsspec.utils import isfilelike

from shoal.blocking.file import BlockingFile
from shoal.blocking.loop_thread import LoopThread
from shoal.config.kinds import FLAG
from shoal.config.nearest import nearest
from shoal.config.options import OPTIONS
from shoal.config.settings import Settings, SettingsFields
from shoal.core.manifest.manifest import Manifest, Missing
from shoal.core.names.link import Link, parse_link
from shoal.errors import UsageError
from shoal.integrations.fsspec_file import (
    DATE,
    Info,
    Place,
    ReadOnlyFileSystem,
    ShareTree,
    ShoalFile,
    copy_to,
    inner_path,
    read_only,
    write_copy,
)
from shoal.node.node import Node

__all__ = ["ShoalFile", "ShoalFileSystem"]

TIMEOUT = 60.0  # seconds without a new chunk after which a read fails
MAX_RANGES = 16  # ranges that `cat_ranges` reads at the same time
MAX_TREES = 32  # shares whose names are kept in memory
OPEN_OPTIONS = ("block_size", "cache_type", "cache_options")
# Options of every file system of fsspec, which mean nothing here.
IGNORED = frozenset(
    ("asynchronous", "batch_size", "listings_expiry_time", "loop", "max_paths")
    + ("skip_instance_cache", "use_listings_cache")
)
# An id, then optional hints and an optional path, which is not decoded.
_URL = re.compile(
    r"(?:shoal:(?://)?)?([A-Za-z2-7]{56})(?:[,?]([^/]*))?(/.*)?", re.DOTALL
)


class ShoalFileSystem(ReadOnlyFileSystem):
    """Read shares through fsspec.

    ```python
    frame = pandas.read_parquet(f"shoal://{id}/data.parquet", columns=["price"])
    names = fsspec.filesystem("shoal", peers="192.0.2.7:4001").ls(id)
    ```

    Storage options are the fields of `Settings`, also as text; they take precedence
    over the variables `SHOAL_…`. Without a `timeout`, a read fails after a minute
    without data. Peers named in a link (`shoal://ID,peer=HOST:PORT/path`) are used only
    with `use_hints=True`, because a link may come from anyone and be used unseen.

    Methods that look for a path, such as `exists`, raise `NotFoundError` if no peer
    answers: that the share has no such file is known from its peers only. Those that
    write raise `OSError`.
    """

    protocol = "shoal"
    root_marker = ""

    def __init__(
        self,
        hints: str = "",
        use_hints: bool | str = False,
        **storage_options: Any,
    ) -> None:
        """Prepare to read shares; `hints` is the part of a link after its id.

        Nothing is connected yet. Raises `UsageError` for an unknown option or an
        invalid value.
        """
        settings = {
            name: _read_flag(name, value) if name in _FLAGS else value
            for name, value in storage_options.items()
            if name not in IGNORED and name not in OPEN_OPTIONS
        }
        _check_names(settings)
        super().__init__(**{k: v for k, v in storage_options.items() if k in IGNORED})
        self._open_options = {
            name: storage_options[name]
            for name in OPEN_OPTIONS
            if name in storage_options
        }
        self._hints = hints if _read_flag("use_hints", use_hints) else ""
        self._loop_thread = _loop_thread_for(
            Settings.of(**cast(SettingsFields, settings))
        )
        self._trees: OrderedDict[str, ShareTree] = OrderedDict()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = os.fspath(path)
        match = _URL.fullmatch(text)
        if match is None:
            return text.removeprefix("shoal://").rstrip("/")
        return (match[1].lower() + (match[3] or "")).rstrip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        match = _URL.fullmatch(path)
        return {"hints": match[2]} if match is not None and match[2] else {}

    # Names.

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """List the children of a folder, or a single file: `fs.ls(id)`.

        Raises `FileNotFoundError`, or `ShoalError` if no peer has the share.
        """
        path = self._strip_protocol(path)
        found = self._tree(path).entries(path)
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **kwargs: Any) -> Info:
        """Describe a file or folder: `fs.info(f"{id}/a.txt")["size"]`.

        Raises what `ls` raises.
        """
        path = self._strip_protocol(path)
        return self._tree(path).info(path)

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Return True if the share has this file or folder: `fs.exists(path)`.

        Raises `ShoalError` if no peer has the share.
        """
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Return True if the share has this file: `fs.isfile(path)`.

        Raises `ShoalError` if no peer has the share.
        """
        try:
            return bool(self.info(path)["type"] == "file")
        except FileNotFoundError:
            return False

    def created(self, path: str) -> datetime:
        """Return the same date for every path that exists: `fs.created(path)`.

        Raises what `info` raises.
        """
        self.info(path)
        return DATE

    def modified(self, path: str) -> datetime:
        """Return the same date for every path, as contents never change.

        `fs.modified(path)` raises what `info` raises.
        """
        return self.created(path)

    def ukey(self, path: str) -> str:
        """Return a key for the content, which never changes: `fs.ukey(path)`."""
        return str(self._strip_protocol(path))

    def checksum(self, path: str) -> str:
        """Return a key that would change with the content: `fs.checksum(path)`."""
        return self.ukey(path)

    # Contents.

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Return bytes of a file: `fs.cat_file(path, 0, 8)`.

        Negative positions count from the end, as in a slice. Raises what `ls` raises.
        """
        (data,) = self.cat_ranges([path], [start], [end], on_error="raise")
        return cast(bytes, data)

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Return several ranges, fetched in parallel: `fs.cat_ranges(paths, 0, 8)`.

        `max_gap` is ignored, as each chunk is fetched only once in any case. With
        `on_error="raise"`, the first error is raised instead of returned.
        """
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("there must be a start and an end for each path")
        wanted: list[_Range | Exception] = []
        for path, start, end in zip(paths, starts, ends, strict=True):
            try:
                wanted.append(self._range(path, start, end))
            except Exception as error:
                if on_error != "return":
                    raise
                wanted.append(error)
        found = self._loop_thread.call(lambda node: _read_ranges(node, wanted))
        for each in found:
            if isinstance(each, BaseException) and on_error != "return":
                raise each
        return found

    def _range(self, path: str, start: int | None, end: int | None) -> "_Range":
        info = self._file_info(path)
        first, stop, _ = slice(start, end).indices(info["size"])
        return self._link_of(info["name"]), inner_path(info["name"]), first, stop

    def get_file(
        self,
        rpath: str,
        lpath: Any = None,
        callback: Callback = DEFAULT_CALLBACK,
        outfile: Any = None,
        **kwargs: Any,
    ) -> None:
        """Copy a file to the local disk: `fs.get_file(path, "copy.bin")`.

        The copy gets its name when it is complete. A folder is made, without its files.
        Raises `OSError` and what `open` and `read` raise.
        """
        if outfile is None and isfilelike(lpath):
            outfile = lpath
        if outfile is None and self.isdir(rpath) and not self._names_only_file(rpath):
            os.makedirs(lpath, exist_ok=True)
            return
        with self._open(rpath) as file:
            if outfile is not None:
                copy_to(file, outfile, callback)
                return
            local = os.path.abspath(os.fspath(lpath))
            os.makedirs(os.path.dirname(local), exist_ok=True)
            write_copy(file, local, callback)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        cache_type: str | None = None,
        **kwargs: Any,
    ) -> ShoalFile:
        if mode != "rb":
            raise read_only()
        options, name = self._open_options, self._file_info(path)["name"]
        return ShoalFile(
            self,
            name,
            self._place_of(name),
            block_size=block_size or options.get("block_size"),
            cache_type=cache_type or options.get("cache_type", "none"),
            cache_options=cache_options or options.get("cache_options"),
        )

    def open_blocking(self, path: str) -> BlockingFile:
        """Open a file as shoal's own file object: `fs.open_blocking(path)`."""
        place = self._place_of(self._file_info(path)["name"])
        return BlockingFile(*place, timeout=self.read_timeout)

    # Lookup.

    @property
    def read_timeout(self) -> float | None:
        """Return the timeout of reads in seconds; None is that of the settings."""
        return TIMEOUT if self._loop_thread.settings.timeout is None else None

    def _place_of(self, path: str) -> Place:
        return self._loop_thread, self._link_of(path), inner_path(path)

    def _link_of(self, path: str) -> Link:
        text = path.partition("/")[0]
        return parse_link(f"{text},{self._hints}" if self._hints else text)

    def _file_info(self, path: str) -> Info:
        """Return the description of a file; a share's id alone names its only file."""
        path = self._strip_protocol(path)
        tree = self._tree(path)
        info = tree.info(tree.only_file or path if "/" not in path else path)
        if info["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, "This is a folder", inner_path(path))
        return info

    def _names_only_file(self, path: str) -> bool:
        """Return True for a share's id alone, if the share is a single file."""
        path = self._strip_protocol(path)
        return "/" not in path and self._tree(path).only_file is not None

    def _tree(self, path: str) -> "ShareTree":
        """Return the names in a share; each is loaded once, as they never change."""
        top = path.partition("/")[0]
        if not top:
            raise FileNotFoundError(errno.ENOENT, "Name a share: shoal://ID/path")
        tree = self._trees.get(top)
        if tree is None:
            link, timeout = self._link_of(path), self.read_timeout
            loop_thread = self._loop_thread  # not `self`, which would be a cycle

            def load(missing: Missing) -> Manifest:
                return loop_thread.call(
                    lambda node: node.load(link, missing, timeout=timeout)
                )

            tree = self._trees[top] = ShareTree(top, load)
            if len(self._trees) > MAX_TREES:
                self._trees.popitem(last=False)
        return tree


_Range: TypeAlias = tuple[Link, str, int, int]


async def _read_ranges(node: Node, wanted: Sequence[_Range | Exception]) -> list[Any]:
    """Return the bytes of each range, or the error that prevented it."""
    turn = asyncio.Semaphore(MAX_RANGES)

    async def read(link: Link, path: str, first: int, end: int) -> bytes:
        async with turn, node.open(link, path, timeout=timeout) as file:
            file.seek(first)
            blocks = [block async for block in file.blocks(max(end - first, 0))]
            return b"".join(blocks)

    timeout = TIMEOUT if node.settings.timeout is None else None
    reads = [read(*each) for each in wanted if isinstance(each, tuple)]
    found = iter(await asyncio.gather(*reads, return_exceptions=True))
    return [next(found) if isinstance(each, tuple) else each for each in wanted]


def _check_names(settings: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a storage option that does not exist."""
    known = SettingsFields.__optional_keys__
    for name in settings:
        if name not in known:
            near = nearest(name, (*sorted(known), "hints", "use_hints"), "; remove it.")
            raise UsageError(f"shoal's file system has no option {name[:40]!r}{near}")


_FLAGS = frozenset(option.keyword for option in OPTIONS if option.kind.types == (bool,))


def _read_flag(name: str, value: Any) -> bool:
    """Return the value of an option that is yes or no, and may be text."""
    read = FLAG.read_variable if isinstance(value, str) else FLAG.read
    try:
        return bool(read(value))
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


# One node for all file systems with the same settings.
_nodes: WeakValueDictionary[Settings, LoopThread] = WeakValueDictionary()


def _loop_thread_for(settings: Settings) -> LoopThread:
    found = _nodes.get(settings)
    if found is None:
        found = _nodes.setdefault(settings, LoopThread(settings))
    return found
