"""A target that is already there, to be served once it has been verified."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.errors import TargetExistsError, UsageError
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.download.filestore import clear_finished
from shoal.storage.extents import Described
from shoal.storage.source.hashing import run_in_threads
from shoal.storage.source.scan import Tree, scan_tree
from shoal.storage.source.source import SourceStore

__all__ = ["ExistingStore"]


class ExistingStore:
    """Stand for a complete download; open it with `open`."""

    def __init__(self, chunks: Chunks, source: SourceStore) -> None:
        self.chunks = chunks
        """How the share is cut."""
        self.have = Bitfield.full(chunks.count)
        """Which chunks are there: all."""
        self.wanted = self.have
        """Which chunks are needed: all."""
        self.is_behind = False
        """Whether the disk has to catch up: never, nothing is written."""
        self._source = source

    @classmethod
    def open(
        cls,
        target: Path,
        chunks: Chunks,
        verify: Callable[[int, Data], bool] | None,
        *,
        disk: Disk,
        files: Sequence[Described] | None = None,
        identity: bytes | None = None,
    ) -> "ExistingStore":
        """Verify every chunk of a file that is there, or of a folder of `files`.

        A folder may have more files than these. With the `identity` of what it was
        fetched as, what a run left that was killed just after naming it is removed.
        Raises `TargetExistsError` when it is not what was to be fetched.
        """
        if files is None:
            source = SourceStore.open([target], chunks.chunk_size, disk=disk)
        else:
            tree = _find(target, files, disk)
            source = SourceStore.open_tree(tree, chunks.chunk_size, disk=disk)
        try:
            if source.chunks != chunks or not _verifies(source, verify):
                raise _not_the_same(target)
        except BaseException:
            source.close()
            raise
        if identity is not None:
            clear_finished(target, identity, disk)
        return cls(chunks, source)

    def get(self, index: int) -> bytes:
        """Return a chunk."""
        return self._source.get(index)

    def get_now(self, index: int) -> bytes | None:
        """Return a chunk if that needs no waiting."""
        return self._source.get_now(index)

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        """Return what `get_now` would for each."""
        return self._source.get_many_now(indexes)

    def put(self, index: int, data: Data) -> None:
        """Do nothing: every chunk is there."""

    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        """Do nothing: every chunk is there."""

    def is_commit_due(self, now: float) -> bool:
        """Say no: nothing is ever written."""
        return False

    def commit(self) -> None:
        """Do nothing: nothing was written."""

    def finish(self) -> None:
        """Do nothing: the file has its name."""

    def close(self) -> None:
        """Let go of the file; idempotent."""
        self._source.close()


def _verifies(source: SourceStore, verify: Callable[[int, Data], bool] | None) -> bool:
    """Say whether every chunk verifies; read in threads."""
    if verify is None:
        return False
    bad: list[int] = []

    def check(indexes: Iterable[int]) -> None:
        for index in indexes:
            if bad:
                return
            if not verify(index, source.get(index)):
                bad.append(index)

    run_in_threads(check, range(source.chunks.count))
    return not bad


def _find(target: Path, files: Sequence[Described], disk: Disk) -> Tree:
    """Return the files of a folder that a share has; all must be there."""
    try:
        tree = scan_tree(target, disk=disk)
    except UsageError as error:
        raise _not_the_same(target) from error
    there = {file.path: file for file in tree.files}
    found = tuple(there[file.path] for file in files if file.path in there)
    wanted = [(file.path, file.size) for file in files]
    if [(each.path, each.size) for each in found] != wanted:
        raise _not_the_same(target)
    return Tree(tree.name, found)


def _not_the_same(target: Path) -> TargetExistsError:
    return TargetExistsError(
        f"{target} is already there and is not what was asked for; it was left alone. "
        "Choose another name, or overwrite a file with -f."
    )
