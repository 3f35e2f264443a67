"""Describe shares, files and folders, and list the files of a folder; pure.

Only the pages of the file table that are needed must have arrived: those that
`Manifest.missing_under` names.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from shoal.core.manifest.file_tree import File
from shoal.core.manifest.manifest import Manifest, not_in_share
from shoal.core.manifest.pages import PageKey
from shoal.core.manifest.paths import shown
from shoal.errors import UsageError, told

__all__ = [
    "Child",
    "Stat",
    "children",
    "in_natural_order",
    "list_files",
    "missing_for",
    "refuse_folder",
    "stat",
]

_DIGITS = re.compile("([0-9]+)")
MAX_NUMBERS = 8  # in a name, that count as numbers


class Stat(Struct, frozen=True):
    """Describe a share, or a file or folder in it."""

    name: str
    """The last component of its path, or the name of the share."""
    path: str
    """Path within the share; empty for the share itself."""
    size: int
    """Bytes; of a folder, those of all files below it."""
    is_folder: bool
    """Whether it is a folder."""
    files: int
    """How many files it has; 1 for a file."""
    executable: bool = False
    """Whether it is an executable file."""


def missing_for(manifest: Manifest, path: str | None) -> Iterator[PageKey]:
    """Yield the pages to request before `stat`: none for the share itself."""
    path = (path or "").rstrip("/")
    return manifest.missing_under(path) if path else iter(())


def stat(manifest: Manifest, path: str | None = None) -> Stat:
    """Describe a share, or the file or folder at `path` in it.

    Raises `NotFoundError` if there is none.
    """
    root = manifest.root
    path = (path or "").rstrip("/")
    if not path:
        return Stat(root.name, "", root.size, root.is_folder, root.file_count)
    table = manifest.file_table
    name = path.rpartition("/")[2]
    file = table.find(path) if table is not None else None
    if table is None or file is not None:
        file = file or manifest.find(path)
        return Stat(name, path, file.size, False, 1, file.executable)
    files = list_files(manifest, path)
    # The files of a folder are adjacent.
    return Stat(name, path, files[-1].end - files[0].offset, True, len(files))


def list_files(manifest: Manifest, folder: str | None = None) -> Sequence[File]:
    """Return the files of a share, or those below a folder of it.

    For the path of a file, return that file. Raises `NotFoundError` if there is none.
    """
    folder = (folder or "").rstrip("/")
    table = manifest.file_table
    if not folder:
        return manifest.files
    if table is None:
        return (manifest.find(folder),)
    files = table.under(folder)
    if not files:
        file = table.find(folder)
        if file is None:
            raise not_in_share(folder)
        return (file,)
    return files


class Child(NamedTuple):
    """Describe what is directly in a folder."""

    name: str
    file: File | None
    """The file; None for a folder."""


def children(manifest: Manifest, folder: str) -> Iterator[Child]:
    """Yield what is directly in a folder, in the order of the paths below it.

    Yields nothing if there is no such folder. Only the pages must have arrived that
    `Manifest.missing_children` names.
    """
    table = manifest.file_table
    if table is None:
        if not folder:
            yield Child(manifest.root.name, manifest.files[0])
        return
    for name, file in table.children(folder):
        yield Child(name, file)


def refuse_folder(manifest: Manifest, path: str) -> None:
    """Raise `UsageError` if the share has a folder with this path.

    Only the pages must have arrived that `Manifest.missing_children` names.
    """
    folder = path.rstrip("/")
    if folder and any(True for _ in children(manifest, folder)):
        raise UsageError(
            f"{shown(folder)} is a folder of the share; name one of its files. "
            f"{told('shoal ls', 'Node.list()')} lists them."
        )


def in_natural_order(found: Iterable[Child]) -> list[Child]:
    """Return folders and then files, by name as a person sorts: `a2` before `a10`."""
    return sorted(found, key=_natural_key)


def _natural_key(child: Child) -> tuple[bool, list[tuple[str, int]], str]:
    # Every second part is a number, and each has at most as many digits as a name. What
    # follows the last is compared as text: a link may have very many numbers in names.
    parts = _DIGITS.split(child.name.casefold(), MAX_NUMBERS)
    numbers = [int(part) for part in parts[1::2]]
    pairs = list(zip(parts[::2], [*numbers, -1], strict=True))
    return child.file is not None, pairs, child.name
