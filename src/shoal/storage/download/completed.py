"""The target of a complete download, as files that can be uploaded from.

There are two cases. `open_verified_target` opens a target that existed before this
run, once every chunk of it has verified. `open_completed` opens a target that this
node has just downloaded.

Either way the files now belong to the user, who may edit, shorten or delete them. So
they are opened only to read, and like all `SharedFiles` they are checked for changes.
"""

import os
from array import array
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.manifest.file_tree import File
from shoal.errors import TargetExistsError, UsageError, option
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.disk.file_state import FileState
from shoal.storage.disk.system import real_path
from shoal.storage.download.places import flags_of
from shoal.storage.download.staging import Staging
from shoal.storage.extents import Extents
from shoal.storage.shared.hashing import verify_chunks
from shoal.storage.shared.scan import scan_folder
from shoal.storage.shared.scanned import ScannedFiles, ScannedFolder
from shoal.storage.shared.shared_files import SharedFiles
from shoal.storage.store import DownloadStore, Verify

__all__ = [
    "VerifiedTargetStore",
    "kept_chunks",
    "open_completed",
    "open_target",
    "open_verified_target",
]

_BATCH = 1000  # files that are examined together


class VerifiedTargetStore(SharedFiles, DownloadStore):
    """A complete download in the files of its target."""

    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        """Ignore chunks: all of them are stored already."""


def open_verified_target(
    target: Path,
    chunks: Chunks,
    verify: Verify | None,
    *,
    disk: Disk,
    files: Sequence[File] | None = None,
    selected: Collection[int] | None = None,
    identity: bytes | None = None,
    as_one: bool = False,
) -> VerifiedTargetStore:
    """Verify every chunk of an existing file, or of an existing folder of `files`.

    The folder may contain other files as well. If only the files with the numbers
    `selected` were downloaded, those must exist in their sizes; the store has the
    chunks without bytes of other files, and only these can be verified. With `as_one`,
    the target is the one selected file. With `identity`, the 32 bytes that name the
    download, also remove the staging folder of a run that was killed just after it
    named the target.

    Raises `TargetExistsError` if the target is anything but the share.
    """
    if files is not None and selected is not None:
        store = _open_selected(target, chunks, files, selected, disk, as_one)
    else:
        store = open_target(target, chunks, disk=disk, files=files)
    try:
        if not _verifies(store, verify):
            raise _not_the_same(target)
    except BaseException:
        store.close()
        raise
    if identity is not None:
        Staging(target, identity, disk).clear_finished()
    return store


def open_target(
    target: Path,
    chunks: Chunks,
    *,
    disk: Disk,
    files: Sequence[File] | None = None,
    parts: Sequence[Path] = (),
    follows_links: bool = False,
) -> VerifiedTargetStore:
    """Open an existing file, or folder of `files`, of which only the sizes are checked.

    `parts` and `follows_links` are those of `scan_folder`. The caller must verify it.
    Raises `TargetExistsError` if the sizes are others.
    """
    if files is None:
        store = VerifiedTargetStore.open_file(target, chunks.chunk_size, disk=disk)
    else:
        folder = _find(target, files, disk, parts, follows_links)
        store = VerifiedTargetStore.open_folder(folder, chunks.chunk_size, disk=disk)
    if store.chunks != chunks:
        store.close()
        raise _not_the_same(target)
    return store


def _open_selected(
    target: Path,
    chunks: Chunks,
    files: Sequence[File],
    selected: Collection[int],
    disk: Disk,
    as_one: bool,
) -> VerifiedTargetStore:
    """Open the files of a share that were selected, with the chunks of no other."""
    chosen = flags_of(len(files), selected)
    found = ScannedFiles(os.path.abspath(target))
    wanted = (file for number, file in enumerate(files) if chosen[number])
    if as_one:
        (one,) = wanted
        found.place(one.path, os.path.abspath(target))
        states = iter([_find_one(target, one, disk)])
    else:
        states = (each.state for each in _find(target, wanted, disk).files)
    for number, entry in enumerate(files):
        is_chosen = chosen[number]
        state = next(states) if is_chosen else _impossible_state(entry.size)
        found.add(entry.path, state)
    folder = ScannedFolder(target.name, found)
    store = VerifiedTargetStore.open_folder(folder, chunks.chunk_size, disk=disk)
    store.have = kept_chunks(chunks, files, selected)
    return store


def _find(
    target: Path,
    files: Iterable[File],
    disk: Disk,
    parts: Sequence[Path] = (),
    follows_links: bool = False,
) -> ScannedFolder:
    """Return the files of a share in a folder, which must contain all of them."""
    try:
        scanned = scan_folder(
            target, disk=disk, parts=parts, follows_links=follows_links
        )
    except UsageError as error:
        raise _not_the_same(target) from error
    found = scanned.files.without_files()
    others = iter(scanned.files)  # in the same order
    for file in files:
        other = next((each for each in others if each.path >= file.path), None)
        if other is None or (other.path, other.size) != (file.path, file.size):
            raise _not_the_same(target)
        found.add(other.path, other.state)
    return ScannedFolder(scanned.name, found)


def _find_one(target: Path, file: File, disk: Disk) -> FileState:
    """Return the state of the one file of a share that was downloaded."""
    state = disk.state_at(target)
    if state is None or not state.is_file or state.size != file.size:
        raise _not_the_same(target)
    return state


def _verifies(store: SharedFiles, verify: Verify | None) -> bool:
    """Return True if every chunk that the store has verifies."""
    indexes = list(store.have)
    return verify is not None and len(indexes) == len(
        verify_chunks(indexes, store.get, verify, stop_early=True)
    )


def _not_the_same(target: Path) -> TargetExistsError:
    return TargetExistsError(
        f"{target} already exists and is not this share; it was left unchanged. "
        f"Choose another name, or overwrite a file with {option('-f')}."
    )


def open_completed(
    target: Path,
    chunks: Chunks,
    *,
    disk: Disk,
    files: Sequence[File] | None = None,
    selected: Collection[int] | None = None,
    as_one: bool = False,
    follows_links: bool = False,
) -> SharedFiles:
    """Open what was downloaded to `target`; of a folder of `files`, the `selected`.

    With `as_one`, the target is the one selected file. With `follows_links`, a link to
    a file counts as that file.

    Chunks that include bytes of other files, or of files that have been deleted since,
    are missing from it. Each chunk is verified once before it is uploaded, so the
    caller must set `verify` before it reads any. Raises `ShoalError` if a single file
    has been deleted.
    """
    if files is None:
        opened = SharedFiles.open_file(
            target, chunks.chunk_size, disk=disk, follow=False
        )
        opened.trusted = False
        return opened
    chosen = flags_of(len(files), selected)
    found = ScannedFiles(str(target))
    if as_one:
        (number,) = selected or ()
        found.place(files[number].path, str(target))
    missing = array("Q")
    rest = enumerate(files)
    while some := list(islice(rest, _BATCH)):
        paths = [file.path for _, file in some]
        wanted = [file.path for number, file in some if chosen[number]]
        if follows_links:
            _place_links(found, wanted, disk)
        names = [found.location(path) for path in wanted]
        states = iter(disk.states_at(names))
        kept: list[FileState] = []
        for number, file in some:
            state = next(states) if chosen[number] else None
            if state is None or not state.is_file or state.size != file.size:
                missing.append(number)
                state = _impossible_state(file.size)
            kept.append(state)
        found.extend(paths, kept)
    folder = ScannedFolder(target.name, found)
    opened = SharedFiles.open_folder(
        folder, chunks.chunk_size, disk=disk, trusted=False
    )
    if missing:
        opened.have = _chunks_without(missing, chunks, files)
    return opened


def _place_links(files: ScannedFiles, paths: Sequence[str], disk: Disk) -> None:
    """Let the files at these paths that are links be read where they lead."""
    locations = [files.location(path) for path in paths]
    states = disk.states_at(locations)
    for path, location, state in zip(paths, locations, states, strict=True):
        real = real_path(location) if state is not None and state.is_link else None
        if real is not None:
            files.place(path, real)


def kept_chunks(
    chunks: Chunks, files: Sequence[File], selected: Collection[int]
) -> Bitfield:
    """Return the chunks that remain if only the `selected` files are downloaded.

    `selected` are numbers of files. These chunks have no byte of any other file.
    """
    chosen = flags_of(len(files), selected)
    others = (number for number in range(len(files)) if not chosen[number])
    return _chunks_without(others, chunks, files)


def _chunks_without(
    numbers: Iterable[int], chunks: Chunks, files: Sequence[File]
) -> Bitfield:
    """Return the chunks without any byte of the files with these numbers."""
    extents = Extents(file.size for file in files)
    found = Bitfield.full(chunks.count)
    for number in numbers:
        start = extents.start(number)
        for index in chunks.covering(start, start + extents.sizes[number]):
            found.discard(index)
    return found


def _impossible_state(size: int) -> FileState:
    """Return a state in which no file can be, for a file that is missing."""
    return FileState(-1, -1, size, 0, 0, 0, 0, 0)
