"""Shares as a file system of fsspec: `shoal://ID/path`, for reading.

ID is the link without its `shoal:`, the path is that within the share; of a share that
is one file it is the file's name, or nothing. All file systems with the same settings
have one node in the background, whatever thread they were made in, and a forked
process has its own.
"""

import asyncio
import errno
import io
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeAlias, cast
from weakref import WeakValueDictionary

from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from shoal.blocking.file import BlockingFile
from shoal.blocking.loop_thread import LoopThread
from shoal.config.settings import Settings, SettingsFields
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link, parse_link
from shoal.node.node import Node

__all__ = ["ShoalFile", "ShoalFileSystem"]

TIMEOUT = 60.0  # seconds without a new chunk after which a read fails
MAX_RANGES = 16  # read at once by `cat_ranges`
MAX_TREES = 32  # shares of which all names are kept
READ_SIZE = 64 * 1024  # bytes that are looked through at once for the end of a line
# An id, perhaps hints, perhaps a path; whatever stands in a path is left as it is.
_URL = re.compile(r"(?:shoal:(?://)?)?([A-Za-z2-7]{56})(?:\?([^/]*))?(/.*)?", re.DOTALL)

Info: TypeAlias = dict[str, Any]


class ShoalFileSystem(AbstractFileSystem):
    """Read shares through fsspec.

    ```python
    frame = pandas.read_parquet(f"shoal://{id}/data.parquet", columns=["price"])
    names = fsspec.filesystem("shoal", peers="192.0.2.7:4001").ls(id)
    ```

    Storage options are the fields of `Settings`, above the variables `SHOAL_…`;
    without a `timeout` a read fails after a minute in which nothing came. Peers named
    in a link (`shoal://ID?peer=HOST:PORT/path`) are asked only with `use_hints=True`:
    a link may come from anybody, and who reads it often does not look at it.
    """

    protocol = "shoal"
    root_marker = ""

    def __init__(
        self,
        hints: str = "",
        use_hints: bool = False,
        **storage_options: Any,
    ) -> None:
        """Ask nobody yet; `hints` is what a link has after its `?`.

        Raises `UsageError` when a setting cannot be read.
        """
        known = Settings.__struct_fields__
        fields = {k: v for k, v in storage_options.items() if k in known}
        rest = {k: v for k, v in storage_options.items() if k not in known}
        super().__init__(**rest)
        self._hints = hints if use_hints else ""
        self._loop_thread = _loop_thread_for(
            Settings.of(**cast(SettingsFields, fields))
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

    # What there is.

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """List a folder, or a file as itself: `fs.ls(id)`.

        Raises `FileNotFoundError`, and `ShoalError` when nobody has the share.
        """
        path = self._strip_protocol(path)
        tree = self._tree(path)
        found = tree.folders.get(path)
        if found is None:
            found = [tree.info(path)]
        return [dict(each) for each in found] if detail else [i["name"] for i in found]

    def info(self, path: str, **kwargs: Any) -> Info:
        """Describe a file or folder: `fs.info(f"{id}/a.txt")["size"]`.

        Raises what `ls` raises.
        """
        path = self._strip_protocol(path)
        return dict(self._tree(path).info(path))

    def ukey(self, path: str) -> str:
        """Return what names these bytes for ever: `fs.ukey(path)`."""
        return str(self._strip_protocol(path))

    def checksum(self, path: str) -> str:
        """Return what changes with the content, so never: `fs.checksum(path)`."""
        return self.ukey(path)

    # What is in it.

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Return bytes of a file: `fs.cat_file(path, 0, 8)`; raises what `ls` raises.

        As in a slice, negative numbers count from the end.
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
        """Return several ranges, fetched at once: `fs.cat_ranges(paths, 0, 8)`.

        Neighbours within `max_gap` need not be joined: a chunk is fetched once. With
        `on_error="raise"` the first error is raised instead of returned.
        """
        if not isinstance(paths, list):
            raise TypeError("paths has to be a list")
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
        return self._link_of(info["name"]), _inner_path(info["name"]), first, stop

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        cache_type: str = "none",
        size: int | None = None,
        **kwargs: Any,
    ) -> "ShoalFile":
        if mode != "rb":
            raise io.UnsupportedOperation("a share can be read only")
        info = self._file_info(path)
        return ShoalFile(
            self,
            info["name"],
            mode,
            block_size or READ_SIZE,
            cache_type=cache_type,
            cache_options=cache_options,
            size=info["size"],
            **kwargs,
        )

    def open_blocking(self, path: str) -> BlockingFile:
        """Return the file itself, which caches by chunks: `fs.open_blocking(path)`."""
        name = self._file_info(path)["name"]
        link = self._link_of(name)
        return BlockingFile(
            self._loop_thread, link, _inner_path(name), timeout=self._timeout
        )

    # How it is found.

    @property
    def _timeout(self) -> float | None:
        return TIMEOUT if self._loop_thread.settings.timeout is None else None

    def _link_of(self, path: str) -> Link:
        text = path.partition("/")[0]
        return parse_link(f"{text}?{self._hints}" if self._hints else text)

    def _file_info(self, path: str) -> Info:
        """Return the info of a file, be it named by nothing but its share."""
        path = self._strip_protocol(path)
        tree = self._tree(path)
        if tree.only_file is not None and "/" not in path:
            return tree.only_file
        info = tree.info(path)
        if info["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, "That is a folder", _inner_path(path))
        return info

    def _tree(self, path: str) -> "ShareTree":
        """Return all names of a share; they never change."""
        top = path.partition("/")[0]
        if not top:
            raise FileNotFoundError(errno.ENOENT, "Name a share: shoal://ID/path")
        tree = self._trees.get(top)
        if tree is None:
            link = self._link_of(path)
            load = self._loop_thread.call
            manifest = load(lambda node: node.manifest(link, timeout=self._timeout))
            tree = self._trees[top] = ShareTree(top, manifest)
            if len(self._trees) > MAX_TREES:
                self._trees.popitem(last=False)
        return tree


class ShoalFile(AbstractBufferedFile):
    """Read a file of a share as fsspec has it; `ShoalFileSystem.open` makes these.

    Without a `cache_type` what shoal itself keeps has to do: whole chunks, and some
    fetched ahead for who reads on and on.
    """

    DEFAULT_BLOCK_SIZE = READ_SIZE

    def _fetch_range(self, start: int, end: int) -> bytes:
        if self._file is None:
            self._file = self.fs.open_blocking(self.path)
        return self._file.pread(end - start, start)

    _file: BlockingFile | None = None

    def close(self) -> None:
        """Let go of the share: `file.close()`; idempotent."""
        if self._file is not None:
            self._file.close()
        super().close()


class ShareTree:
    """Hold the fsspec description of every file and folder of one share, by path.

    Paths begin with the id of the share, `top`. fsspec describes a file or folder by a
    dict with at least its name, its size in bytes and its type.
    """

    def __init__(self, top: str, manifest: Manifest) -> None:
        self._infos: dict[str, Info] = {}
        self.folders: dict[str, list[Info]] = {}
        """The children of each folder, in the order of their paths."""
        self._folder(top)
        for file in manifest.files:
            self._add(f"{top}/{file.path}", file.size, "file", file.executable)
        self.only_file: Info | None = None
        """The file of a share that is a single file; None for a folder."""
        if not manifest.root.is_folder:
            (self.only_file,) = self.folders[top]

    def info(self, path: str) -> Info:
        """Return the description of a path; raises `FileNotFoundError`."""
        info = self._infos.get(path)
        if info is None:
            what = "That is not in the share"
            raise FileNotFoundError(errno.ENOENT, what, _inner_path(path))
        return info

    def _folder(self, path: str) -> list[Info]:
        """Return the children of a folder, which is added if it is new."""
        found = self.folders.get(path)
        if found is None:
            found = self.folders[path] = []
            self._add(path, 0, "directory", False)
        return found

    def _add(self, path: str, size: int, kind: str, executable: bool) -> None:
        info = {"name": path, "size": size, "type": kind, "executable": executable}
        self._infos[path] = info
        parent = path.rpartition("/")[0]
        if parent:
            self._folder(parent).append(info)


def _inner_path(path: str) -> str:
    """Return the path within the share: everything after the share's id."""
    return path.partition("/")[2]


_Range: TypeAlias = tuple[Link, str, int, int]


async def _read_ranges(node: Node, wanted: Sequence[_Range | Exception]) -> list[Any]:
    """Return the bytes of each range, or why there are none."""
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


# One node for all file systems that use the network in the same way.
_nodes: WeakValueDictionary[Settings, LoopThread] = WeakValueDictionary()


def _loop_thread_for(settings: Settings) -> LoopThread:
    found = _nodes.get(settings)
    if found is None:
        found = _nodes.setdefault(settings, LoopThread(settings))
    return found
