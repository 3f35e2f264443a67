"""A target that is already there, to be served once it has been verified."""

from collections.abc import Callable, Sequence
from pathlib import Path

from shoal.core.chunks import Bitfield, Chunks
from shoal.errors import TargetExistsError
from shoal.storage.disk import Data, Disk
from shoal.storage.source import SourceStore

__all__ = ["ExistingStore"]


class ExistingStore:
    """Stand for a complete download; open it with `open`."""

    def __init__(self, chunks: Chunks, source: SourceStore) -> None:
        self.chunks = chunks
        """How the file is cut."""
        self.have = Bitfield.full(chunks.count)
        """Which chunks are there: all."""
        self._source = source

    @classmethod
    def open(
        cls,
        target: Path,
        chunks: Chunks,
        verify: Callable[[int, Data], bool] | None,
        *,
        disk: Disk,
    ) -> "ExistingStore":
        """Verify every chunk of a file that is there.

        Raises `TargetExistsError` when it is not what was to be fetched.
        """
        source = SourceStore.open([target], chunks.chunk_size, disk=disk)
        try:
            is_same = verify is not None and source.chunks == chunks
            for index in range(chunks.count if is_same else 0):
                if verify is None or not verify(index, source.get(index)):
                    is_same = False
                    break
            if not is_same:
                raise TargetExistsError(
                    f"{target} is already there and is not what this channel names; "
                    "it was left alone. Choose another name, or overwrite it with -f."
                )
        except BaseException:
            source.close()
            raise
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
