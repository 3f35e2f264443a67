"""What this user has shared and fetched, so that it can be served again later.

The catalogue is a folder for this user only, with one file for each share and path. An
entry has the link, the path, the manifest and how the copy was made. It is written when
a share is made, when a download begins and when it is complete. Nothing runs in the
background, and any number of processes may use the catalogue at once: an entry is
written under another name and then renamed.

The name of an entry is a hash of the share's id and one of the path, so both can be
found without reading the other entries; entries are in subfolders by path. An entry
that is damaged is reported and skipped (`catalogue_entry`).
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
from msgspec.structs import replace

from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.errors import ShoalError
from shoal.storage.catalogue_entry import Entry, Made, decode, encode
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.own_folders import make_directories, opened_own, write_new_file

__all__ = ["Catalogue"]

MAX_ENTRY_SIZE = 1 << 30  # bytes of a file that is read
_MARK = ".serving-"
_HASH_LENGTH = 24  # hexadecimal digits of each hash in the name of an entry


class _Mark(NamedTuple):
    """What one process serves."""

    names: set[str]
    """The names of the entries of its copies."""
    nodes: set[bytes]
    """The ids of its nodes."""


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
        parts = encode(Entry(link, Path(place), manifest, made, time.time()))
        name, folder = _name(link.id, place), self._directory / _folder(place)
        make_directories(self._disk, folder)
        # The inner folder is ours in any case if it has just been made.
        opened = opened_own(self._disk, self._directory)
        with opened, opened_own(self._disk, folder) as at:
            if at is None:
                raise ShoalError(f"Another program removed {folder}; try again.")
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
            is_alike = entry.manifest.root.name == title and (
                entry.made.selects == made.selects
            )
            is_renewed = made.is_new_link and entry.made.parts == made.parts
            if not made.is_shared or is_renewed or is_alike:
                self._disk.unlink(other, at=at)

    def entries(self) -> list[Entry]:
        """Return all entries, the oldest first; note the unreadable in `problems`."""
        return sorted(self._find(), key=lambda entry: (entry.time, entry.path))

    def versions(self) -> dict[str, tuple[int, int]]:
        """Return the names of all entries, with what differs once one is rewritten."""
        found: dict[str, tuple[int, int]] = {}
        for folder in self._folders():
            with self._opened(self._directory / folder) as at:
                names = [] if at is None else self._names(at)
                states = self._disk.states_at(names, at=at)
                for name, state in zip(names, states, strict=True):
                    if state is not None:
                        found[f"{folder}/{name}"] = state.inode, state.mtime_ns
        return found

    def read(self, name: str) -> Entry | None:
        """Return an entry by its name of `versions`; None if damaged or removed."""
        folder, _, rest = name.partition("/")
        with self._opened(self._directory / folder) as at:
            return None if at is None else self._read(rest, at, folder)

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

    def mark_served(self, share_id: bytes, path: Path, node_id: bytes = b"") -> None:
        """Note that this process serves a copy, and the id of its node.

        The note is in a file that this process has locked, so it ends with the
        process. Raises `StoreError` if the folder cannot be written.
        """
        node = f"\n={node_id.hex()}" if node_id else ""
        self._append_mark("+" + _name(share_id, os.path.abspath(path)) + node)

    def mark_left(self, share_id: bytes) -> None:
        """Note that this process no longer serves a share."""
        self._append_mark("-" + _hash(share_id))

    def _append_mark(self, line: str) -> None:
        with self._marking:
            if self._is_closed:
                return  # a thread of the node that closes was late
            if self._mark_fd is None:
                make_directories(self._disk, self._directory)
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
        served = {name for mark in self._read_marks() for name in mark.names}
        return [_name(each.link.id, str(each.path)) in served for each in entries]

    def serving_nodes(self, share_id: bytes) -> set[bytes]:
        """Return the ids of this user's nodes that serve a share now."""
        start = _hash(share_id)
        return {
            node
            for mark in self._read_marks()
            if any(name.startswith(start) for name in mark.names)
            for node in mark.nodes
        }

    def _read_marks(self) -> list["_Mark"]:
        """Return what running processes serve."""
        served: list[_Mark] = []
        with self._opened(self._directory) as at:
            if at is None:
                return served
            for mark in self._disk.list_directory(at):
                if mark.startswith(_MARK):
                    with suppress(ShoalError):
                        served.append(self._read_mark(mark, at))
        return served

    def _read_mark(self, mark: str, at: int) -> "_Mark":
        """Return what one process serves."""
        fd = self._disk.open_write(mark, at=at)
        try:
            if self._disk.lock(fd):
                self._disk.unlink(mark, at=at)  # its process has ended
                return _Mark(set(), set())
            size = min(self._disk.state(fd).size, MAX_ENTRY_SIZE)
            text = self._disk.pread(fd, size, 0).decode("ascii", "replace")
        finally:
            self._disk.close(fd)
        served: set[str] = set()
        nodes: set[bytes] = set()
        for line in text.split():
            if line.startswith("+"):
                served.add(line[1:])
            elif line.startswith("="):
                with suppress(ValueError):  # another program wrote it
                    nodes.add(bytes.fromhex(line[1:]))
            else:
                served = {name for name in served if not name.startswith(line[1:])}
        return _Mark(served, nodes)

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
                return decode(self._disk.pread(fd, size, 0))
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


def _hash(text: bytes) -> str:
    return sha256(text).hexdigest()[:_HASH_LENGTH]


def _folder(place: str) -> str:
    """Return the name of the folder for the entries of a path.

    There are several, since a folder with very many entries is slow to search.
    """
    return _hash(os.fsencode(place))[:2]


def _name(share_id: bytes, place: str) -> str:
    return f"{_hash(share_id)}-{_hash(os.fsencode(place))}"
