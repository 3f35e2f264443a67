"""Every file and folder of a share by its path, as fsspec describes them."""

import errno
from typing import Any, TypeAlias

from shoal.core.manifest.manifest import Manifest

__all__ = ["Info", "Tree", "inner_path"]

Info: TypeAlias = dict[str, Any]


class Tree:
    """Know every file and folder of one share by its path."""

    def __init__(self, top: str, manifest: Manifest) -> None:
        self._infos: dict[str, Info] = {}
        self.folders: dict[str, list[Info]] = {}
        """What is in each folder, in order."""
        self._folder(top)
        for file in manifest.files:
            self._add(f"{top}/{file.path}", file.size, "file", file.executable)
        self.only_file: Info | None = None
        """Of a share that is one file, that."""
        if not manifest.root.is_folder:
            (self.only_file,) = self.folders[top]

    def info(self, path: str) -> Info:
        """Return what is known of a path; raises `FileNotFoundError`."""
        info = self._infos.get(path)
        if info is None:
            what = "That is not in the share"
            raise FileNotFoundError(errno.ENOENT, what, inner_path(path))
        return info

    def _folder(self, path: str) -> list[Info]:
        """Return what is in a folder; there is one from now on."""
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


def inner_path(path: str) -> str:
    """Return the path within its share of what has the share's id before it."""
    return path.partition("/")[2]
