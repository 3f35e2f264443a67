"""List the files of a folder that the user shares.

Links are not followed and only regular files are listed, so that a link cannot add
files from outside of the folder, and a FIFO or device cannot block the share. Each
folder is opened by its path and then compared with its state as listed in its parent,
which detects a link that took its place since. Files are not opened here;
`SharedFiles` compares each file that it opens with the `state` recorded here.

A share consists of files, so empty folders are left out.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from shoal.core.manifest.file_pages import MAX_FILES
from shoal.errors import ShoalError, StoreError, UsageError
from shoal.storage.disk.disk import Disk, FileState
from shoal.storage.shared.globs import Selection
from shoal.storage.shared.scanned import ScannedFiles, ScannedFolder

__all__ = [
    "endless",
    "is_empty",
    "scan_folder",
]


def scan_folder(
    path: Path,
    *,
    disk: Disk,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    warn: Callable[[str], None] = lambda message: None,
    check_path: Callable[[str], object] = lambda path: None,
    max_files: int = MAX_FILES,
) -> ScannedFolder:
    """Return the files of a folder that the patterns select (see `globs`).

    `warn` is called with a message for each link and special file that is skipped.
    `check_path` is called with each path, and raises `ValueError` or `UsageError` if a
    share may not have it. Raises `UsageError` if a name cannot be shared or there are
    no files or too many, `ForbiddenError` if a folder may not be read, and
    `ShoalError` if there is no folder.
    """
    top = os.path.abspath(path)
    name = os.path.basename(top)
    if not name:
        raise UsageError(f"{path} has no name; share a folder in it instead.")
    scan = _Scan(top, disk, Selection(include, exclude), warn, check_path, max_files)
    scan.run(top)
    if not scan.files:
        raise UsageError(f"There is no file to share in {path}.")
    scan.files.sort()
    return ScannedFolder(name, scan.files)


class _Scan:
    """Scan a folder and the folders in it, one after the other."""

    def __init__(
        self,
        top: str,
        disk: Disk,
        selection: Selection,
        warn: Callable[[str], None],
        check_path: Callable[[str], object],
        max_files: int,
    ) -> None:
        self.files = ScannedFiles(top)
        self._disk = disk
        self._selection = selection
        self._warn = warn
        self._check_path = check_path
        self._max_files = max_files
        self._rest: list[tuple[str, FileState]] = []  # folders still to scan

    def run(self, top: str) -> None:
        found = self._disk.state_at(top, follow=True)
        if found is None:
            raise ShoalError(f"There is no folder {top}; check its name.")
        if not found.is_directory:
            raise UsageError(f"{top} is not a folder; name one that is.")
        self._enter(top, "", found, follow=True)
        while self._rest:
            path, state = self._rest.pop()
            self._enter(f"{top}/{path}", f"{path}/", state)

    def _enter(
        self, location: str, prefix: str, state: FileState, *, follow: bool = False
    ) -> None:
        fd = self._disk.open_directory(location, follow=follow)
        if fd is None:
            raise StoreError(f"{location} was removed during the scan; share it again.")
        try:
            if not self._disk.state(fd).is_same_file(state):
                raise StoreError(
                    f"{location} was replaced during the scan; share it again."
                )
            for name in self._disk.list_directory(fd):
                self._examine(location, prefix + name, name, fd)
        finally:
            self._disk.close(fd)

    def _examine(self, folder: str, path: str, name: str, at: int) -> None:
        if self._selection.excludes(path):
            return
        state = self._disk.state_at(name, at=at)
        if state is None:
            return  # removed since it was listed
        if state.is_directory:
            self._rest.append((path, state))
        elif not self._selection.selects(path):
            pass
        elif not state.is_file:
            kind = "a link" if state.is_link else "neither a file nor a folder"
            self._warn(f"{_show(path)} is {kind} and is not shared.")
        else:
            self._check(path)
            where = f"{folder}/{name}"
            if not state.size and not is_empty(self._disk, where):
                raise UsageError(endless(where))
            self.files.add(path, state)
            if len(self.files) > self._max_files:
                raise UsageError(
                    f"There are more than {self._max_files:,} files; share fewer, "
                    "or an archive of them."
                )

    def _check(self, path: str) -> None:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"The name of {_show(path)} is not valid UTF-8, so it cannot be "
                "shared; rename it or exclude it."
            ) from error
        try:
            self._check_path(path)
        except (ValueError, UsageError) as error:
            raise UsageError(
                f"{_show(path)} cannot be shared: {error} Rename it or exclude it."
            ) from error


def is_empty(disk: Disk, path: str | Path, *, follow: bool = False) -> bool:
    """Return True if a file of 0 bytes yields none, or cannot be read.

    Files of /proc claim 0 bytes and yield more.
    """
    if disk.read_small(path, 0) is not None:
        return True
    try:
        fd = disk.open_read(path, follow=follow)
        try:
            return not disk.pread(fd, 1, 0)
        finally:
            disk.close(fd)
    except ShoalError:
        return True


def endless(path: str | Path) -> str:
    """Return the message for a file that claims 0 bytes and yields more."""
    return (
        f"{path} claims to have 0 bytes and yields more, as files of /proc do; share a "
        "copy of it instead."
    )


def _show(path: str) -> str:
    """Return a quoted path without characters that control a terminal."""
    return ascii(path) if not path.isprintable() else repr(path)
