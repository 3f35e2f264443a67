"""Open the copies that earlier runs shared or fetched, and compare copies; blocks.

To open one, only the path and the manifest are taken from the catalogue; the files are
verified. The hashes of unchanged files come from the cache of hashes, so that a large
copy is read only once. Chunks of the cached ones are verified once more before they are
sent. To compare a file or folder with a share, every file is read.
"""

import os
import time
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.file_tree import File
from shoal.core.manifest.manifest import Manifest
from shoal.core.report.units import format_count
from shoal.errors import ShoalError, UnfinishedError, VerificationError, told
from shoal.resources import Resources
from shoal.storage.catalogue_entry import Entry
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.download.completed import open_completed, open_target
from shoal.storage.shared.hash_cache import HashCache, hash_files
from shoal.storage.shared.hashing import verify_chunks
from shoal.storage.shared.shared_files import SharedFiles
from shoal.storage.store import ChunkReader
from shoal.swarm.build_share import SCHEME
from shoal.swarm.served_hashes import verify_by

__all__ = [
    "Comparison",
    "Difference",
    "FileState",
    "Holding",
    "compare_target",
    "is_there",
    "open_copy",
    "open_verified",
]


class Holding(NamedTuple):
    """The chunks that this node has of one share, for its own readers."""

    manifest: Manifest
    store: ChunkReader


def is_there(entry: Entry, disk: Disk) -> bool:
    """Return True if the copy of an entry is complete, or was complete before."""
    return entry.made.is_complete or disk.state_at(entry.path) is not None


def open_copy(resources: Resources, share_id: bytes) -> Holding | None:
    """Open a copy in the catalogue to read chunks from, or return None; blocks.

    Each chunk is verified when it is read, so that the others need not be. The copy
    may be one of selected files.
    """
    disk, catalogue = resources.disk, resources.catalogue
    found = catalogue.find(share_id) if catalogue is not None else []
    found.sort(key=lambda entry: (entry.is_selection, -entry.time))
    for entry in found:
        if not is_there(entry, disk):
            continue
        try:
            source = _open_files(entry, disk)
        except (ShoalError, LookupError):
            continue  # it has been changed or removed, or its files are not known
        source.trusted = False
        return Holding(entry.manifest, source)
    return None


def open_verified(
    entry: Entry, disk: Disk, home: Path | None, stopped: Callable[[], bool]
) -> SharedFiles:
    """Open a copy that verifies; raises `VerificationError` otherwise."""
    manifest = entry.manifest
    try:
        source = _open_files(entry, disk)
    except (ShoalError, LookupError) as error:
        raise VerificationError(f"{entry.path} is not served: {error}") from error
    try:
        if entry.is_selection:
            is_right = bool(source.have.count)  # each is verified before it is sent
        else:
            is_right = _matches(source, manifest, disk, home, stopped)
    except BaseException:
        source.close()
        raise
    if not is_right:
        source.close()
        if entry.is_selection:
            raise VerificationError(
                f"{entry.path} has no complete chunk of its share, so nothing of it is "
                "served; fetch more files to serve them."
            )
        raise VerificationError(
            f"{entry.path} has changed and is not served; share it again, or remove "
            f"it from the list with {told('shoal forget', 'the command shoal forget')}."
        )
    return source


def _open_files(entry: Entry, disk: Disk) -> SharedFiles:
    """Open the files of a copy, unverified.

    Raises `ShoalError` if they are others, `LookupError` if it is not known which.
    """
    manifest, chosen = entry.manifest, entry.chosen
    if chosen is not None:
        source = open_completed(
            entry.path,
            manifest.chunks,
            disk=disk,
            files=chosen,
            selected=chosen.selected,
            as_one=entry.made.file is not None,
        )
    else:
        files = manifest.files if manifest.root.is_folder else None
        source = open_target(
            entry.path,
            manifest.chunks,
            disk=disk,
            files=files,
            parts=entry.parts,
            follows_links=entry.made.follows_links,
        )
    verify_by(source, manifest)
    return source


def _matches(
    source: SharedFiles,
    manifest: Manifest,
    disk: Disk,
    home: Path | None,
    stopped: Callable[[], bool],
) -> bool:
    """Return True if the hashes of all chunks are those of the manifest."""
    digests = hash_files(
        source,
        chunk_digest,
        scheme=SCHEME,
        cache=HashCache.for_share(source, home, disk),
        now_ns=time.time_ns(),
        stopped=stopped,
    )
    return digests == manifest.hash_table.digests()


class FileState(Enum):
    """How a file on the disk differs from the share."""

    CHANGED = "changed"
    """It has another size, other bytes, or is no regular file."""
    MISSING = "missing"
    """The share has it and the folder does not."""
    UNKNOWN = "unknown"
    """It shares a chunk with a changed or missing file, so it may be changed, too."""
    EXTRA = "extra"
    """The folder has it and the share does not."""


class Difference(Struct, frozen=True):
    """One file that differs."""

    path: str
    """Its path in the share; the name of a share that is one file."""
    state: FileState


class Comparison(Struct, frozen=True):
    """The result of comparing a file or folder with a share."""

    path: Path
    """The file or folder."""
    manifest: Manifest
    """The description of the share."""
    differences: tuple[Difference, ...]
    """The files that differ, by path; empty if the two are the same."""

    @property
    def is_match(self) -> bool:
        """Return True if every file of the share is there and unchanged."""
        return all(each.state is FileState.EXTRA for each in self.differences)

    def check(self) -> None:
        """Raise `VerificationError`, with the number of files, unless it is a match."""
        if self.is_match:
            return
        counts = [(state, self._count(state)) for state in FileState]
        parts = [
            f"{n:,} {s.value}" for s, n in counts if n and s is not FileState.EXTRA
        ]
        total = format_count(self.manifest.root.file_count, "file")
        raise VerificationError(
            f"{self.path} does not match the link: of {total}, {', '.join(parts)}."
        )

    def _count(self, state: FileState) -> int:
        return sum(each.state is state for each in self.differences)


def compare_target(
    path: Path,
    manifest: Manifest,
    disk: Disk,
    follows_links: bool,
    stopped: Callable[[], bool],
) -> Comparison:
    """Compare the file or folder at `path` with a manifest that has all its pages.

    With `follows_links`, a link in the folder counts as the file that it leads to.

    Raises `VerificationError` if one of the two is a folder and the other is not,
    `ShoalError` if there is nothing, `UnfinishedError` once `stopped` returns True.
    """
    found = disk.state_at(path, follow=True)
    if found is None:
        raise ShoalError(f"There is no {path}; check its name.")
    is_folder = manifest.root.is_folder
    if found.is_directory is not is_folder:
        kinds = ("a file", "a folder")
        raise VerificationError(
            f"{path} does not match the link: it is {kinds[not is_folder]}, and the "
            f"share is {kinds[is_folder]}."
        )
    if is_folder:
        found_differences = _compare_folder(
            path, manifest, disk, follows_links, stopped
        )
    else:
        found_differences = _compare_file(path, manifest, disk, stopped)
    differences = sorted(found_differences, key=lambda difference: difference.path)
    return Comparison(path, manifest, tuple(differences))


def _compare_file(
    path: Path, manifest: Manifest, disk: Disk, stopped: Callable[[], bool]
) -> Iterator[Difference]:
    store = SharedFiles.open_file(path, manifest.chunks.chunk_size, disk=disk)
    try:
        is_same = store.chunks == manifest.chunks
        if not is_same or not _good_chunks(path, store, manifest, stopped)[1]:
            yield Difference(manifest.root.name, FileState.CHANGED)
    finally:
        store.close()


def _compare_folder(
    path: Path,
    manifest: Manifest,
    disk: Disk,
    follows_links: bool,
    stopped: Callable[[], bool],
) -> Iterator[Difference]:
    states: dict[str, FileState] = {}
    for file in manifest.files:
        found = disk.state_at(path / file.path, follow=follows_links)
        if found is None:
            states[file.path] = FileState.MISSING
        elif not found.is_file or found.size != file.size:
            states[file.path] = FileState.CHANGED
    store = open_completed(
        path,
        manifest.chunks,
        disk=disk,
        files=manifest.files,
        follows_links=follows_links,
    )
    store.trusted = True  # it is verified here
    try:
        good, is_whole = _good_chunks(path, store, manifest, stopped)
    finally:
        store.close()
    if not is_whole:
        states |= _judge(manifest, good, states)
    for name, state in states.items():
        yield Difference(name, state)
    known = {file.path for file in manifest.files}
    for name in _walk(path, disk):
        if name not in known:
            yield Difference(name, FileState.EXTRA)


def _good_chunks(
    path: Path, store: SharedFiles, manifest: Manifest, stopped: Callable[[], bool]
) -> tuple[set[int], bool]:
    """Return the chunks that verify, and whether those are all of the share."""

    def verify(index: int, data: Data) -> bool:
        if stopped():
            raise UnfinishedError(f"{path} was not verified to its end.")
        return manifest.hash_table.verifies(index, data)

    good = set(verify_chunks(list(store.have), store.get, verify))
    return good, len(good) == manifest.chunks.count


def _judge(
    manifest: Manifest, good: set[int], known: dict[str, FileState]
) -> dict[str, FileState]:
    """Return the states of the files that have bytes in chunks that do not verify."""
    files: dict[int, list[File]] = {}  # by chunk
    for file in manifest.files:
        for index in manifest.chunks_of(file):
            if index not in good:
                files.setdefault(index, []).append(file)
    states: dict[str, FileState] = {}
    for inside in files.values():
        if len(inside) == 1 and inside[0].path not in known:
            states[inside[0].path] = FileState.CHANGED
    for inside in files.values():
        for file in inside:
            if file.path not in known:
                states.setdefault(file.path, FileState.UNKNOWN)
    return states


def _walk(path: Path, disk: Disk) -> Iterator[str]:
    """Yield the paths of all that is in a folder and no folder; follow no link."""
    folders = [""]
    while folders:
        prefix = folders.pop()
        at = disk.open_directory(path / prefix if prefix else path, follow=not prefix)
        if at is None:
            continue  # removed since it was listed
        try:
            names = disk.list_directory(at)
            states = disk.states_at(names, at=at)
        finally:
            disk.close(at)
        for name, state in zip(names, states, strict=True):
            if state is not None and state.is_directory:
                folders.append(os.path.join(prefix, name))
            elif state is not None:
                yield os.path.join(prefix, name)
