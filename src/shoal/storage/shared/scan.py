"""Finding what is in a folder that is to be shared.

Links are never followed, and nothing but regular files is ever opened: a link out
of the folder must not carry along what is there, nor a FIFO or device hold up the
share. Each folder is opened by its path and then has to be the one that was seen
from above, so a link put in its place meanwhile is found out. Files are looked at
but not opened here; whoever reads one compares it with the `state` noted here.

Folders without files are not kept: a share consists of files.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from shoal.errors import ShoalError, StoreError, UsageError
from shoal.storage.disk.disk import Disk, FileState
from shoal.storage.shared.globs import Selection

__all__ = ["MAX_FILES", "ScannedFile", "ScannedFolder", "scan_folder"]

MAX_FILES = 100_000
"""How many files a share may have."""


class ScannedFile(NamedTuple):
    """Say what is known of a file that is to be shared."""

    path: str
    """Relative to the folder, with `/` between the names."""
    location: str
    """Its absolute path."""
    state: FileState
    """What it was when it was looked at."""

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        return self.state.size

    @property
    def executable(self) -> bool:
        """Say whether its owner may execute it."""
        return bool(self.state.mode & 0o100)


class ScannedFolder(NamedTuple):
    """Hold the files of a folder that is to be shared."""

    name: str
    """Of the folder."""
    files: tuple[ScannedFile, ...]
    """Sorted by the UTF-8 bytes of their paths."""

    @property
    def size(self) -> int:
        """Return how many bytes there are in all."""
        return sum(file.size for file in self.files)


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
    """Return the files in a folder; `globs` says how patterns choose among them.

    `warn` hears of each link and special file that is skipped. `check_path` gets
    each path and raises `ValueError` or `UsageError` if a share may not have it.
    Raises `UsageError` when a name cannot be shared, or there are no files or too
    many; `ForbiddenError` when a folder may not be read; `ShoalError` when there is
    none.
    """
    top = os.path.abspath(path)
    name = os.path.basename(top)
    if not name:
        raise UsageError(f"{path} has no name to share it under; name a folder in it.")
    scan = _Scan(disk, Selection(include, exclude), warn, check_path, max_files)
    scan.run(top)
    if not scan.files:
        raise UsageError(f"There is no file to share in {path}.")
    scan.files.sort(key=lambda file: file.path.encode())
    return ScannedFolder(name, tuple(scan.files))


class _Scan:
    """Go through a folder and those in it, one after the other."""

    def __init__(
        self,
        disk: Disk,
        selection: Selection,
        warn: Callable[[str], None],
        check_path: Callable[[str], object],
        max_files: int,
    ) -> None:
        self.files: list[ScannedFile] = []
        self._disk = disk
        self._selection = selection
        self._warn = warn
        self._check_path = check_path
        self._max_files = max_files
        self._rest: list[tuple[str, FileState]] = []  # folders still to be entered

    def run(self, top: str) -> None:
        found = self._disk.state_at(top, follow=True)
        if found is None:
            raise ShoalError(f"There is no folder {top}; check its name.")
        if not found.is_directory:
            raise UsageError(f"{top} is not a folder.")
        self._enter(top, "", found, follow=True)
        while self._rest:
            path, state = self._rest.pop()
            self._enter(f"{top}/{path}", f"{path}/", state)

    def _enter(
        self, location: str, prefix: str, state: FileState, *, follow: bool = False
    ) -> None:
        fd = self._disk.open_directory(location, follow=follow)
        if fd is None:
            raise StoreError(f"{location} was removed while it was read; share again.")
        try:
            if not self._disk.state(fd).is_same_file(state):
                raise StoreError(f"{location} was replaced while it was read.")
            for name in self._disk.list_directory(fd):
                self._look_at(location, prefix + name, name, fd)
        finally:
            self._disk.close(fd)

    def _look_at(self, folder: str, path: str, name: str, at: int) -> None:
        if self._selection.leaves_out(path):
            return
        state = self._disk.state_at(name, at=at)
        if state is None:
            return  # removed while we were looking
        if state.is_directory:
            self._rest.append((path, state))
        elif not self._selection.takes(path):
            pass
        elif not state.is_file:
            kind = "a link" if state.is_link else "neither a file nor a folder"
            self._warn(f"{_show(path)} is {kind} and is not shared.")
        else:
            self._check(path)
            self.files.append(ScannedFile(path, f"{folder}/{name}", state))
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


def _show(path: str) -> str:
    """Return a path so that nothing in it does anything to a terminal."""
    return ascii(path) if not path.isprintable() else repr(path)
