"""The file or folder being fetched: chunks go in, and no crash takes them away.

What is promised, whatever happens at whatever moment:
- what the journal claims is in the data;
- the target has its name only once it is whole;
- a killed process loses no chunk for which `put` had returned, a power loss none
  that a commit had covered.

So each put writes the chunks, then journals them; a commit syncs the data,
then journals a mark, then syncs the journal (many chunks at a time: one sync costs
as much as writing megabytes). `staging` owns the folder, `journal` the records,
`content` the files, `layout` says what goes where. A folder gets its name in one
step as well, and never that of anything that is there: neither is it merged into a
folder nor does it replace a file.

Threads: `put`, `put_many`, `get`, `finish` and `close` come from one thread at a
time; `commit` may run in another thread meanwhile and covers what was put before
it began. `have` and the methods ending in `now`, and `is_commit_due`, belong to the
event loop, which has to leave the store alone while it is being closed.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.errors import StoreError, UsageError
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.download.journal import MAX_CHUNKS
from shoal.storage.download.layout import Layout
from shoal.storage.download.resume import Prepared, prepare
from shoal.storage.download.staging import Staging
from shoal.storage.extents import FileInfo
from shoal.storage.store import DownloadStore, Verify, check_length

__all__ = [
    "COMMIT_BYTES",
    "COMMIT_FILES",
    "COMMIT_SECONDS",
    "WRITE_BEHIND",
    "FileStore",
]

COMMIT_BYTES = 64 * 1024 * 1024
"""How many bytes are committed together."""
COMMIT_FILES = 5000
"""How many files are committed together: what a file costs to flush is not its bytes,
and is to happen while others still come."""
COMMIT_SECONDS = 2.0
"""How old the oldest chunk that is not committed gets before it is time to."""
WRITE_BEHIND = 2 * COMMIT_BYTES
"""How many bytes a power loss may take, more or less: one group that is on its way to
the disk, and one that comes meanwhile."""


_MANY = 1000  # files; to look at fewer takes less time than to start a thread


class FileStore(DownloadStore):
    """Keep the chunks of what is being fetched; open it with `open`."""

    def __init__(self, staging: Staging, prepared: Prepared, disk: Disk) -> None:
        layout = prepared.files.layout
        self.chunks = layout.chunks
        """How the share is cut."""
        self.wanted = layout.wanted
        """Which chunks are needed; others are not kept."""
        self.have = Bitfield(self.chunks.count)
        """Which chunks are there."""
        for index in prepared.indexes:
            self.have.add(index)
        self.overwrite = False
        """Whether `finish` may replace a file that has the target's name."""
        self._disk = disk
        self._staging = staging
        self._is_tree = layout.is_tree
        self._files, self._journal, _ = prepared
        self._committing = threading.Lock()
        # Each of these is written by one side only, so they need no lock.
        self._put_bytes = self._committed_bytes = 0
        self._waiting_since: float | None = None
        self._is_named = self._is_closed = False
        self._lost: str | None = None

    @classmethod
    def open(
        cls,
        target: Path,
        identity: bytes,
        chunks: Chunks,
        *,
        disk: Disk,
        files: Sequence[FileInfo] | None = None,
        selected: Collection[int] | None = None,
        keep_exec: bool = False,
        overwrite: bool = False,
        verify: Verify | None = None,
    ) -> "FileStore":
        """Begin to fetch a share to `target`, or go on where the last run ended.

        With `files`, in the order of their bytes, the share is a folder; then only
        those whose numbers are `selected` are fetched. After another selection than
        that of the last run all that is there is verified, or fetched anew.

        `identity` is the 32 bytes that name the share. `verify` is asked for a sample
        of the chunks of a resume, and for all of them if the sample or the journal is
        bad; without it the journal is believed.

        Raises `TargetExistsError` when the target is there (unless both it and the
        share are a file and it may be overwritten), `DiskFullError` when it has no
        room, `StoreError` when another process fetches to it.
        """
        if len(identity) != 32:
            raise ValueError(f"an identity of {len(identity)} bytes instead of 32")
        if chunks.count > MAX_CHUNKS:
            raise UsageError(
                f"{chunks.count:,} chunks are too many; ask for larger ones."
            )
        layout = Layout(chunks, files, selected, keep_exec=keep_exec)
        overwrite = overwrite and not layout.is_tree
        staging = Staging(target, identity, disk)
        staging.check_target(overwrite=overwrite, is_folder=layout.is_tree)
        staging.lock()
        try:
            # Another process may have finished it since.
            staging.check_target(overwrite=overwrite, is_folder=layout.is_tree)
            store = cls(staging, prepare(staging, layout, verify, disk), disk)
        except BaseException:
            staging.release()
            raise
        store.overwrite = overwrite
        return store

    def get(self, index: int) -> bytes:
        """Return a chunk, also after `finish`; raise `KeyError` when it is not there.

        Raises `StoreError` when it cannot be read.
        """
        self._check_present(index)
        return self._files.read(index)

    def get_now(self, index: int) -> bytes | None:
        """Return a chunk if that needs no waiting; on None ask `get` in a thread.

        Raises `KeyError` when it is not there.
        """
        self._check_present(index)
        return self._files.read_now(index)

    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        """Keep several verified chunks; once this returns, no kill takes them away.

        Those that are not wanted are dropped. Raises `DiskFullError` or another
        `StoreError` when not all could be kept; then none of them counts, and the
        same may be tried again.
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
        """Say whether all chunks that are wanted are there."""
        return self.have.count == self.wanted.count

    @property
    def is_behind(self) -> bool:
        """Say whether no more should be put until a commit has ended."""
        return self._put_bytes - self._committed_bytes >= WRITE_BEHIND

    def is_commit_due(self, now: float) -> bool:
        """Say whether it is time to `commit`; `now` is monotonic, in seconds.

        Time is counted from the first asking that finds something to commit.
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

    def commit_if_due(self, now: float) -> bool:
        """Commit if it is time to; say whether it was."""
        if not self.is_commit_due(now):
            return False
        self.commit()
        return True

    def commit(self) -> None:
        """Make what was put so far outlive a power loss; wait for the disk.

        Raises `StoreError` when the disk fails. If it failed to sync, nothing put
        since the last commit is believed any more, by this run or the next, and
        this store is of no more use; otherwise it may be tried again.
        """
        with self._committing:
            self._check_usable()
            if self._put_bytes != self._committed_bytes:
                self._commit()

    def _commit(self) -> None:
        put, covered = self._put_bytes, self._journal.chunks
        self._waiting_since = None
        self._sync(self._files.sync)
        self._journal.mark(covered)
        self._sync(lambda: self._disk.fdatasync(self._journal.fd))
        self._committed_bytes = put

    def finish(self) -> None:
        """Give what was fetched its name, for good, and remove what helped.

        Raises `TargetExistsError` when the name was taken meanwhile, `StoreError`
        when the disk fails; what was fetched is kept, and it may be tried again.
        Raises `ValueError` unless all wanted chunks are there.
        """
        if not self.is_complete:
            raise ValueError(f"only {self.have!r} are there")
        if not self._is_named:
            self._check_usable()
            self._files.finalize()
            self._inspect_and_commit()
            self._staging.name_target(replace=self.overwrite)
            self._is_named = True
        # The journal goes only when the name is safe.
        self._staging.sync_target()
        self._staging.remove()

    def _inspect_and_commit(self) -> None:
        """Look at all files and make them safe; of very many, both at once."""
        # Sealing a folder makes names that have to be safe as well.
        is_due = self._put_bytes != self._committed_bytes or self._is_tree
        with self._committing:
            if len(self._files.layout.selected) < _MANY:
                self._files.inspect()
                if is_due:
                    self._commit()
                return
            with ThreadPoolExecutor(1, "shoal-inspect") as pool:
                inspecting = pool.submit(self._files.inspect)
                self._commit()
            if inspecting.result():
                self._commit()

    def close(self) -> None:
        """Let go of the files, keeping what was put for the next run; idempotent.

        Where nothing was ever put, nothing stays. Raises `StoreError` when the last
        commit fails, but lets go all the same.
        """
        if self._is_closed:
            return
        try:
            if self._is_named or self._lost is not None:
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
            # What the system may have dropped now it will call synced next time.
            self._lost = str(error)
            self._journal.void()
            raise

    def _check_usable(self) -> None:
        if self._lost is not None:
            raise StoreError(self._lost)
        if self._is_closed or self._is_named:
            raise ValueError("this store is closed")

    def _check_present(self, index: int) -> None:
        if index not in self.have:
            raise KeyError(index)
        if self._lost is not None:
            raise StoreError(self._lost)
        if self._is_closed:
            raise ValueError("this store is closed")
