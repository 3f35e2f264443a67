"""The cache keeps recently read chunks within its size, and pinned chunks always."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.manifest.blocks import BLOCK_SIZE, Run, run_span
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


def test_a_chunk_that_another_thread_looked_at_counts_as_read() -> None:
    cache, removed = cache_of(30)
    fill(cache, 0, 1, 2)
    assert cache.peek(0, 0) == (0, bytes(10))
    assert cache.peek(9, 0) is None
    fill(cache, 3, 4)
    assert removed == [1, 2]
    assert cache.peek(1, 0) is None


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


def test_a_chunk_that_was_kept_for_a_reader_is_removed_after_that() -> None:
    cache, removed = cache_of(10)
    cache.pin(0)
    fill(cache, 0, 1)
    assert removed == []
    cache.unpin(0)
    assert removed == [0]


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


# Blocks.

BLOCKS = 4
SIZE = BLOCKS * BLOCK_SIZE
LARGE = Chunks(5 * SIZE - 7, SIZE)
DATA = random.Random(1).randbytes(LARGE.size)


def run_data(run: Run) -> bytes:
    first, end = run_span(LARGE, run)
    return DATA[run.index * SIZE :][first:end]


def block_cache(blocks: int) -> tuple[ChunkCache, list[int]]:
    """Return a cache with room for some blocks, and a list of removed chunks."""
    removed: list[int] = []
    return ChunkCache(LARGE, removed.append, blocks * BLOCK_SIZE), removed


def test_blocks_are_kept_until_they_are_a_chunk() -> None:
    cache, _ = block_cache(99)
    for run in (Run(1, 2, 1), Run(1, 0, 2)):
        cache.put_blocks(run, run_data(run))
    assert cache.look(1) is None
    assert cache.has_part_of(1)
    assert cache.look_block(1, 2) == run_data(Run(1, 2, 1))
    assert list(cache.missing_in(Run(1, 0, 4))) == [Run(1, 3, 1)]
    cache.put_blocks(Run(1, 3, 1), run_data(Run(1, 3, 1)))
    assert cache.look(1) == DATA[SIZE : 2 * SIZE]
    assert 1 in cache.have
    assert not cache.has_part_of(1)
    assert list(cache.missing_in(Run(1, 0, 4))) == []
    cache.put_blocks(Run(1, 0, 1), b"")  # it is ignored
    assert cache.look(1) == DATA[SIZE : 2 * SIZE]


def test_a_chunk_replaces_its_blocks() -> None:
    cache, _ = block_cache(5)
    cache.put_blocks(Run(0, 1, 2), run_data(Run(0, 1, 2)))
    cache.put(0, DATA[:SIZE])
    assert cache.look_block(0, 1) is None
    # Four blocks are left to fill up to five: the old ones do not count any more.
    cache.put_blocks(Run(1, 0, 1), run_data(Run(1, 0, 1)))
    assert cache.look(0) is not None


def test_a_block_is_found_by_its_number_in_the_chunk() -> None:
    cache = ChunkCache(LARGE, lambda index: None)
    cache.put_blocks(Run(1, 2, 1), run_data(Run(1, 2, 1)))
    assert cache.peek(1, 2) == (2 * BLOCK_SIZE, run_data(Run(1, 2, 1)))
    assert cache.peek(1, 1) is None


def test_the_blocks_read_least_recently_are_removed_chunk_by_chunk() -> None:
    cache, removed = block_cache(4)
    for index in range(4):
        cache.put_blocks(Run(index, 0, 1), run_data(Run(index, 0, 1)))
    assert cache.look_block(0, 0) is not None
    cache.pin(1)
    cache.put_blocks(Run(4, 0, 1), run_data(Run(4, 0, 1)))
    assert [cache.has_part_of(index) for index in range(5)] == [1, 1, 0, 1, 1]
    assert removed == [], "no chunk was complete"


def test_a_block_of_a_longer_run_does_not_keep_the_whole_run() -> None:
    cache, _ = block_cache(99)
    cache.put_blocks(Run(0, 0, 2), run_data(Run(0, 0, 2)))
    cache.put_blocks(Run(0, 0, 3), run_data(Run(0, 0, 3)))
    block = cache.look_block(0, 2)
    assert isinstance(block, bytes)
    first = cache.look_block(0, 0)
    assert isinstance(first, memoryview)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "chunk", "look", "pin", "unpin"]),
        st.integers(0, 4),
        st.integers(0, BLOCKS - 1),
        st.integers(1, BLOCKS),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 30))
def test_the_cache_never_returns_other_bytes_nor_exceeds_its_size(
    steps: list[tuple[str, int, int, int]], room: int
) -> None:
    cache, removed = block_cache(room)
    pins: list[int] = []
    for step, index, first, count in steps:
        was_whole = set(cache.have)
        removed.clear()
        run = Run(index, first, min(count, BLOCKS - first))
        if step == "run":
            cache.put_blocks(run, run_data(run))
            assert not any(cache.missing_in(run)) or index not in cache.have
        elif step == "chunk":
            cache.put(index, run_data(Run(index, 0, BLOCKS)))
        elif step == "look":
            cache.look(index)
        elif step == "pin":
            pins.append(index)
            cache.pin(index)
        elif index in pins:
            pins.remove(index)
            cache.unpin(index)
        held = 0
        for each in range(5):
            whole = cache.look(each)
            parts = [cache.look_block(each, block) for block in range(BLOCKS)]
            if whole is not None:
                assert bytes(whole) == run_data(Run(each, 0, BLOCKS))
                assert parts == [None] * BLOCKS
                held += len(whole)
            for block, data in enumerate(parts):
                if data is not None:
                    assert bytes(data) == run_data(Run(each, block, 1))
                    held += len(data)
            here = {block for block, data in enumerate(parts) if data is not None}
            if whole is not None:
                here.update(range(BLOCKS))
            missing = [r.blocks for r in cache.missing_in(Run(each, 0, BLOCKS))]
            assert set().union(*missing) == set(range(BLOCKS)) - here
            assert (whole is not None) == (each in cache.have)
        assert held == cache._size
        if not pins:
            assert held <= max(room, BLOCKS) * BLOCK_SIZE
        # Only whole chunks that are gone were reported.
        assert was_whole - set(cache.have) <= set(removed)
