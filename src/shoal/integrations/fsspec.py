"""Shares as a read-only fsspec file system: `shoal://ID/path`.

ID is the link without its `shoal:`, and the path is the one within the share; for a
share that is a single file, the path is the file's name or empty. All file systems with
the same settings share one background node, whichever threads they were made in. A
forked process starts its own node.
"""

import asyncio
import errno
import io
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast
from weakref import WeakValueDictionary

from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from shoal.blocking.file import BlockingFile
from shoal.blocking.loop_thread import LoopThread
from shoal.config.settings import Settings, SettingsFields
from shoal.core.manifest.file_table import File
from shoal.core.manifest.listing import children
from shoal.core.manifest.manifest import Manifest, Missing
from shoal.core.names.link import Link, parse_link
from shoal.errors import NotFoundError
from shoal.node.node import Node

__all__ = ["ShoalFile", "ShoalFileSystem"]

TIMEOUT = 60.0  # seconds without a new chunk after which a read fails
MAX_RANGES = 16  # ranges that `cat_ranges` reads at the same time
MAX_TREES = 32  # shares whose names are kept in memory
READ_SIZE = 64 * 1024  # bytes per read while searching for the end of a line
# An id, then optional hints and an optional path, which is not decoded.
_URL = re.compile(r"(?:shoal:(?://)?)?([A-Za-z2-7]{56})(?:\?([^/]*))?(/.*)?", re.DOTALL)

Info: TypeAlias = dict[str, Any]


class ShoalFileSystem(AbstractFileSystem):
    """Read shares through fsspec.

    ```python
    frame = pandas.read_parquet(f"shoal://{id}/data.parquet", columns=["price"])
    names = fsspec.filesystem("shoal", peers="192.0.2.7:4001").ls(id)
    ```

    Storage options are the fields of `Settings`; they take precedence over the
    variables `SHOAL_…`. Without a `timeout`, a read fails after a minute without data.
    Peers named in a link (`shoal://ID?peer=HOST:PORT/path`) are used only with
    `use_hints=True`, because a link may come from anyone and be used unseen.
    """

    protocol = "shoal"
    root_marker = ""

    def __init__(
        self,
        hints: str = "",
        use_hints: bool = False,
        **storage_options: Any,
    ) -> None:
        """Prepare to read shares; `hints` is the part of a link after its `?`.

        Nothing is connected yet. Raises `UsageError` for an invalid setting.
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
            raise io.UnsupportedOperation("shares are read-only")
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
        """Open a file as shoal's own file object: `fs.open_blocking(path)`."""
        name = self._file_info(path)["name"]
        link = self._link_of(name)
        return BlockingFile(
            self._loop_thread, link, _inner_path(name), timeout=self._timeout
        )

    # Lookup.

    @property
    def _timeout(self) -> float | None:
        return TIMEOUT if self._loop_thread.settings.timeout is None else None

    def _link_of(self, path: str) -> Link:
        text = path.partition("/")[0]
        return parse_link(f"{text}?{self._hints}" if self._hints else text)

    def _file_info(self, path: str) -> Info:
        """Return the description of a file; a share's id alone names its only file."""
        path = self._strip_protocol(path)
        tree = self._tree(path)
        info = tree.info(tree.only_file or path if "/" not in path else path)
        if info["type"] != "file":
            raise IsADirectoryError(errno.EISDIR, "This is a folder", _inner_path(path))
        return info

    def _tree(self, path: str) -> "ShareTree":
        """Return the names in a share; each is loaded once, as they never change."""
        top = path.partition("/")[0]
        if not top:
            raise FileNotFoundError(errno.ENOENT, "Name a share: shoal://ID/path")
        tree = self._trees.get(top)
        if tree is None:
            link = self._link_of(path)

            def load(missing: Missing) -> Manifest:
                return self._loop_thread.call(
                    lambda node: node.load(link, missing, timeout=self._timeout)
                )

            tree = self._trees[top] = ShareTree(top, load)
            if len(self._trees) > MAX_TREES:
                self._trees.popitem(last=False)
        return tree


class ShoalFile(AbstractBufferedFile):
    """Read a file of a share; `ShoalFileSystem.open` returns these.

    Without a `cache_type`, only shoal's own cache is used: it keeps whole chunks and
    prefetches for sequential reads.
    """

    DEFAULT_BLOCK_SIZE = READ_SIZE

    def _fetch_range(self, start: int, end: int) -> bytes:
        if self._file is None:
            self._file = self.fs.open_blocking(self.path)
        return self._file.pread(end - start, start)

    _file: BlockingFile | None = None

    def close(self) -> None:
        """Close the file and leave the share: `file.close()`; idempotent."""
        if self._file is not None:
            self._file.close()
        super().close()


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
        """Return the description of a path; raises `FileNotFoundError`."""
        inner = _inner_path(path)
        if not inner:
            return self._describe("", None)
        file = self._find(inner)
        if file is None and not self._list(inner):
            what = "The share has no such file or folder"
            raise FileNotFoundError(errno.ENOENT, what, inner)
        return self._describe(inner, file)

    def entries(self, path: str) -> list[Info]:
        """Return the descriptions of what is in a folder, or of a file.

        Raises `FileNotFoundError`.
        """
        return self._list(_inner_path(path)) or [self.info(path)]

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


def _inner_path(path: str) -> str:
    """Return the path within the share: everything after the share's id."""
    return path.partition("/")[2]


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


# One node for all file systems with the same settings.
_nodes: WeakValueDictionary[Settings, LoopThread] = WeakValueDictionary()


def _loop_thread_for(settings: Settings) -> LoopThread:
    found = _nodes.get(settings)
    if found is None:
        found = _nodes.setdefault(settings, LoopThread(settings))
    return found
