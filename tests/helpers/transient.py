"""A store for a test that reads a share in order and stores nothing."""

from collections.abc import Sequence

from tests.helpers.memory_store import MemoryStore

__all__ = ["TransientStore"]


class TransientStore(MemoryStore):
    """Keep chunks in memory until the test takes them."""

    is_behind = False

    def take(self, index: int) -> bytes:
        """Return a chunk and forget its bytes; raise `KeyError` if it is missing."""
        return self._data.pop(index)

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        """Return nothing: these chunks are not uploaded."""
        return [None for _ in indexes]
