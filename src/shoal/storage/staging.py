"""The folder beside a target in which a download grows, and what a resume believes.

`.NAME.shoal-XXXXXXXX` stands where NAME will be, so that the last step is a rename
within one file system; XXXXXXXX is the beginning of the share's identity, so that
the next run finds it. It holds `data` and `journal`. The lock on `journal` says
whose the folder is: nothing in it is touched without it.

A resume is told apart from lies by the journal's own checksums, by a sample of the
chunks, and by the times of change: data written after the last record was not
written by shoal.
"""

import os
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from shoal.core.chunks import Chunks
from shoal.errors import DiskFullError, StoreError, UsageError
from shoal.storage.disk import Data, Disk, Identity
from shoal.storage.journal import Contents, Header, Journal, decode

__all__ = ["SAMPLE", "Prepared", "Staging", "Verify"]

Verify: TypeAlias = Callable[[int, Data], bool]
"""Says whether these bytes are the chunk of this index; may run in any thread."""

SAMPLE = 32
"""How many chunks a resume checks of the last ones, and how many at random."""

_EDITED_AFTER = 500_000_000  # ns between writing chunks and journalling them
_LOCK_ATTEMPTS = 100
_MAX_NAME = 200  # bytes of NAME in the name of the folder; the limit is 255


class Prepared(NamedTuple):
    """Hold what a download goes on with."""

    data: int
    """The data file, open to read and write."""
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
        self.data = self.directory / "data"
        """The file that becomes the target."""
        self._identity = identity
        self._journal = self.directory / "journal"
        self._new_journal = self.directory / "journal.new"
        self._disk = disk
        self._lock: int | None = None

    def lock(self) -> None:
        """Make the folder if need be and lock it; raise `StoreError` if it is taken."""
        for _ in range(_LOCK_ATTEMPTS):
            self._disk.make_directory(self.directory)
            try:
                fd = self._disk.open_write(self._journal)
            except StoreError:
                if self._disk.identity_at(self.directory) is None:
                    continue  # the one who had it has just finished
                raise
            try:
                if not self._disk.lock(fd):
                    break
                if self._is_journal(fd):
                    self._lock = fd
                    return
            finally:
                if self._lock is None:
                    self._disk.close(fd)
        raise StoreError(
            f"Another shoal is already fetching to {self.target}; "
            "wait for it or choose another target."
        )

    def prepare(self, chunks: Chunks, verify: Verify | None) -> Prepared:
        """Find out what is there and begin a journal of it; or start from nothing.

        Raises `DiskFullError` when a start lacks room. A start that fails leaves
        nothing behind.
        """
        boot_id = self._disk.boot_id()
        size, salt = chunks.size, os.urandom(8)
        header = Header(self._identity, size, chunks.chunk_size, boot_id, salt)
        data = self._disk.open_write(self.data)
        try:
            indexes = self._resume(data, chunks, boot_id, verify)
            if indexes is None:
                journal = self._start(data, header)
                indexes = ()
            else:
                self._sync(data)
                journal = self._begin_journal(header, indexes)
            self._disk.fsync_directory(self.directory.parent)
        except BaseException:
            self._disk.close(data)
            raise
        return Prepared(data, journal, indexes)

    def clear_finished(self, target: Identity) -> None:
        """Remove what is left by a run that ended just after naming its target."""
        if self._lock is None:
            if self._disk.identity_at(self.directory) is None:
                return
            try:
                self.lock()
            except StoreError:
                return  # somebody else's business, or not ours to touch
        found = self._disk.identity_at(self.data)
        if found is None or found.is_same_file(target):
            self.remove()
        else:
            self.release()

    def remove(self) -> None:
        """Remove the folder and all that shoal put into it; idempotent."""
        if self._lock is None:
            return
        for path in (self.data, self._new_journal, self._journal):
            self._disk.unlink(path)
        self._disk.remove_directory(self.directory)
        self._disk.fsync_directory(self.directory.parent)
        self.release()

    def release(self) -> None:
        """Leave the folder as it is to the next run; idempotent."""
        if self._lock is not None:
            self._disk.close(self._lock)
            self._lock = None

    def _is_journal(self, fd: int) -> bool:
        """Say whether a file is the journal still: neither finished nor replaced."""
        found = self._disk.identity_at(self._journal)
        return found is not None and found.is_same_file(self._disk.identity(fd))

    def _start(self, data: int, header: Header) -> Journal:
        try:
            # First of all no journal may speak of the bytes that were here before.
            journal = self._begin_journal(header, ())
            self._disk.truncate(data, 0)
            free = self._disk.free_space(self.directory)
            if free < header.size:
                raise DiskFullError(
                    f"The disk is too full: {self.target} needs {header.size:,} bytes "
                    f"and {free:,} are free. Free some space or choose another place."
                )
            self._disk.allocate(data, header.size)
            return journal
        except StoreError:
            self.remove()  # there is nothing in it
            raise

    def _begin_journal(self, header: Header, indexes: Sequence[int]) -> Journal:
        """Put a new journal in the place of the old one, in one step, lock and all."""
        self._disk.unlink(self._new_journal)
        fd = self._disk.open_write(self._new_journal)
        try:
            self._disk.lock(fd)
            journal = Journal.begin(self._disk, fd, header, indexes)
            self._disk.rename(self._new_journal, self._journal)
            self._disk.fsync_directory(self.directory)
        except BaseException:
            self._disk.close(fd)
            raise
        self.release()
        self._lock = fd
        return journal

    def _sync(self, data: int) -> None:
        """Sync the data; on failure see to it that no later run believes it synced.

        Hashing it would prove nothing: what is read may be in memory only.
        """
        assert self._lock is not None
        try:
            self._disk.fdatasync(data)
        except StoreError:
            contents, _ = self._read_journal()
            if contents is None:
                self._disk.truncate(data, 0)
            else:
                Journal.reopen(self._disk, self._lock, contents).void()
            raise

    def _resume(
        self, data: int, chunks: Chunks, boot_id: bytes, verify: Verify | None
    ) -> Sequence[int] | None:
        """Return the chunks to believe in; None when there is nothing to go on."""
        state = self._disk.identity(data)
        if state.size != chunks.size:
            return None
        contents, written_ns = self._read_journal()
        if contents is None:
            if verify is None:
                return None
            return self._check(data, chunks, range(chunks.count), verify)
        if contents.header[:3] != (self._identity, chunks.size, chunks.chunk_size):
            return None
        indexes = list(dict.fromkeys(contents.trusted(boot_id)))
        if verify is None:
            return indexes
        sample = {
            *indexes[-SAMPLE:],
            *random.sample(indexes, min(SAMPLE, len(indexes))),
        }
        if state.mtime_ns <= written_ns + _EDITED_AFTER:
            if len(self._check(data, chunks, sample, verify)) == len(sample):
                return indexes
        return self._check(data, chunks, indexes, verify)

    def _read_journal(self) -> tuple[Contents | None, int]:
        """Return what the journal says and when it was last written."""
        assert self._lock is not None
        state = self._disk.identity(self._lock)
        return decode(self._disk.pread(self._lock, state.size, 0)), state.mtime_ns

    def _check(
        self, data: int, chunks: Chunks, indexes: Iterable[int], verify: Verify
    ) -> list[int]:
        """Return those of some chunks that verify, ascending; read in threads."""
        from shoal.storage.hashing import run_in_threads

        wanted = sorted(indexes)
        good: list[int] = []

        def check(places: Iterable[int]) -> None:
            for index in (wanted[place] for place in places):
                chunk = self._disk.pread(
                    data, chunks.length(index), chunks.offset(index)
                )
                if len(chunk) == chunks.length(index) and verify(index, chunk):
                    good.append(index)

        run_in_threads(check, range(len(wanted)))
        return sorted(good)
