"""What is done to a folder before it gets its name, and the last look at it.

Until then it is for us alone. First everything gets the permissions that it does not
have from its beginning. Then, beside the flush, each file is looked at, by its names
and without following a link: it has to be a file of the right size with one name,
whatever was done to the folder meanwhile. What the share does not have is removed,
since the folder is renamed as a whole.
"""

from collections.abc import Iterable

from shoal.errors import StoreError
from shoal.storage.disk.disk import Disk, Identity
from shoal.storage.disk.folders import Folders, remove_all
from shoal.storage.download.layout import Layout
from shoal.storage.download.resume_scan import is_ours

__all__ = ["inspect_tree", "seal_tree"]

_FOLDER_MODE = 0o755


def seal_tree(
    disk: Disk, layout: Layout, root: int, found: Iterable[int], umask: int
) -> None:
    """Make the empty files and give all in the open folder `root` its permissions.

    Files have theirs unless their number is in `found`. Raises `StoreError` when one
    of those is not what was written.
    """
    folders = Folders(disk, root)
    try:
        for number in layout.selected:
            if not layout.size(number):
                folder, name = layout.place(number)
                new = name, b"", layout.mode(number)
                disk.write_new([(folders.make(folder), [new])])
        for number in sorted(found):
            if number != layout.side:
                _set_mode(disk, layout, number, folders, umask)
        for folder in layout.folders():
            disk.set_mode(folders.make(folder), _FOLDER_MODE & ~umask)
    finally:
        folders.close()


def inspect_tree(disk: Disk, layout: Layout, root: int) -> bool:
    """Remove what is strange below the open folder `root`; say whether any was.

    Raises `StoreError` unless every file is as it was written.
    """
    folders = Folders(disk, root)
    by_folder = layout.folders()
    has_removed = False
    try:
        for folder, numbers in by_folder.items():
            at = folders.make(folder)
            names = {layout.place(number)[1]: number for number in numbers}
            for name in disk.list_directory(at):
                path = f"{folder}/{name}" if folder else name
                if name not in names and path not in by_folder:
                    remove_all(disk, name, at)
                    has_removed = True
            for name, number in names.items():
                _check(layout, number, disk.identity_at(name, at=at))
    finally:
        folders.close()
    return has_removed


def _set_mode(
    disk: Disk, layout: Layout, number: int, folders: Folders, umask: int
) -> None:
    folder, name = layout.place(number)
    fd = disk.open_read(name, at=folders.make(folder))
    try:
        _check(layout, number, disk.identity(fd))
        disk.set_mode(fd, layout.mode(number) & ~umask)
    finally:
        disk.close(fd)


def _check(layout: Layout, number: int, state: Identity | None) -> None:
    if state is None or not is_ours(state) or state.size != layout.size(number):
        raise StoreError(
            f"Somebody changed {layout.files[number].path} while it was being "
            "fetched; run the command again."
        )
