"""Decide which chunks of an earlier run count, and open the files of a download.

`prepare` either resumes from the staging folder that an earlier run left or starts
from nothing. It trusts the journal only where the following agree with it: the
journal's own checksums, the sizes of the files, a sample of chunks that it verifies,
and the times of change. Files that changed after the last journal record were changed
by another program, so then all chunks are verified.
"""

import os
import random
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import NamedTuple

from shoal.core.report.units import format_size
from shoal.errors import DiskFullError, StoreError
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.folders import Folders, remove_all
from shoal.storage.download.data_files import DataFiles
from shoal.storage.download.journal import Header, Journal
from shoal.storage.download.layout import Layout
from shoal.storage.download.staging import Staging
from shoal.storage.shared.hashing import verify_chunks
from shoal.storage.store import Verify

__all__ = ["SAMPLE", "SAMPLE_FILES", "Prepared", "prepare"]

SAMPLE = 32
"""How many of the last chunks are verified on resume, and how many random chunks."""
SAMPLE_FILES = 256
"""How many files of a folder have one of their chunks verified as well."""

_EDITED_AFTER = 500_000_000  # ns that may pass between a write and its record


class Prepared(NamedTuple):
    """The open files and the journal with which a download starts."""

    files: DataFiles
    journal: Journal
    indexes: Sequence[int]
    """The chunks that are stored."""


def prepare(
    staging: Staging, layout: Layout, verify: Verify | None, disk: Disk
) -> Prepared:
    """Resume from a locked staging folder and begin a new journal.

    Without `verify` the journal is believed. Raises `DiskFullError` if there is no
    space for a download that starts from nothing; then the staging folder is removed.
    """
    header = Header(
        layout.download_identity(staging.identity),
        layout.chunks.size,
        layout.chunks.chunk_size,
        disk.boot_id(),
        os.urandom(8),
    )
    root = staging.open_data_folder() if layout.is_folder else staging.folder
    files = DataFiles(disk, layout, staging.folder, root)
    try:
        scan = ResumeScan.take(disk, layout, root, staging.folder)
        files.adopt(scan.exists)
        indexes = _find_stored(staging, files, scan, header, verify)
        if indexes is None:
            journal = _start(staging, files, header, disk)
            indexes = ()
        else:
            _sync(staging, files)
            journal = staging.begin_journal(header, indexes)
        staging.sync_target()
    except BaseException:
        files.close()
        raise
    return Prepared(files, journal, indexes)


class ResumeScan:
    """The files that an earlier run left, and their sizes; create it with `take`."""

    def __init__(self, layout: Layout) -> None:
        self.sizes = [0] * (layout.side + 1)
        """The size of each file in bytes, that of the side file last."""
        self.exists = bytearray(layout.side + 1)
        """1 for each file that exists, 0 for the others."""
        self.newest_ns = 0
        """When one of them last changed, in nanoseconds."""
        self.is_damaged = False
        """Whether anything is different from what shoal leaves behind."""
        self._layout = layout

    @classmethod
    def take(cls, disk: Disk, layout: Layout, root: int, staging: int) -> "ResumeScan":
        """Examine all files; remove anything else that has the name of one."""
        scan = cls(layout)
        with closing(Folders(disk, root)) as folders:
            for folder, numbers in layout.folders().items():
                at = folders.find(folder)
                if at is not None:
                    for number in numbers:
                        scan._examine(disk, number, at)
        if layout.side_size:
            scan._examine(disk, layout.side, staging)
        return scan

    def holds(self, index: int) -> bool:
        """Return True if the files are long enough to contain chunk `index`."""
        return all(
            self.sizes[number] >= offset + size
            for number, size, offset in self._layout.file_ranges(index)
        )

    def _examine(self, disk: Disk, number: int, at: int) -> None:
        _, name = self._layout.place(number)
        state = disk.state_at(name, at=at)
        if state is None:
            return
        if not state.is_sole_link:
            remove_all(disk, name, at)
            self.is_damaged = True
            return
        size = self._layout.size(number)
        self.exists[number] = 1
        self.sizes[number] = state.size
        if size:  # an empty file may have been created after the last chunk
            self.newest_ns = max(self.newest_ns, state.mtime_ns)
        is_short = state.size < size and self._layout.is_reserved(number)
        self.is_damaged |= state.size > size or is_short


def _start(staging: Staging, files: DataFiles, header: Header, disk: Disk) -> Journal:
    """Begin an empty download, without anything that an earlier run left."""
    layout = files.layout
    try:
        # First, so that no journal describes the bytes that are about to be removed.
        journal = staging.begin_journal(header, ())
        files.clear()
        free = disk.free_space(staging.folder)
        if free < layout.disk_space:
            raise DiskFullError(
                f"The disk is too full: {staging.target} needs "
                f"{format_size(layout.disk_space)} and {format_size(free)} are free. "
                "Free some space or choose another place."
            )
        files.reserve()
        return journal
    except StoreError:
        staging.remove()  # it contains nothing worth keeping
        raise


def _sync(staging: Staging, files: DataFiles) -> None:
    """Flush the stored chunks; if that fails, make sure no later run believes them.

    To verify them again would prove nothing, since they may be in memory only.
    """
    try:
        files.sync_all()
    except StoreError:
        journal = staging.reopen_journal()
        if journal is None:
            files.clear()
        else:
            journal.void()
        raise


def _find_stored(
    staging: Staging,
    files: DataFiles,
    scan: ResumeScan,
    header: Header,
    verify: Verify | None,
) -> Sequence[int] | None:
    """Return the chunks that count as stored; None to start from nothing."""
    contents, written_ns = staging.read_journal()
    is_known = contents is not None and contents.header[:3] == header[:3]
    if contents is not None and contents.header[1:3] != header[1:3]:
        return None
    wanted = files.layout.wanted
    recorded: Iterable[int] = wanted
    if contents is not None and is_known:
        recorded = dict.fromkeys(contents.trusted(header.boot_id))
    claimed = [index for index in recorded if index in wanted]
    possible = [index for index in claimed if scan.holds(index)]
    is_bad = not is_known or scan.is_damaged or len(possible) < len(claimed)
    if not possible or (verify is None and is_bad):
        return None
    if verify is None:
        return possible
    if scan.is_damaged:
        files.repair(scan.sizes)
    if not is_bad and scan.newest_ns <= written_ns + _EDITED_AFTER:
        sample = sorted(_sample(possible, files.layout))
        if verify_chunks(sample, files.read, verify) == sample:
            return possible
    return verify_chunks(sorted(possible), files.read, verify)


def _sample(stored: Sequence[int], layout: Layout) -> set[int]:
    """Choose the last chunks, random chunks, and one of each file of a folder."""
    sample = {*stored[-SAMPLE:], *random.sample(stored, min(SAMPLE, len(stored)))}
    if layout.is_folder:
        present = set(stored)
        count = min(SAMPLE_FILES, len(layout.selected))
        for number in random.sample(layout.selected, count):
            first = next((i for i in layout.covering(number) if i in present), None)
            if first is not None:
                sample.add(first)
    return sample
