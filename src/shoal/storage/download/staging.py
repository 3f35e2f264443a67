"""The folder beside a target in which a download grows, and what a resume believes.

`.NAME.shoal-XXXXXXXX` stands where NAME will be, so that the last step is a rename
within one file system; XXXXXXXX is the beginning of the share's identity, so that
the next run finds it. It holds `data`, a file or a folder, and `journal`. The lock
on `journal` says whose the folder is: nothing in it is touched without it. From the
lock on everything is named from the folder that was locked, not by its path.

A resume is told apart from lies by the journal's own checksums, by the sizes of the
files, by a sample of the chunks, and by the times of change: data written after the
last record was not written by shoal.
"""

import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from shoal.errors import DiskFullError, StoreError, UsageError
from shoal.storage.disk.disk import Disk, Identity
from shoal.storage.disk.folders import remove_all
from shoal.storage.download.data_files import Content
from shoal.storage.download.journal import Contents, Header, Journal, decode
from shoal.storage.download.layout import SIDE, Layout
from shoal.storage.store import Verify

__all__ = ["SAMPLE", "SAMPLE_FILES", "Prepared", "Staging"]

SAMPLE = 32
"""How many chunks a resume checks of the last ones, and how many at random."""
SAMPLE_FILES = 256
"""Of how many files of a folder it checks a chunk as well."""

_EDITED_AFTER = 500_000_000  # ns between writing chunks and journalling them
_LOCK_ATTEMPTS = 100
_MAX_NAME = 200  # bytes of NAME in the name of the folder; the limit is 255
_DATA, _JOURNAL, _NEW_JOURNAL = "data", "journal", "journal.new"


class Prepared(NamedTuple):
    """Hold what a download goes on with."""

    content: Content
    """The files, open to read and write."""
    journal: Journal
    indexes: Sequence[int]
    """The chunks that are there."""


class Staging:
    """Own the staging folder of one target while holding its lock."""

    def __init__(self, target: Path, identity: bytes, disk: Disk) -> None:
        if not target.name:
            raise UsageError(f"{target} cannot be the name of a file; add one.")
        name = os.fsdecode(os.fsencode(target.name)[:_MAX_NAME])
        self.target = target
        """Where the share will be."""
        self.directory = target.with_name(f".{name}.shoal-{identity[:4].hex()}")
        """The folder."""
        self._identity = identity
        self._disk = disk
        self._at: int | None = None  # the folder, open, while it is ours
        self._lock: int | None = None

    # Whose it is.

    def lock(self) -> None:
        """Make the folder if need be and lock it; raise `StoreError` if it is taken."""
        for _ in range(_LOCK_ATTEMPTS):
            self._disk.make_directory(self.directory)
            at = self._disk.open_directory(self.directory)
            if at is None:
                continue  # the one who had it has just finished
            try:
                self._lock = self._lock_journal(at)
            finally:
                if self._lock is None:
                    self._disk.close(at)
            if self._lock is not None:
                self._at = at
                return
        raise self._taken()

    def _lock_journal(self, at: int) -> int | None:
        """Return the locked journal; None when the folder has gone meanwhile."""
        try:
            fd = self._disk.open_write(_JOURNAL, at=at)
        except StoreError:
            if not self._is_still(at, self.directory):
                return None
            raise
        is_ours = False
        try:
            if not self._disk.lock(fd):
                raise self._taken()
            is_ours = self._is_still(fd, _JOURNAL, at) and self._is_still(
                at, self.directory
            )
        finally:
            if not is_ours:
                self._disk.close(fd)
        return fd if is_ours else None

    def _is_still(self, fd: int, name: Path | str, at: int | None = None) -> bool:
        """Say whether a name still leads to what is open: not removed or replaced."""
        found = self._disk.identity_at(name, at=at)
        return found is not None and found.is_same_file(self._disk.identity(fd))

    def _taken(self) -> StoreError:
        return StoreError(
            f"Another shoal is already fetching to {self.target}; "
            "wait for it or choose another target."
        )

    def clear_finished(self, target: Identity) -> None:
        """Remove what is left by a run that ended just after naming its target."""
        if self._lock is None:
            if self._disk.identity_at(self.directory) is None:
                return
            try:
                self.lock()
            except StoreError:
                return  # somebody else's business, or not ours to touch
        found = self._disk.identity_at(_DATA, at=self._at)
        if found is None or found.is_same_file(target):
            self.sync_target()  # as it would have done
            self.remove()
        else:
            self.release()

    def name_target(self, *, replace: bool) -> None:
        """Give the data the name of the target; with `replace` a file may have it.

        Raises `TargetExistsError` otherwise. The name is not safe until
        `sync_target`.
        """
        rename = self._disk.rename if replace else self._disk.rename_new
        rename(_DATA, self.target, at=self._at)

    def sync_target(self) -> None:
        """Make the name of the target outlive a power loss."""
        self._disk.fsync_directory(self.target.parent)

    def remove(self) -> None:
        """Remove the folder and all that shoal put into it; idempotent."""
        if self._at is None:
            return
        # The journal goes last: while there is data it has to be claimed or not.
        for name in (_DATA, SIDE, _NEW_JOURNAL, _JOURNAL):
            remove_all(self._disk, name, self._at)
        self._disk.remove_directory(self.directory)
        self._disk.fsync_directory(self.directory.parent)
        self.release()

    def release(self) -> None:
        """Leave the folder as it is to the next run; idempotent."""
        if self._lock is not None:
            self._disk.close(self._lock)
            self._lock = None
        if self._at is not None:
            self._disk.close(self._at)
            self._at = None

    # What is in it.

    def prepare(self, layout: Layout, verify: Verify | None) -> Prepared:
        """Find out what is there and begin a journal of it; or start from nothing.

        Raises `DiskFullError` when a start lacks room. A start that fails leaves
        nothing behind.
        """
        boot_id = self._disk.boot_id()
        header = Header(
            layout.identity(self._identity),
            layout.chunks.size,
            layout.chunks.chunk_size,
            boot_id,
            os.urandom(8),
        )
        content = self._open_content(layout)
        try:
            indexes = self._resume(content, header, verify)
            if indexes is None:
                journal = self._start(content, header)
                indexes = ()
            else:
                self._sync(content)
                journal = self._begin_journal(header, indexes)
            self._disk.fsync_directory(self.directory.parent)
        except BaseException:
            content.close()
            raise
        return Prepared(content, journal, indexes)

    def _open_content(self, layout: Layout) -> Content:
        assert self._at is not None
        if not layout.is_tree:
            return Content(self._disk, layout, self._at, self._at)
        found = self._disk.identity_at(_DATA, at=self._at)
        if found is not None and not found.is_directory:
            remove_all(self._disk, _DATA, self._at)
        self._disk.make_directory(_DATA, at=self._at)
        root = self._disk.open_directory(_DATA, at=self._at)
        if root is None:
            raise StoreError(f"Somebody removed {self.directory}; run it again.")
        return Content(self._disk, layout, self._at, root)

    def _start(self, content: Content, header: Header) -> Journal:
        layout = content.layout
        try:
            # First of all no journal may speak of the bytes that were here before.
            journal = self._begin_journal(header, ())
            content.clear()
            free = self._disk.free_space(self.directory)
            if free < layout.room:
                raise DiskFullError(
                    f"The disk is too full: {self.target} needs {layout.room:,} bytes "
                    f"and {free:,} are free. Free some space or choose another place."
                )
            content.reserve()
            return journal
        except StoreError:
            self.remove()  # there is nothing in it
            raise

    def _begin_journal(self, header: Header, indexes: Sequence[int]) -> Journal:
        """Put a new journal in the place of the old one, in one step, lock and all."""
        self._disk.unlink(_NEW_JOURNAL, at=self._at)
        fd = self._disk.open_write(_NEW_JOURNAL, at=self._at)
        try:
            self._disk.lock(fd)
            journal = Journal.begin(self._disk, fd, header, indexes)
            self._disk.rename(_NEW_JOURNAL, _JOURNAL, at=self._at, to=self._at)
            self._disk.fsync_directory(".", at=self._at)
        except BaseException:
            self._disk.close(fd)
            raise
        if self._lock is not None:
            self._disk.close(self._lock)
        self._lock = fd
        return journal

    def _sync(self, content: Content) -> None:
        """Sync the data; on failure see to it that no later run believes it synced.

        Hashing it would prove nothing: what is read may be in memory only.
        """
        assert self._lock is not None
        try:
            content.sync_all()
        except StoreError:
            contents, _ = self._read_journal()
            if contents is None:
                content.clear()
            else:
                Journal.reopen(self._disk, self._lock, contents).void()
            raise

    # What to believe.

    def _resume(
        self, content: Content, header: Header, verify: Verify | None
    ) -> Sequence[int] | None:
        """Return the chunks to believe in; None when there is nothing to go on."""
        contents, written_ns = self._read_journal()
        survey = content.survey()
        is_known = contents is not None and contents.header[:3] == header[:3]
        if contents is not None and contents.header[1:3] != header[1:3]:
            return None
        wanted = content.layout.wanted
        claimed: Iterable[int] = wanted
        if contents is not None and is_known:
            claimed = dict.fromkeys(contents.trusted(header.boot_id))
        claims = [index for index in claimed if index in wanted]
        held = [index for index in claims if survey.holds(index)]
        is_doubtful = (
            not is_known
            or survey.is_damaged
            or len(held) < len(claims)
            or survey.newest_ns > written_ns + _EDITED_AFTER
        )
        if not held or (verify is None and (not is_known or len(held) < len(claims))):
            return None
        if survey.is_damaged:
            if verify is None:
                return None
            content.repair(survey)
        if verify is None:
            return held
        sample = _sample(held, content.layout)
        if not is_doubtful:
            if len(self._check(content, sample, verify)) == len(sample):
                return held
        return self._check(content, held, verify)

    def _read_journal(self) -> tuple[Contents | None, int]:
        """Return what the journal says and when it was last written."""
        assert self._lock is not None
        state = self._disk.identity(self._lock)
        return decode(self._disk.pread(self._lock, state.size, 0)), state.mtime_ns

    def _check(
        self, content: Content, indexes: Iterable[int], verify: Verify
    ) -> list[int]:
        """Return those of some chunks that verify, ascending; read in threads."""
        from shoal.storage.shared.hashing import run_in_threads

        wanted = sorted(indexes)
        good: list[int] = []

        def check(places: Iterable[int]) -> None:
            for index in (wanted[place] for place in places):
                if verify(index, content.read(index)):
                    good.append(index)

        run_in_threads(check, range(len(wanted)))
        return sorted(good)


def _sample(held: Sequence[int], layout: Layout) -> set[int]:
    """Choose chunks to check: the last ones, some, and of each file of a folder one."""
    sample = {*held[-SAMPLE:], *random.sample(held, min(SAMPLE, len(held)))}
    if layout.is_tree:
        there = set(held)
        files = min(SAMPLE_FILES, len(layout.selected))
        for number in random.sample(layout.selected, files):
            first = next((i for i in layout.covering(number) if i in there), None)
            if first is not None:
                sample.add(first)
    return sample
