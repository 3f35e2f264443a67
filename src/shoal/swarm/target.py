"""The target of one fetch, and the files chosen for it; every method blocks.

The target has the share's own name unless the user gave another. An existing folder is
never written into, an existing file only with `overwrite`; with `seed`, an existing
target, or the files chosen of it, is verified instead and served.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from shoal.config.arguments import FetchOptions
from shoal.core.manifest.chosen import ChosenFiles
from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.file_tree import File
from shoal.core.manifest.listing import refuse_folder
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey
from shoal.core.manifest.paths import hides
from shoal.core.manifest.root import Root
from shoal.core.names.link import Link
from shoal.errors import UnfinishedError, UsageError, told
from shoal.storage.catalogue import Catalogue
from shoal.storage.catalogue_entry import Made
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.disk.own_folders import make_directories
from shoal.storage.download.completed import (
    kept_chunks,
    open_completed,
    open_verified_target,
)
from shoal.storage.download.filestore import FileStore
from shoal.storage.download.layout import DATA
from shoal.storage.download.manifest_file import add_known, read_manifest
from shoal.storage.download.staging import Staging, check_new_folder, suffix_of
from shoal.storage.shared.globs import Selection
from shoal.storage.shared.shared_files import SharedFiles
from shoal.storage.store import DownloadStore
from shoal.swarm.served_hashes import verify_by

__all__ = ["Target"]


def _files(manifest: Manifest) -> Sequence[File] | None:
    """Return the files of a folder; None for a single file."""
    return manifest.files if manifest.root.is_folder else None


def _make_verify(
    path: Path, manifest: Manifest, stopped: Callable[[], bool]
) -> Callable[[int, Data], bool]:
    def verify(index: int, data: Data) -> bool:
        if stopped():
            raise UnfinishedError(f"{path} was not verified to its end.")
        return manifest.hash_table.verifies(index, data)

    return verify


class Target:
    """Open the store of one download once the manifest is known."""

    def __init__(self, link: Link, options: FetchOptions, disk: Disk) -> None:
        self.wanted: Sequence[int] | None = None
        """The chunks to fetch, once the store is open; None for all."""
        self.kept: Bitfield | None = None
        """The chunks that stay after the download; None for all."""
        self.is_whole = True
        """Whether all files of the share are fetched, once they are chosen."""
        self.size: int | None = None
        """Bytes of the chosen files, once they are chosen; None for all files."""
        self._link = link
        self._options = options
        self._disk = disk
        self._selection = Selection(options.include, options.exclude)
        self._chosen: ChosenFiles | None = None  # None for all files
        self._hashes: list[range] | None = None  # the chunks whose hashes are needed
        self._path = None if options.is_inside else options.out
        self._staging: Staging | None = None  # locked, until the store owns it

    @property
    def path(self) -> Path:
        """Return the path that the share is fetched to."""
        assert self._path is not None
        return self._path

    @property
    def has_patterns(self) -> bool:
        """Return True if the user gave patterns, which select files of a folder."""
        return bool(self._options.include or self._options.exclude)

    def check_early(self) -> None:
        """Refuse everything that can be refused before a peer is asked.

        Raises `TargetExistsError` or `StoreError`.
        """
        options = self._options
        if options.is_inside and options.out is not None:
            # Only the root record tells whether a file goes into it.
            if self._disk.state_at(options.out, follow=True) is None:
                self._check_target(options.out)
        elif self._path is None:
            check_new_folder(options.folder, self._disk)
        elif not self._is_served_again(self._path):
            self._check_target(self._path, overwrite=options.overwrite)

    def _check_target(self, path: Path, *, overwrite: bool = False) -> None:
        staging = Staging(path, self._link.identity, self._disk)
        staging.check_target(overwrite=overwrite)

    def find_known(self, catalogue: Catalogue | None) -> Manifest | None:
        """Return what earlier runs kept of the manifest for this target, or None."""
        link = self._link
        known: Manifest | None = None
        for folder in self._staging_folders():
            known = add_known(known, read_manifest(folder, link.id, self._disk))
        for entry in () if catalogue is None else catalogue.find(link.id):
            if entry.path in self._possible_paths(entry.manifest.root):
                known = add_known(known, entry.manifest)
        return known

    def _possible_paths(self, root: Root) -> set[Path]:
        path = self._place(root) if self._path is None else self._path
        return {Path(os.path.abspath(path))}

    def _staging_folders(self) -> list[Path]:
        """Return the existing folders that an earlier run may have left."""
        out, suffix = self._options.out, suffix_of(self._link.identity)
        if self._path is not None:
            return [Staging(self._path, self._link.identity, self._disk).directory]
        found: list[Path] = []
        for folder in (self._options.folder,) if out is None else (out, out.parent):
            if self._disk.state_at(folder, follow=True) is None:
                continue
            at = self._disk.open_directory(folder, follow=True)
            if at is not None:
                names = self._disk.list_directory(at)
                self._disk.close(at)
                found += [folder / name for name in names if name.endswith(suffix)]
        return found

    def begin(self, manifest: Manifest) -> None:
        """Lock the staging folder, and keep the manifest in it from now on.

        Raises `TargetExistsError` or `StoreError` if the target cannot be created.
        """
        root = manifest.root
        if self._path is None:
            _check_visible(self._name(root))
            self._path = self._place(root)
            if self._options.out is None:
                make_directories(self._disk, self._options.folder, is_private=False)
        if self._is_served_again(self._path):
            return
        is_folder = root.is_folder and not self._is_one
        overwrite = self._options.overwrite and not is_folder
        staging = Staging(self._path, self._link.identity, self._disk)
        staging.check_target(overwrite=overwrite, is_folder=is_folder)
        staging.lock()
        self._staging = staging
        add_known(manifest, staging.open_manifest(manifest.id).manifest)
        self.keep(manifest)

    def keep(self, manifest: Manifest) -> None:
        """Keep the pages that have arrived since, for a later run."""
        if self._staging is not None:
            self._staging.open_manifest(manifest.id).save(manifest)

    def close(self) -> None:
        """Release the staging folder, unless a store owns it; idempotent."""
        if self._staging is not None:
            self._staging.abandon()
            self._staging = None

    def made(self, *, is_complete: bool) -> Made:
        """Return how the copy was made, for the catalogue."""
        options = self._options
        return Made(
            is_shared=False,
            is_complete=is_complete,
            include=options.include if self._chosen is not None else (),
            exclude=options.exclude if self._chosen is not None else (),
            file=options.path if self._chosen is not None else None,
        )

    def first_pages(self, manifest: Manifest) -> Iterator[PageKey]:
        """Yield the pages to request before `choose`: those with the files."""
        table = manifest.file_table
        if self._options.path is not None:
            return manifest.missing_children(self._options.path.rstrip("/"))
        if table is None or not self.has_patterns:
            return manifest.missing_files()
        ranges = self._selection.ranges
        return chain.from_iterable(table.missing(*each) for each in ranges)

    def choose(self, manifest: Manifest) -> None:
        """Choose the files to fetch.

        Raises `UsageError` if no file is chosen, `NotFoundError` if there is none with
        the path, `ManifestError` if the share may not hold these files: then nothing
        is written.
        """
        table, path = manifest.file_table, self._options.path
        if path is not None:
            refuse_folder(manifest, path)
            manifest.find(path)
        if table is None or not (self.has_patterns or path is not None):
            _ = manifest.files
            return
        size = manifest.root.size
        if path is not None:
            self._chosen = ChosenFiles.choose_one(table, size, path)
        else:
            self._chosen = ChosenFiles.choose(
                table, size, self._selection.ranges, self._selection.selects
            )
        if not self._chosen.selected:
            raise UsageError(
                "No file of this share matches; list its files with "
                f"{told('shoal ls', 'Node.list()')}."
            )
        chosen = self._chosen
        self.is_whole = len(chosen.selected) == manifest.root.file_count
        self.size = sum(chosen[place].size for place in chosen.selected)
        if self._options.seed:
            self.kept = kept_chunks(manifest.chunks, chosen, chosen.selected)

    def pages(self, manifest: Manifest) -> Iterator[PageKey]:
        """Yield the pages to request before `open`, after `choose`."""
        chosen = self._chosen
        if chosen is None:
            return manifest.missing()
        if self._hashes is None:
            self._hashes = _runs(manifest, chosen)
        return chain.from_iterable(map(manifest.missing_hashes, self._hashes))

    def open(self, manifest: Manifest, stopped: Callable[[], bool]) -> DownloadStore:
        """Open the store, once the pages that `choose` returned are known.

        Raises what the store raises, and `UnfinishedError` if `stopped` returns True.
        """
        verify = _make_verify(self.path, manifest, stopped)
        chosen = self._chosen
        if self._is_served_again(self.path):
            verified = open_verified_target(
                self.path,
                manifest.chunks,
                verify,
                disk=self._disk,
                files=_files(manifest) if chosen is None else chosen,
                selected=None if chosen is None else chosen.selected,
                identity=self._link.identity,
                as_one=self._is_one,
            )
            if chosen is not None:
                self.wanted = list(verified.have)
            return verified
        files = _files(manifest) if chosen is None else chosen
        if chosen is not None and self._is_one:
            files = chosen.as_one(DATA)
        store = FileStore.open(
            self.path,
            self._link.identity,
            manifest.chunks,
            disk=self._disk,
            files=files,
            selected=None if chosen is None else chosen.selected,
            keep_exec=self._options.keep_exec,
            overwrite=self._options.overwrite,
            verify=verify,
            staging=self._staging,
            as_one=chosen is not None and self._is_one,
        )
        self._staging = None
        if chosen is not None:
            self.wanted = list(store.wanted)
        return store

    def open_finished(self, manifest: Manifest) -> SharedFiles:
        """Return a store that serves the fetched files, which the user may change."""
        chosen = self._chosen
        source = open_completed(
            self.path,
            manifest.chunks,
            disk=self._disk,
            files=_files(manifest) if chosen is None else chosen,
            selected=None if chosen is None else chosen.selected,
            as_one=self._is_one,
        )
        verify_by(source, manifest)
        return source

    def _place(self, root: Root) -> Path:
        options, name = self._options, self._name(root)
        if options.out is None:
            return options.folder / name
        is_folder = root.is_folder and not self._is_one
        return options.out if is_folder else options.out / name

    def _name(self, root: Root) -> str:
        """Return the name of what is fetched."""
        path = self._options.path
        return root.name if path is None else path.rpartition("/")[2]

    @property
    def _is_one(self) -> bool:
        """Return True if one file of a folder is fetched, in place of the folder."""
        return self._options.path is not None

    def _is_served_again(self, path: Path) -> bool:
        return (
            self._options.seed
            and not self._options.overwrite
            and self._disk.state_at(path) is not None
        )


def _check_visible(name: str) -> None:
    """Refuse a name that hides the target or that programs read as an option.

    The maker of the link chose it. Raises `UsageError`.
    """
    if hides(name):
        why = "it would be hidden" if name[0] == "." else "it is like an option"
        raise UsageError(
            f"This share is named {name}, and {why}; choose its name yourself "
            f"({told('-o OUT', 'the argument out')})."
        )


def _runs(manifest: Manifest, chosen: ChosenFiles) -> list[range]:
    """Return the runs of chunks with bytes of the chosen files."""
    runs: list[range] = []
    for place in chosen.selected:
        chunks = manifest.chunks_of(chosen[place])
        if runs and chunks and chunks.start <= runs[-1].stop:
            runs[-1] = range(runs[-1].start, max(runs[-1].stop, chunks.stop))
        elif chunks:
            runs.append(chunks)
    return runs
