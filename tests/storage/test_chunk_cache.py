"""The cache keeps recently read chunks within its size, and pinned chunks always."""

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.storage.chunk_cache import ChunkCache

CHUNKS = Chunks(100, 10)


def cache_of(size: int) -> tuple[ChunkCache, list[int]]:
    """Return a cache of `size` bytes, and a list of the chunks that it removed."""
    removed: list[int] = []
    return ChunkCache(CHUNKS, removed.append, size), removed


def fill(cache: ChunkCache, *indexes: int) -> None:
    for index in indexes:
        cache.put(index, bytes([index]) * 10)


def test_the_least_recently_read_chunk_is_removed_first() -> None:
    cache, removed = cache_of(30)
    fill(cache, 0, 1, 2)
    assert cache.look(0) == bytes(10)
    fill(cache, 3, 4)
    assert removed == [1, 2]
    assert set(cache.have) == {0, 3, 4}
    assert cache.look(1) is None


def test_a_pinned_chunk_is_not_removed() -> None:
    cache, removed = cache_of(20)
    cache.pin(0)
    cache.pin(0)
    fill(cache, 0, 1, 2, 3)
    assert removed == [1, 2]
    cache.unpin(0)
    fill(cache, 4)
    assert cache.is_pinned(0)
    assert cache.look(0) is not None
    cache.unpin(0)
    fill(cache, 5, 6)
    assert cache.look(0) is None


def test_the_newest_chunk_is_kept_whatever_its_size() -> None:
    cache, removed = cache_of(5)
    fill(cache, 7, 8)
    assert removed == [7]
    assert cache.get(8) == cache.get_now(8) == bytes([8]) * 10


def test_nothing_is_removed_while_all_chunks_are_pinned() -> None:
    cache, removed = cache_of(10)
    for index in range(4):
        cache.pin(index)
    fill(cache, 0, 1, 2, 3)
    assert removed == []
    cache.unpin(2)
    fill(cache, 5)
    assert removed == [2]


def test_a_removed_chunk_can_be_put_again() -> None:
    cache, removed = cache_of(10)
    fill(cache, 1, 2, 1)
    assert removed == [1, 2]
    assert cache.look(1) == bytes([1]) * 10


def test_a_chunk_is_kept_without_a_copy_and_its_length_is_checked() -> None:
    cache, _ = cache_of(50)
    view = memoryview(bytearray(10))
    cache.put_many([(3, view)])
    assert cache.look(3) is view
    with pytest.raises(ValueError, match="chunk 4"):
        cache.put(4, b"short")
