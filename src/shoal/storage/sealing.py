"""The last look at a folder before it gets its name.

Until here it is for us alone. Each file is opened once more, by its names and
without following a link: it has to be a file of the right size, whatever was done
to the folder meanwhile. Then it gets its permissions. What the share does not have
is removed, since the folder is renamed as a whole.
"""

from collections.abc import Container

from shoal.errors import StoreError
from shoal.storage.disk import Disk
from shoal.storage.folders import Folders
from shoal.storage.layout import Layout
from shoal.storage.removal import remove_all
from shoal.storage.survey import is_ours

__all__ = ["FILE_MODE", "seal_tree"]

FILE_MODE = 0o644
"""The permissions of a file, less the umask."""
_EXECUTABLE_MODE = 0o755
_FOLDER_MODE = 0o755


def seal_tree(
    disk: Disk, layout: Layout, folders: Folders, *, keep_exec: bool, umask: int
) -> None:
    """Give all that is wanted its permissions, and remove what is not.

    Raises `StoreError` when a file is not what was written.
    """
    folders.close()  # to find what is there now, not what was
    by_folder = layout.folders()
    for folder, numbers in by_folder.items():
        at = folders.make(folder)
        files = {layout.place(number)[1] for number in numbers}
        _remove_strangers(disk, at, folder, files, by_folder)
        for number in numbers:
            is_executable = keep_exec and layout.files[number].executable
            mode = _EXECUTABLE_MODE if is_executable else FILE_MODE
            _seal_file(disk, layout, number, at, mode & ~umask)
        disk.set_mode(at, _FOLDER_MODE & ~umask)


def _remove_strangers(
    disk: Disk, at: int, folder: str, files: Container[str], folders: Container[str]
) -> None:
    for name in disk.list_directory(at):
        path = f"{folder}/{name}" if folder else name
        if name not in files and path not in folders:
            remove_all(disk, name, at)


def _seal_file(disk: Disk, layout: Layout, number: int, at: int, mode: int) -> None:
    _, name = layout.place(number)
    size = layout.size(number)
    # Of all files only the empty ones may not have been made yet.
    fd = disk.create(name, at=at) if size == 0 else None
    if fd is None:
        fd = disk.open_read(name, at=at)
    try:
        state = disk.identity(fd)
        if not is_ours(state) or state.size != size:
            raise StoreError(
                f"Somebody changed {layout.files[number].path} while it was being "
                "fetched; run the command again."
            )
        disk.set_mode(fd, mode)
    finally:
        disk.close(fd)
