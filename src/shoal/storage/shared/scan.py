"""List the files of a folder that the user shares.

Links are not followed, unless the user asks for it, and only regular files are listed,
so that a link cannot add files from outside of the folder, and a FIFO or device cannot
block the share. A link that is followed leads to a regular file, never to a folder.
Each folder is opened by its path and then compared with its state as listed in its
parent, which detects a link that took its place since. Files are not opened here;
`SharedFiles` compares each file that it opens with the `state` recorded here.

A share consists of files, so empty folders are left out.
"""

import os
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_ISREG
from typing import TypeAlias

from shoal.core.manifest.file_pages import MAX_FILES
from shoal.errors import ShoalError, StoreError, UsageError, told
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.file_state import FileState
from shoal.storage.disk.system import real_path
from shoal.storage.shared.globs import Selection
from shoal.storage.shared.scanned import ScannedFiles, ScannedFolder

__all__ = [
    "endless",
    "is_empty",
    "scan_folder",
]

MAX_NAMED = 10  # files that are named in one message
_BATCH = 1000  # names of one folder that are examined together
_FindProblem: TypeAlias = Callable[[Sequence[str]], tuple[str, str] | None]


def scan_folder(
    path: Path,
    *,
    disk: Disk,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    warn: Callable[[str], None] = lambda message: None,
    find_problem: _FindProblem = lambda paths: None,
    max_files: int = MAX_FILES,
    parts: Sequence[Path] = (),
    follows_links: bool = False,
) -> ScannedFolder:
    """Return the files of a folder that the patterns select (see `globs`).

    With `parts`, only these files and folders are listed, which may be anywhere, as if
    they were in the folder. With `follows_links`, a link to a regular file counts as
    that file. `warn` is called with a message for each link and special file that is
    skipped, and with one that names links to files outside of the folder.
    `find_problem` is called with paths, many at a time, and returns one that a share
    may not have, with the reason. Raises `UsageError` if a name cannot be shared or
    there are no files or too many, `ForbiddenError` if a folder may not be read, and
    `ShoalError` if there is no folder.
    """
    top = os.path.abspath(path)
    name = os.path.basename(top)
    if not name:
        raise UsageError(f"{path} has no name; share a folder in it instead.")
    scan = _Scan(
        top,
        disk,
        Selection(include, exclude),
        warn,
        find_problem,
        max_files,
        follows_links,
    )
    if parts:
        scan.run_parts(parts)
    else:
        scan.run(top)
    scan.check_names()
    scan.tell_outside()
    if not scan.files and (tuple(include) or tuple(exclude)):
        raise UsageError(
            f"No file in {top} is selected by the patterns; check "
            f"{told('--include and --exclude', 'include and exclude')}."
        )
    if not scan.files:
        raise UsageError(f"There is no file in {top}; a share has at least one.")
    scan.files.arrange(scan.runs)
    return ScannedFolder(name, scan.files)


class _Scan:
    """Scan a folder and the folders in it, one after the other."""

    def __init__(
        self,
        top: str,
        disk: Disk,
        selection: Selection,
        warn: Callable[[str], None],
        find_problem: _FindProblem,
        max_files: int,
        follows_links: bool,
    ) -> None:
        self.files = ScannedFiles(top)
        self.runs = array("Q")  # where files begin that are adjacent in the end, too
        self._disk = disk
        self._selection = selection
        self._warn = warn
        self._find_problem = find_problem
        self._max_files = max_files
        self._rest: list[tuple[str, FileState]] = []  # folders still to scan
        self._bad: list[str] = []  # what is wrong with names, `MAX_NAMED` at most
        self._bad_count = 0
        self._top = top
        self._follows_links = follows_links
        self._outside: list[str] = []  # links to other places, `MAX_NAMED` at most
        self._outside_count = 0

    def run(self, top: str) -> None:
        found = self._disk.state_at(top, follow=True)
        if found is None:
            raise ShoalError(f"There is no folder {top}; check its name.")
        if not found.is_directory:
            raise UsageError(f"{top} is not a folder; name one that is.")
        self._enter(top, "", found, follow=True)
        self._enter_rest()

    def run_parts(self, parts: Sequence[Path]) -> None:
        """Scan files and folders as if they were in one folder.

        Raises `ShoalError` if one is missing, `UsageError` if two have one name.
        """
        named: dict[str, str] = {}
        for part in parts:
            location = real_path(str(part))
            if location is None:
                raise ShoalError(f"There is no file {part}; check its name.")
            if part.name in named:
                raise UsageError(
                    f"Two of the paths have the name {_show(part.name)}; share a "
                    "folder with both of them."
                )
            named[part.name] = location
            self.files.place(part.name, location)
        names = sorted(named)
        found = self._disk.states_at([named[name] for name in names])
        states = dict(zip(names, found, strict=True))
        for name, state in states.items():
            if state is not None and not (state.is_file or state.is_directory):
                raise UsageError(f"{named[name]} is not a regular file; leave it out.")
        self._add_sorted("", names, lambda some: [states[name] for name in some])
        self._enter_rest()

    def _enter_rest(self) -> None:
        while self._rest:
            path, state = self._rest.pop()
            self._enter(self.files.location(path), f"{path}/", state)

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
            self._list(prefix, fd)
        finally:
            self._disk.close(fd)

    def _list(self, prefix: str, fd: int) -> None:
        """List the files in an open folder, and note the folders in it."""
        names = sorted(self._disk.list_directory(fd))
        self._add_sorted(prefix, names, lambda some: self._disk.states_at(some, at=fd))

    def _add_sorted(
        self,
        prefix: str,
        names: Sequence[str],
        states_of: Callable[[Sequence[str]], Sequence[FileState | None]],
    ) -> None:
        """Add the files with these names, and note the folders among them."""
        before, folders = len(self.files), len(self._rest)
        files: list[str] = []
        for start in range(0, len(names), _BATCH):
            some = names[start : start + _BATCH]
            if not self._selection.is_everything:
                excludes = self._selection.excludes
                some = [name for name in some if not excludes(prefix + name)]
            files += self._add(prefix, some, states_of(some))
        # What is in a folder comes between the files beside it.
        inside = (path[len(prefix) :] + "/" for path, _ in self._rest[folders:])
        cuts = {0, *(bisect_left(files, first) for first in inside)}
        self.runs.extend(before + cut for cut in sorted(cuts) if cut < len(files))

    def _add(
        self, prefix: str, names: Sequence[str], states: Sequence[FileState | None]
    ) -> list[str]:
        """Add the selected files among those of a folder; return their names."""
        files: list[str] = []
        found: list[FileState] = []
        for name, state in zip(names, states, strict=True):
            if state is None:
                continue  # removed since it was listed
            kind = S_IFMT(state.mode)
            if kind == S_IFDIR:
                self._rest.append((prefix + name, state))
            elif not self._selection.selects(prefix + name):
                pass
            else:
                if kind == S_IFLNK and self._follows_links:
                    state = self._follow(prefix + name) or state
                if S_ISREG(state.mode):
                    files.append(name)
                    found.append(state)
                else:
                    self._warn(f"{_show(prefix + name)} is {_kind(state)}.")
        paths = [prefix + name for name in files]
        if not self._are_valid(paths):
            return []  # an error follows once all names are known
        for name, state in zip(files, found, strict=True):
            if not state.size:
                location = self.files.location(prefix + name)
                if not is_empty(self._disk, location):
                    raise UsageError(endless(location))
        self.files.extend(paths, found)
        if len(self.files) > self._max_files:
            raise UsageError(
                f"There are more than {self._max_files:,} files; share fewer, "
                "or an archive of them."
            )
        return files

    def _are_valid(self, paths: Sequence[str]) -> bool:
        """Return True if a share can have all of these paths; note those it cannot."""
        if _are_readable(paths) and self._find_problem(paths) is None:
            return True
        for path in paths:
            problem = _encoding_problem(path)
            if problem is None:
                found = self._find_problem([path])
                problem = None if found is None else found[1]
            if problem is not None:
                self._bad_count += 1
                if len(self._bad) < MAX_NAMED:
                    self._bad.append(f"{_show(path)} {problem}")
        return False

    def _follow(self, path: str) -> FileState | None:
        """Return the state of what a link leads to; None if nothing is there.

        Of a file, note where it is, and whether that is outside of the folder.
        """
        location = real_path(self.files.location(path))
        state = None if location is None else self._disk.state_at(location)
        if location is not None and state is not None and state.is_file:
            self.files.place(path, location)
            if not location.startswith(os.path.realpath(self._top) + "/"):
                self._outside_count += 1
                if len(self._outside) < MAX_NAMED:
                    self._outside.append(f"{_show(path)} ({_show(location)})")
        return state

    def tell_outside(self) -> None:
        """Warn of links to files outside of the folder, which are shared."""
        count, named = self._outside_count, "; ".join(self._outside)
        if count > len(self._outside):
            named += f"; and {count - len(self._outside):,} more"
        if count:
            what = "A link leads" if count == 1 else f"{count:,} links lead"
            self._warn(
                f"{what} out of {self._top}, and the content is shared: {named}."
            )

    def check_names(self) -> None:
        """Raise `UsageError` if a share cannot have the names of some files."""
        count, named = self._bad_count, "; ".join(self._bad)
        if count > len(self._bad):
            named += f"; and {count - len(self._bad):,} more"
        if count == 1:
            raise UsageError(
                f"This file cannot be shared: {named}. Rename or exclude it."
            )
        if count:
            raise UsageError(
                f"{count:,} files cannot be shared: {named}. Rename or exclude them."
            )


def _kind(state: FileState) -> str:
    """Return what a file is that cannot be shared, as the end of a sentence."""
    if state.is_directory:
        return "a link to a folder and is not shared"
    what = "a link" if state.is_link else "neither a file nor a folder"
    return f"{what} and is not shared"


def _are_readable(paths: Sequence[str]) -> bool:
    """Return True if these are the names that the files have, and valid UTF-8."""
    text = "\n".join(paths)
    if sys.getfilesystemencoding() != "utf-8":
        return text.isascii()
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encoding_problem(path: str) -> str | None:
    """Return why the name of a file is not known, as the end of a sentence."""
    if _are_readable([path]):
        return None
    if sys.getfilesystemencoding() != "utf-8":
        return "needs a UTF-8 locale (set LC_ALL=C.UTF-8)"
    return "is not valid UTF-8"


def is_empty(disk: Disk, path: str | Path, *, follow: bool = False) -> bool:
    """Return True if a file of 0 bytes yields none, or cannot be read.

    Files of /proc claim 0 bytes and yield more.
    """
    if disk.read_whole([(path, 0, None)]) != [None]:
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
