"""What a share has in it, in the terms of a file system.

A manifest lists files; folders are there by the paths of what is in them.
"""

from collections.abc import Sequence

from msgspec import Struct

from shoal.core.manifest.file_table import File
from shoal.core.manifest.manifest import Manifest
from shoal.errors import NotFoundError

__all__ = ["Stat", "list_files", "stat"]


class Stat(Struct, frozen=True):
    """Describe a share, or a file or folder in it."""

    name: str
    """The last part of its path, or what the share is called."""
    path: str
    """Within the share; empty for the share itself."""
    size: int
    """Bytes; of a folder, those of all files in it and below."""
    is_folder: bool
    """Whether it is a folder."""
    files: int
    """How many files it has; 1 for a file."""
    executable: bool = False
    """Whether it is a file that is executable."""


def stat(manifest: Manifest, path: str | None = None) -> Stat:
    """Describe a share, or what is at `path` in it.

    Raises `NotFoundError` when there is nothing.
    """
    root = manifest.root
    path = (path or "").rstrip("/")
    if not path:
        files = manifest.files
        executable = not root.is_folder and files[0].executable
        return Stat(root.name, "", root.size, root.is_folder, len(files), executable)
    table = manifest.file_table
    name = path.rpartition("/")[2]
    file = table.find(path) if table is not None else None
    if table is None or file is not None:
        file = file or manifest.find(path)
        return Stat(name, path, file.size, False, 1, file.executable)
    files = list_files(manifest, path)
    # They lie side by side.
    return Stat(name, path, files[-1].end - files[0].offset, True, len(files))


def list_files(manifest: Manifest, folder: str | None = None) -> Sequence[File]:
    """Return the files of a share, or those in a folder of it and below.

    A file is its own list. Raises `NotFoundError` when there is no such folder.
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
            raise NotFoundError(f"There is no {folder} in the share.")
        return (file,)
    return files
