"""What this user has shared and fetched, so that it can be served again later.

The catalogue is a folder for this user only, with one file for each share and path. An
entry has the link, the path, the manifest and how the copy was made. It is written when
a share is made, when a download begins and when it is complete. Nothing runs in the
background, and any number of processes may use the catalogue at once: an entry is
written under another name and then renamed.

The name of an entry is a hash of the share's id and one of the path, so both can be
found without reading the other entries; entries are in subfolders by path. An entry
ends in a checksum; one that is damaged is reported and skipped. Nothing in it proves
that the files at the path are still the share: users of an entry verify them.
"""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from shoal.core.manifest.chosen import ChosenFiles
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey, Table
from shoal.core.names.link import Link, parse_link
from shoal.errors import ShoalError
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.folders import make_directories, opened_own, write_new_file
from shoal.storage.shared.globs import Selection

__all__ = ["Catalogue", "Entry", "Made", "user_home"]

MAX_ENTRY_SIZE = 1 << 30  # bytes of a file that is read
_MAGIC = b"shoalce\x02"
_FORMER = b"shoalce\x01"
_CHECK_SIZE = 32  # bytes at the end of an entry: the SHA-256 of the rest
_MARK = ".serving-"
_HASH_LENGTH = 24  # hexadecimal digits of each hash in the name of an entry


def user_home() -> Path:
    """Return the folder for the data that this user keeps between runs."""
    if sys.platform == "linux":
        # The same path as platformdirs returns, without the time to import that.
        home = os.environ.get("XDG_DATA_HOME", "").strip() or "~/.local/share"
        return Path(os.path.expanduser(home), "shoal")
    else:
        from platformdirs import user_data_path

        return user_data_path("shoal")


class Made(Struct, frozen=True, kw_only=True):
    """How a copy was made."""

    is_shared: bool
    """Whether it was shared, not fetched."""
    is_complete: bool = True
    """Whether all of it, or of the selected files, is at the path."""
    include: tuple[str, ...] = ()
    """Patterns of the selected files; empty means all."""
    exclude: tuple[str, ...] = ()
    """Patterns of the files that were left out."""
    is_new_link: bool = False
    """Whether the link was to replace earlier ones."""
    is_forgotten: bool = False
    """Whether the user has forgotten it, though partial data is left on the disk."""


class Entry(NamedTuple):
    """A share that this user shared or fetched."""

    link: Link
    path: Path
    """The absolute path of the file or folder."""
    manifest: Manifest
    made: Made
    time: float
    """When the entry was written, in seconds since 1970."""

    @property
    def is_selection(self) -> bool:
        """Return True if only selected files of the share were to be fetched."""
        made = self.made
        return not made.is_shared and bool(made.include or made.exclude)

    @property
    def is_whole_copy(self) -> bool:
        """Return True if all of the share was fetched to the path."""
        made = self.made
        return made.is_complete and not made.is_shared and not self.is_selection

    @property
    def chosen(self) -> ChosenFiles | None:
        """Return the files that were to be fetched; None for all. Blocks if many.

        Raises `LookupError` if the entry has not all pages with these files.
        """
        table = self.manifest.file_table
        if table is None or not self.is_selection:
            return None
        selection = Selection(self.made.include, self.made.exclude)
        size = self.manifest.root.size
        return ChosenFiles.choose(table, size, selection.ranges, selection.selects)


class _Stored(Struct, frozen=True, array_like=True):
    """An entry as it is encoded."""

    link: str
    path: bytes
    root: bytes
    pages: list[tuple[Table, int, int, bytes]]
    """Table, level, index and bytes of each page, after that of the page above it."""
    made: Made
    time: float


class Catalogue:
    """Remember shares in a folder; every method blocks."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        """Use `directory`; the first `add` creates it, for this user only."""
        self.problems: list[str] = []
        """Which entries could not be read, in sentences for the user."""
        self._directory = directory
        self._disk = disk
        self._marking = threading.Lock()
        self._mark_size = 0  # bytes
        self._mark: Path | None = None
        self._mark_fd: int | None = None
        self._is_closed = False

    @classmethod
    def of_home(cls, home: Path, disk: Disk) -> Self:
        """Return the catalogue of the user with this folder."""
        return cls(home / "catalogue", disk)

    def add(
        self, link: Link, path: Path, manifest: Manifest, made: Made, *, flush: bool
    ) -> None:
        """Write an entry, and remove those that it replaces.

        With `flush` it survives a power loss; otherwise a power loss may leave an
        earlier entry. Raises `StoreError` if the folder cannot be written.
        """
        place = os.path.abspath(path)
        stored = _Stored(
            str(link),
            os.fsencode(place),
            manifest.root_record,
            [(*key, manifest.page(key) or b"") for key in manifest.keys()],
            made,
            time.time(),
        )
        # Not joined: an entry may have half a gigabyte.
        body = msgspec.msgpack.encode(stored)
        check = sha256(_MAGIC)
        check.update(body)
        name, folder = _name(link.id, place), self._directory / _folder(place)
        make_directories(self._disk, folder, flush=flush)
        # The inner folder is ours in any case if it has just been made.
        opened = opened_own(self._disk, self._directory)
        with opened, opened_own(self._disk, folder) as at:
            if at is None:
                raise ShoalError(f"Another program removed {folder}; try again.")
            parts = _MAGIC, body, check.digest()
            write_new_file(self._disk, at, name, *parts, flush=flush)
            if made.is_complete:
                self._remove_replaced(at, name, place, manifest.root.name, made)

    def _remove_replaced(
        self, at: int, name: str, place: str, title: str, made: Made
    ) -> None:
        """Remove earlier entries of the same path that this one makes obsolete."""
        for other in self._names(at):
            if other == name or not other.endswith(_hash(os.fsencode(place))):
                continue
            entry = self._read(other, at, _folder(place))
            if entry is None or entry.made.is_shared != made.is_shared:
                continue
            is_alike = (
                entry.manifest.root.name == title
                and entry.made.include == made.include
                and entry.made.exclude == made.exclude
            )
            if not made.is_shared or made.is_new_link or is_alike:
                self._disk.unlink(other, at=at)

    def entries(self) -> list[Entry]:
        """Return all entries, the oldest first; note the unreadable in `problems`."""
        return sorted(self._find(), key=lambda entry: (entry.time, entry.path))

    def find(self, share_id: bytes) -> list[Entry]:
        """Return the entries of one share, the oldest first."""
        found = self._find(start=_hash(share_id))
        return sorted(found, key=lambda entry: entry.time)

    def at(self, path: Path) -> list[Entry]:
        """Return the entries of one path, the oldest first."""
        place = os.path.abspath(path)
        found = self._find(end=_hash(os.fsencode(place)), folder=_folder(place))
        return sorted(found, key=lambda entry: entry.time)

    def forget(self, entry: Entry) -> None:
        """Mark an entry as forgotten; it remains for those that look for partial data.

        Raises `StoreError` if the folder cannot be written.
        """
        made = replace(entry.made, is_forgotten=True)
        self.add(entry.link, entry.path, entry.manifest, made, flush=False)

    def remove(self, entry: Entry) -> None:
        """Remove an entry, if it exists; the files at its path stay."""
        place = str(entry.path)
        with opened_own(self._disk, self._directory / _folder(place)) as at:
            if at is not None:
                self._disk.unlink(_name(entry.link.id, place), at=at)

    # What is being served now.

    def mark_served(self, share_id: bytes, path: Path) -> None:
        """Note that this process serves a copy.

        The note is in a file that this process has locked, so it ends with the
        process. Raises `StoreError` if the folder cannot be written.
        """
        self._append_mark("+" + _name(share_id, os.path.abspath(path)))

    def mark_left(self, share_id: bytes) -> None:
        """Note that this process no longer serves a share."""
        self._append_mark("-" + _hash(share_id))

    def _append_mark(self, line: str) -> None:
        with self._marking:
            if self._is_closed:
                return  # a thread of the node that closes was late
            if self._mark_fd is None:
                make_directories(self._disk, self._directory, flush=False)
                self._read_marks()  # which removes those of killed processes
                self._mark = self._directory / f"{_MARK}{os.urandom(8).hex()}"
                with opened_own(self._disk, self._directory) as at:
                    if at is None:
                        return  # another program removed it
                    self._mark_fd = self._disk.open_write(self._mark.name, at=at)
                self._disk.lock(self._mark_fd)
            data = f"{line}\n".encode()
            self._disk.pwrite(self._mark_fd, [data], self._mark_size)
            self._mark_size += len(data)

    def close(self) -> None:
        """End the note of what this process serves, for good; idempotent."""
        with self._marking:
            self._is_closed = True
            if self._mark_fd is not None and self._mark is not None:
                opened = opened_own(self._disk, self._directory)
                with suppress(ShoalError), opened as at:
                    if at is not None:
                        self._disk.unlink(self._mark.name, at=at)
                self._disk.close(self._mark_fd)
                self._mark_fd = None

    def is_served(self, entries: Iterable[Entry]) -> list[bool]:
        """Return for each entry whether a running process serves it.

        The notes of processes that were killed are removed.
        """
        served = self._read_marks()
        return [_name(each.link.id, str(each.path)) in served for each in entries]

    def _read_marks(self) -> set[str]:
        """Return the names of the copies that running processes serve."""
        served: set[str] = set()
        with self._opened(self._directory) as at:
            if at is None:
                return served
            for mark in self._disk.list_directory(at):
                if mark.startswith(_MARK):
                    with suppress(ShoalError):
                        served |= self._read_mark(mark, at)
        return served

    def _read_mark(self, mark: str, at: int) -> set[str]:
        """Return the names of the copies that one process serves."""
        fd = self._disk.open_write(mark, at=at)
        try:
            if self._disk.lock(fd):
                self._disk.unlink(mark, at=at)  # its process has ended
                return set()
            size = min(self._disk.state(fd).size, MAX_ENTRY_SIZE)
            text = self._disk.pread(fd, size, 0).decode("ascii", "replace")
        finally:
            self._disk.close(fd)
        served: set[str] = set()
        for line in text.split():
            if line.startswith("+"):
                served.add(line[1:])
            else:
                served = {name for name in served if not name.startswith(line[1:])}
        return served

    # Reading entries.

    def _find(
        self, start: str = "", end: str = "", folder: str = ""
    ) -> Iterator[Entry]:
        """Yield entries by how their names start and end, in one folder or in all."""
        folders = [folder] if folder else self._folders()
        for each in folders:
            with self._opened(self._directory / each) as at:
                if at is None:
                    continue
                for name in self._names(at):
                    if name.startswith(start) and name.endswith(end):
                        entry = self._read(name, at, each)
                        if entry is not None:
                            yield entry

    def _folders(self) -> list[str]:
        with self._opened(self._directory) as at:
            return [] if at is None else self._names(at)

    @contextmanager
    def _opened(self, folder: Path) -> Iterator[int | None]:
        """Open a folder; None, and a note, if it cannot be read or trusted."""
        with ExitStack() as stack:
            at: int | None = None
            try:
                at = stack.enter_context(opened_own(self._disk, folder))
            except ShoalError as error:
                self._note(f"The catalogue in {folder} cannot be read: {error}")
            yield at

    def _names(self, at: int) -> list[str]:
        names = self._disk.list_directory(at)
        return [name for name in names if not name.startswith(".")]

    def _read(self, name: str, at: int, folder: str) -> Entry | None:
        """Return an entry; None if it is damaged or was removed."""
        try:
            if self._disk.state_at(name, at=at) is None:
                return None
            fd = self._disk.open_read(name, at=at)
            try:
                size = min(self._disk.state(fd).size, MAX_ENTRY_SIZE)
                return _decode(self._disk.pread(fd, size, 0))
            finally:
                self._disk.close(fd)
        except (ShoalError, ValueError, msgspec.MsgspecError) as error:
            place = self._directory / folder / name
            self._note(
                f"The catalogue entry {place} is skipped: {error}. "
                "Delete it, and share or fetch that copy again."
            )
            return None

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def _decode(data: bytes) -> Entry:
    """Return an entry; raises `ValueError` or another error if it is damaged."""
    if data.startswith(_FORMER):
        raise ValueError("it is of an older version of shoal")
    view = memoryview(data)
    body, check = view[:-_CHECK_SIZE], view[-_CHECK_SIZE:]
    if not data.startswith(_MAGIC) or sha256(body).digest() != check:
        raise ValueError("its checksum is wrong")
    stored = msgspec.msgpack.decode(body[len(_MAGIC) :], type=_Stored)
    link = parse_link(stored.link)
    manifest = Manifest(link.id, stored.root)
    for table, level, number, page in stored.pages:
        if not manifest.add_page(PageKey(table, level, number), page):
            raise ValueError("a page of its manifest does not verify")
    path = Path(os.fsdecode(stored.path))
    return Entry(link, path, manifest, stored.made, stored.time)


def _hash(text: bytes) -> str:
    return sha256(text).hexdigest()[:_HASH_LENGTH]


def _folder(place: str) -> str:
    """Return the name of the folder for the entries of a path.

    There are several, since a folder with very many entries is slow to search.
    """
    return _hash(os.fsencode(place))[:2]


def _name(share_id: bytes, place: str) -> str:
    return f"{_hash(share_id)}-{_hash(os.fsencode(place))}"
