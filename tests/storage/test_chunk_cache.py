"""What was read lately is kept, within bounds, and what somebody waits for always."""

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.storage.chunk_cache import ChunkCache

CHUNKS = Chunks(100, 10)


def cache_of(size: int) -> tuple[ChunkCache, list[int]]:
    """Return a cache of so many bytes, and what it has forgotten."""
    forgotten: list[int] = []
    return ChunkCache(CHUNKS, forgotten.append, size), forgotten


def fill(cache: ChunkCache, *indexes: int) -> None:
    for index in indexes:
        cache.put(index, bytes([index]) * 10)


def test_what_was_not_read_for_longest_is_forgotten() -> None:
    cache, forgotten = cache_of(30)
    fill(cache, 0, 1, 2)
    assert cache.look(0) == bytes(10)
    fill(cache, 3, 4)
    assert forgotten == [1, 2]
    assert set(cache.have) == {0, 3, 4}
    assert cache.look(1) is None


def test_what_is_pinned_stays() -> None:
    cache, forgotten = cache_of(20)
    cache.pin(0)
    cache.pin(0)
    fill(cache, 0, 1, 2, 3)
    assert forgotten == [1, 2]
    cache.unpin(0)
    fill(cache, 4)
    assert cache.is_pinned(0)
    assert cache.look(0) is not None
    cache.unpin(0)
    fill(cache, 5, 6)
    assert cache.look(0) is None


def test_the_newest_is_kept_however_large_it_is() -> None:
    cache, forgotten = cache_of(5)
    fill(cache, 7, 8)
    assert forgotten == [7]
    assert cache.get(8) == cache.get_now(8) == bytes([8]) * 10


def test_with_all_pinned_nothing_is_forgotten() -> None:
    cache, forgotten = cache_of(10)
    for index in range(4):
        cache.pin(index)
    fill(cache, 0, 1, 2, 3)
    assert forgotten == []
    cache.unpin(2)
    fill(cache, 5)
    assert forgotten == [2]


def test_what_was_forgotten_may_come_again() -> None:
    cache, forgotten = cache_of(10)
    fill(cache, 1, 2, 1)
    assert forgotten == [1, 2]
    assert cache.look(1) == bytes([1]) * 10


def test_it_is_kept_as_it_came_and_with_its_right_length() -> None:
    cache, _ = cache_of(50)
    view = memoryview(bytearray(10))
    cache.put_many([(3, view)])
    assert cache.look(3) is view
    with pytest.raises(ValueError, match="chunk 4"):
        cache.put(4, b"short")
