"""Where a sealed share is fetched to, and which of its files; all of it blocks.

The target has the share's own name unless the user gave another. A folder that is
there is never written into, a file only when asked for; with `seed`, what is there
is verified instead, and served.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from shoal.config.options import FetchOptions
from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.root import Root
from shoal.core.names.link import Link
from shoal.errors import (
    TargetExistsError,
    UnfinishedError,
    UsageError,
    VerificationError,
)
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.download.completed import (
    VerifiedTargetStore,
    kept_chunks,
    open_completed,
    open_verified_target,
)
from shoal.storage.download.filestore import FileStore
from shoal.storage.download.staging import check_folder, check_target
from shoal.storage.shared.globs import Selection
from shoal.storage.shared.shared_files import SharedFiles
from shoal.storage.store import DownloadStore

__all__ = ["SealedTarget", "verify_target"]


def verify_target(
    path: Path, manifest: Manifest, disk: Disk, stopped: Callable[[], bool]
) -> VerifiedTargetStore:
    """Verify what is at `path` against a manifest with all its pages; blocks.

    Raises `VerificationError` when it is something else.
    """
    files = manifest.files if manifest.root.is_folder else None
    verify = _make_verify(path, manifest, stopped)
    try:
        return open_verified_target(
            path, manifest.chunks, verify, disk=disk, files=files
        )
    except TargetExistsError as error:
        raise VerificationError(f"{path} is not what the link names.") from error


def _make_verify(
    path: Path, manifest: Manifest, stopped: Callable[[], bool]
) -> Callable[[int, Data], bool]:
    def verify(index: int, data: Data) -> bool:
        if stopped():
            raise UnfinishedError(f"{path} was not looked through.")
        return manifest.hash_table.verifies(index, data)

    return verify


class SealedTarget:
    """Open the store of one download once the manifest is known."""

    def __init__(self, link: Link, options: FetchOptions, disk: Disk) -> None:
        self.wanted: Iterable[int] | None = None
        """The chunks to fetch, once it is open; None for all."""
        self.lasting: Bitfield | None = None
        """The chunks that will be there when it is complete; None for all."""
        self._link = link
        self._options = options
        self._disk = disk
        self._selection = Selection(options.include, options.exclude)
        self._selected: Sequence[int] | None = None  # numbers of files; None for all
        self._path = None if options.is_inside else options.out

    @property
    def path(self) -> Path:
        """Return where the share is fetched to."""
        assert self._path is not None
        return self._path

    def check_early(self) -> None:
        """Refuse what can be refused before anybody is asked.

        Raises `TargetExistsError` or `StoreError`.
        """
        options = self._options
        if options.is_inside and options.out is not None:
            # Whether it is a file that goes in there only the root record tells.
            if self._disk.state_at(options.out, follow=True) is None:
                check_target(options.out, self._link.identity, disk=self._disk)
        elif self._path is None:
            check_folder(options.folder, self._disk)
        elif not self._is_to_be_served(self._path):
            check_target(
                self._path,
                self._link.identity,
                disk=self._disk,
                overwrite=options.overwrite,
            )

    def first_pages(self, manifest: Manifest) -> Iterable[int]:
        """Return the pages that `choose` needs: those that tell the files, if any."""
        is_choosing = bool(self._options.include or self._options.exclude)
        all_pages = range(manifest.page_count)
        return manifest.file_pages if is_choosing else all_pages

    def choose(self, manifest: Manifest) -> Iterable[int]:
        """Choose what to fetch, and return the pages that `open` needs for that.

        Raises `UsageError` when no file is chosen.
        """
        if self._path is None:
            self._path = self._place(manifest.root)
        if manifest.root.is_folder:
            self._selected = self._select(manifest)
        if self._selected is None:
            return range(manifest.page_count)
        if self._options.seed:
            self.lasting = kept_chunks(manifest.chunks, manifest.files, self._selected)
        if self._is_to_be_served(self._path):
            return range(manifest.page_count)
        needed = set(manifest.file_pages)
        for number in self._selected:
            of_file = manifest.chunks_of(manifest.files[number])
            if of_file:
                first, last = map(manifest.page_of, (of_file[0], of_file[-1]))
                needed.update(range(first, last + 1))
        return sorted(needed)

    def open(self, manifest: Manifest, stopped: Callable[[], bool]) -> DownloadStore:
        """Open the store for a share of which the pages chosen are known.

        Raises what the store raises, and `UnfinishedError` once `stopped` says so.
        """
        verify = _make_verify(self.path, manifest, stopped)
        files = manifest.files if manifest.root.is_folder else None
        if self._is_to_be_served(self.path) and manifest.is_complete:
            return open_verified_target(
                self.path,
                manifest.chunks,
                verify,
                disk=self._disk,
                files=files,
                identity=self._link.identity,
            )
        store = FileStore.open(
            self.path,
            self._link.identity,
            manifest.chunks,
            disk=self._disk,
            files=files,
            selected=self._selected,
            keep_exec=self._options.keep_exec,
            overwrite=self._options.overwrite,
            verify=verify,
        )
        if self._selected is not None:
            self.wanted = list(store.wanted)
        return store

    def open_finished(self, manifest: Manifest) -> SharedFiles:
        """Return what gives on what was fetched: files that are the user's own now."""
        source = open_completed(
            self.path,
            manifest.chunks,
            disk=self._disk,
            files=manifest.files if manifest.root.is_folder else None,
            selected=self._selected,
        )
        source.verify = manifest.hash_table.verifies
        return source

    def _place(self, root: Root) -> Path:
        options = self._options
        if options.out is None:
            return options.folder / root.name
        return options.out if root.is_folder else options.out / root.name

    def _is_to_be_served(self, path: Path) -> bool:
        return (
            self._options.seed
            and not self._options.overwrite
            and self._disk.state_at(path) is not None
        )

    def _select(self, manifest: Manifest) -> list[int] | None:
        """Return the numbers of the files to fetch; None for all."""
        if not self._options.include and not self._options.exclude:
            return None
        selected = [
            number
            for number, file in enumerate(manifest.files)
            if self._selection.takes(file.path)
        ]
        if not selected:
            raise UsageError("No file of this share fits; see them with shoal ls.")
        return selected
