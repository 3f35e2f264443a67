"""The names in a share, as fsspec describes files and folders."""

import errno
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from shoal.core.manifest.file_tree import File
from shoal.core.manifest.listing import children
from shoal.core.manifest.manifest import Manifest, Missing
from shoal.errors import NotFoundError

__all__ = ["DATE", "Info", "ShareTree", "inner_path"]

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
