"""A store for who reads a share in order and keeps nothing of it."""

from collections.abc import Sequence

from shoal.core.manifest.chunks import Chunks
from shoal.storage.store import MemoryStore

__all__ = ["TransientStore"]


class TransientStore(MemoryStore):
    """Keep chunks in memory until they are taken."""

    def __init__(self, chunks: Chunks) -> None:
        super().__init__(chunks)
        self.is_behind = False
        """Whether a disk has to catch up: never, there is none."""

    def take(self, index: int) -> bytes:
        """Return a chunk and forget its bytes; raise `KeyError` if it is not there."""
        return self._data.pop(index)

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        """Return nothing: what passes through is not given to others."""
        return [None for _ in indexes]

    def is_commit_due(self, now: float) -> bool:
        """Say no: there is no disk."""
        return False

    def commit(self) -> None:
        """Do nothing: there is no disk."""

    def finish(self) -> None:
        """Do nothing: there is no target."""
