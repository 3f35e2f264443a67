"""The store of a download to a file or folder; no crash loses a chunk of it.

It guarantees, even if the process or the machine stops at any moment:
- every chunk in the journal is in the data files;
- the target gets its name only when it is complete;
- a killed process loses no chunk for which `put` has returned, and a power loss none
  that a commit has covered.

So a put writes the chunks and then records them in the journal. A commit flushes the
data files, then records a commit mark, then flushes the journal. It covers many chunks,
because one flush takes as long as writing megabytes. `staging` owns the staging folder,
`resume` decides which chunks of an earlier run count, `journal` has the records,
`data_files` the bytes, and `layout` maps chunks to files. A folder gets its name in one
step too; it is never merged into an existing folder and never replaces a file.

Threads: only one thread at a time calls `put`, `put_many`, `get`, `finish` or `close`.
Another may call `commit` at the same time, which covers the chunks put before it began.
`have`, `is_commit_due`, `is_behind` and the methods whose name ends in `now` belong to
the event loop, which must not call them during `close`.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.manifest.file_tree import File
from shoal.errors import StoreError, UsageError
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.download.journal import MAX_CHUNKS
from shoal.storage.download.layout import Layout
from shoal.storage.download.resume import Prepared, prepare
from shoal.storage.download.staging import Staging
from shoal.storage.store import DownloadStore, Span, Verify, check_length

__all__ = [
    "COMMIT_BYTES",
    "COMMIT_FILES",
    "COMMIT_SECONDS",
    "WRITE_BEHIND",
    "FileStore",
]

COMMIT_BYTES = 64 * 1024 * 1024
"""A commit is due when this many bytes are not committed."""
COMMIT_FILES = 5000
"""A commit is due when this many files are not flushed: to flush many small files takes
time however few bytes they have, and should happen while other chunks still arrive."""
COMMIT_SECONDS = 2.0
"""A commit is due when the oldest uncommitted chunk is this old."""
WRITE_BEHIND = 2 * COMMIT_BYTES
"""How many bytes may be uncommitted, which a power loss would lose: one commit group
that is being flushed, and one that arrives in the meantime."""

_MANY = 1000  # files; checking fewer takes less time than starting a thread


class FileStore(DownloadStore):
    """Store the chunks of a download; create it with `open`."""

    def __init__(self, staging: Staging, prepared: Prepared, disk: Disk) -> None:
        layout = prepared.files.layout
        self.chunks = layout.chunks
        """How the share is divided."""
        self.wanted = layout.wanted
        """The chunks to download; others are not stored."""
        self.have = Bitfield(self.chunks.count)
        """The chunks that are stored."""
        for index in prepared.indexes:
            self.have.add(index)
        self.overwrite = False
        """Whether `finish` may replace a file with the target's name."""
        self._disk = disk
        self._staging = staging
        self._is_folder = layout.is_folder
        self._files, self._journal, _ = prepared
        self._committing = threading.Lock()
        # Only one thread writes each of these, so they need no lock.
        self._put_bytes = self._committed_bytes = 0
        self._waiting_since: float | None = None
        self._is_named = self._is_closed = False
        self._failure: str | None = None

    @classmethod
    def open(
        cls,
        target: Path,
        identity: bytes,
        chunks: Chunks,
        *,
        disk: Disk,
        files: Sequence[File] | None = None,
        selected: Collection[int] | None = None,
        keep_exec: bool = False,
        overwrite: bool = False,
        verify: Verify | None = None,
        staging: Staging | None = None,
        as_one: bool = False,
    ) -> "FileStore":
        """Begin a download to `target`, or resume the download of an earlier run.

        With `files`, in the order of their bytes, the share is a folder; only the files
        whose numbers are `selected` are downloaded, by default all. If the selection
        differs from that of the earlier run, all stored chunks are verified or
        downloaded again. With `as_one`, a single file is selected, and the target is
        that file in place of a folder.

        `identity` is the 32 bytes that name the share. On resume `verify` checks a
        sample of the stored chunks, and all of them if the sample or the journal is
        bad; without it the journal is believed. `staging` is the locked staging folder,
        which the store releases; without it, it is locked here.

        Raises `TargetExistsError` if the target exists (unless `overwrite` is set and
        both it and the share are single files), `DiskFullError` if there is not enough
        space, and `StoreError` if another process downloads to it.
        """
        if len(identity) != 32:
            raise ValueError(f"an identity of {len(identity)} bytes instead of 32")
        if chunks.count > MAX_CHUNKS:
            raise UsageError(
                f"{chunks.count:,} chunks are too many; use larger chunks."
            )
        layout = Layout(chunks, files, selected, keep_exec=keep_exec, as_one=as_one)
        overwrite = overwrite and not layout.is_folder
        if staging is None:
            staging = Staging(target, identity, disk)
            staging.check_target(overwrite=overwrite, is_folder=layout.is_folder)
            staging.lock()
        try:
            # Another process may have finished it since.
            staging.check_target(overwrite=overwrite, is_folder=layout.is_folder)
            store = cls(staging, prepare(staging, layout, verify, disk), disk)
        except BaseException:
            staging.release()
            raise
        store.overwrite = overwrite
        return store

    def get(self, index: int) -> bytes:
        """Return a chunk, as `ChunkReader.get` does, also after `finish`."""
        self._check_present(index)
        return self._files.read(index)

    def get_now(self, index: int) -> bytes | None:
        """Return a chunk, as `ChunkReader.get_now` does."""
        self._check_present(index)
        return self._files.read_now(index)

    def get_span(self, span: Span) -> bytes:
        """Return bytes of a chunk, as `ChunkReader.get_span` does."""
        self._check_present(span.index)
        return self._files.read(span.index, span.first, span.end)

    def get_span_now(self, span: Span) -> bytes | None:
        """Return bytes of a chunk, as `ChunkReader.get_span_now` does."""
        self._check_present(span.index)
        return self._files.read_now(span.index, span.first, span.end)

    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        """Store verified chunks; they survive the death of this process afterwards.

        Chunks that are not wanted are ignored. Raises `DiskFullError` or another
        `StoreError` if any could not be stored; then none counts as stored, and the
        caller may try again.
        """
        self._check_usable()
        for index, data in items:
            check_length(self.chunks, index, data)
        fresh = {
            index: data
            for index, data in items
            if index not in self.have and index in self.wanted
        }
        if not fresh:
            return
        ordered = sorted(fresh.items(), key=itemgetter(0))
        self._files.write(ordered)
        self._journal.append([index for index, _ in ordered])
        for index, data in ordered:
            self.have.add(index)
            self._put_bytes += len(data)

    @property
    def is_complete(self) -> bool:
        """Return True if all wanted chunks are stored."""
        return self.have.count == self.wanted.count

    @property
    def is_behind(self) -> bool:
        """Return True while no chunk should be put until a commit ends."""
        return self._put_bytes - self._committed_bytes >= WRITE_BEHIND

    def is_commit_due(self, now: float) -> bool:
        """Return True if it is time to `commit`; `now` is in monotonic seconds.

        The age of uncommitted chunks is counted from the first call that finds any.
        """
        waiting = self._put_bytes - self._committed_bytes
        if not waiting:
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            self._waiting_since = now
        return (
            waiting >= COMMIT_BYTES
            or self._files.unsynced >= COMMIT_FILES
            or now - self._waiting_since >= COMMIT_SECONDS
        )

    def commit(self) -> None:
        """Flush all chunks put so far, so that they survive a power loss.

        Raises `StoreError` if the disk fails. If it failed to flush, no chunk since
        the last commit counts, in this run or the next, and the store can no longer be
        used. After any other error the caller may try again.
        """
        with self._committing:
            self._check_usable()
            if self._put_bytes != self._committed_bytes:
                if self._staging.manifest_file is not None:
                    self._staging.manifest_file.sync()
                self._commit()

    def _commit(self) -> None:
        put, covered = self._put_bytes, self._journal.chunks
        self._waiting_since = None
        self._sync(self._files.sync)
        self._journal.mark(covered)
        self._sync(lambda: self._disk.fdatasync(self._journal.fd))
        self._committed_bytes = put

    def finish(self) -> None:
        """Give the complete download its name, flush it, and remove the staging folder.

        Raises `TargetExistsError` if the target was created in the meantime and
        `StoreError` if the disk fails; the chunks are kept, and the caller may try
        again. Raises `ValueError` if a wanted chunk is missing.
        """
        if not self.is_complete:
            raise ValueError(f"only {self.have!r} are stored")
        if not self._is_named:
            self._check_usable()
            staging = self._staging
            replaced = staging.target_state() if self.overwrite else None
            acl = None if replaced is None else staging.target_acl()
            self._files.finalize(replaced, acl)
            self._check_and_commit()
            self._staging.name_target(replace=self.overwrite)
            self._is_named = True
        # The journal is removed only after the name has been flushed.
        self._staging.sync_target()
        self._staging.remove()

    def _check_and_commit(self) -> None:
        """Check and flush all files; if there are very many, both at the same time."""
        # To finalize a folder creates names, which have to be flushed as well.
        is_due = self._put_bytes != self._committed_bytes or self._is_folder
        with self._committing:
            if len(self._files.layout.selected) < _MANY:
                self._files.check()
                if is_due:
                    self._commit()
                return
            with ThreadPoolExecutor(1, "shoal-check") as pool:
                checking = pool.submit(self._files.check)
                self._commit()
            if checking.result():
                self._commit()

    def close(self) -> None:
        """Close all files and keep the stored chunks for the next run; idempotent.

        Without any stored chunk the staging folder is removed. Raises `StoreError` if
        the last commit fails, but closes all files even then.
        """
        if self._is_closed:
            return
        try:
            if self._is_named or self._failure is not None:
                pass
            elif self.have.count:
                self.commit()
            else:
                self._staging.remove()
        finally:
            self._is_closed = True
            self._files.close()
            self._staging.release()

    def _sync(self, sync: Callable[[], None]) -> None:
        try:
            sync()
        except StoreError as error:
            # Linux may have dropped these writes, and would report success next time.
            self._failure = str(error)
            self._journal.void()
            raise

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise StoreError(self._failure)
        if self._is_closed or self._is_named:
            raise ValueError("this store is closed")

    def _check_present(self, index: int) -> None:
        if index not in self.have:
            raise KeyError(index)
        if self._failure is not None:
            raise StoreError(self._failure)
        if self._is_closed:
            raise ValueError("this store is closed")
