"""Check how many bytes are fetched ahead of a reader."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.manifest.blocks import Run, run_span
from shoal.core.manifest.chunks import Chunks
from shoal.core.schedule.readahead import (
    AHEAD_LIMIT,
    FIRST_PART,
    FIRST_SIZE,
    LEFT,
    NO_WAIT,
    SHORT_WAIT,
    SMALL_PART,
    STREAM,
    STREAM_MOST,
    STREAM_PART,
    ReadAhead,
    Wanted,
    wanted_for,
)

KIB64 = 1 << 16
SLOW = 10 * SHORT_WAIT
"""Seconds that peers of these tests take to answer, where nothing else is said."""


def read_on(ahead: ReadAhead, sizes: Iterable[int], wait: float = SLOW) -> list[int]:
    """Read one piece after another; return how much is ahead of each.

    A piece that was not ahead takes `wait` seconds, any other almost nothing.
    """
    found, place, now, edge = [], 0, 0.0, 0
    for size in sizes:
        found.append(ahead.on_read(place, place + size, now))
        waited = wait if place >= edge else NO_WAIT / 2
        place += size
        edge = place + found[-1]
        now += waited
        ahead.on_got(place - size, place, waited)
    return found


def test_nothing_is_fetched_ahead_after_one_read() -> None:
    assert ReadAhead().on_read(0, 8, 0.0) == 0


def test_the_window_grows_with_sequential_reads() -> None:
    assert read_on(ReadAhead(), [10, 10, 20, 40, 80]) == [
        0,
        20,
        40,
        80,
        160,
    ]


def test_a_jump_resets_the_window() -> None:
    ahead = ReadAhead()
    read_on(ahead, [1] * 10)
    assert ahead.on_read(50, 60, 1.0) == 0
    assert ahead.on_read(60, 61, 1.0) == 11


def test_a_slow_reader_has_little_fetched_ahead() -> None:
    ahead, size = ReadAhead(), 1000
    ahead.on_read(0, size, 0.0)
    ahead.on_got(0, size, SLOW)
    for place in range(1, 50):
        now = place * 100 * SLOW
        most = ahead.on_read(place * size, (place + 1) * size, now)
        assert most <= 4 * size


def test_little_is_fetched_ahead_where_waits_are_short() -> None:
    found = read_on(ReadAhead(), [1000] * 100, wait=SHORT_WAIT / 2)
    most = 100 * 1000 // FIRST_PART
    assert most // 2 <= max(found) <= most
    found = read_on(ReadAhead(), [KIB64] * (STREAM // KIB64), wait=SHORT_WAIT / 2)
    assert max(found) == STREAM // SMALL_PART


def stream(wait: float, pause: float) -> list[int]:
    """Read 64 MiB in blocks, each after a pause; return how much is ahead of each."""
    ahead, now, found = ReadAhead(), 0.0, []
    for place in range(0, 16 * STREAM, KIB64):
        found.append(ahead.on_read(place, place + KIB64, now))
        ahead.on_got(place, place + KIB64, wait if place == 0 else 0.0)
        now += pause
    return found


@pytest.mark.parametrize("wait", [0.0, SHORT_WAIT / 2])
def test_a_long_stream_is_fetched_ahead_where_waits_are_short_too(wait: float) -> None:
    found = stream(wait, SHORT_WAIT / 20)
    assert max(found) == STREAM_MOST
    assert max(found[: STREAM // KIB64]) <= STREAM // SMALL_PART
    for read, each in enumerate(found, 1):
        assert each <= max(read * KIB64 // STREAM_PART, KIB64), "little would be wasted"


def test_less_is_fetched_ahead_of_a_stream_that_is_read_slowly() -> None:
    found = stream(SHORT_WAIT / 2, SHORT_WAIT)
    assert max(found) <= 16 * STREAM // SMALL_PART


def test_most_of_what_is_ahead_is_still_requested_when_more_is() -> None:
    found = stream(SHORT_WAIT / 2, SHORT_WAIT / 20)
    settled = found[12 * STREAM // KIB64 :]
    assert min(settled) >= LEFT * STREAM_MOST - KIB64


def test_a_stream_whose_first_bytes_were_in_the_cache_is_fetched_ahead() -> None:
    ahead = ReadAhead()
    ahead.on_read(0, 10, 0.0)
    ahead.on_got(0, 10, 0.0)
    ahead.on_read(10, 20, 0.0)
    ahead.on_got(10, 20, SLOW)
    assert ahead.on_read(20, 40, SLOW) == 40


def test_a_long_chunk_that_takes_its_time_on_the_line_counts_less() -> None:
    ahead, size = ReadAhead(), 100 * FIRST_SIZE
    ahead.on_read(0, size, 0.0)
    ahead.on_got(0, size, 50 * SHORT_WAIT)
    assert ahead.on_read(size, 2 * size, 1.0) <= 2 * size // STREAM_PART


def test_a_wait_for_what_was_in_the_cache_says_nothing() -> None:
    ahead = ReadAhead()
    read_on(ahead, [10], wait=SLOW)
    ahead.on_read(500, 510, 1.0)
    ahead.on_got(500, 510, 0.0)
    assert ahead.on_read(510, 520, 1.0) == 20


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50))), st.floats(0, 1))
def test_at_most_as_much_is_wasted_as_was_read(
    reads: list[tuple[int, int]], wait: float
) -> None:
    ahead, read, now = ReadAhead(), 0, 0.0
    for first, size in reads:
        read += size
        assert ahead.on_read(first, first + size, now) <= read
        now += wait
        ahead.on_got(first, first + size, wait)


def test_a_stream_is_fetched_ahead_up_to_the_limit() -> None:
    windows = read_on(ReadAhead(), [1 << 16] * 1000)
    assert max(windows) == AHEAD_LIMIT
    assert min(windows[500:]) >= AHEAD_LIMIT // 2


def test_more_is_requested_once_a_quarter_of_what_is_ahead_was_read() -> None:
    windows = read_on(ReadAhead(), [1 << 16] * 2000)
    edges = [(place + 1 << 16) + each for place, each in enumerate(windows)]
    renewed = (1 - LEFT) * AHEAD_LIMIT
    assert len(set(edges[1000:])) <= 1000 * KIB64 / renewed + 2


def test_bytes_that_arrived_beyond_a_read_count_as_read() -> None:
    ahead = ReadAhead()
    ahead.on_read(0, 10, 0.0)
    ahead.on_got(0, 64, SLOW)
    assert ahead.on_read(64, 74, SLOW) == 74
    ahead.on_got(64, 70, SLOW)
    assert ahead.on_read(74, 75, 2 * SLOW) > 0


CHUNKS = Chunks(10 * (1 << 20) - 5, 1 << 20)


def test_a_small_read_wants_the_blocks_it_covers() -> None:
    wanted = wanted_for(CHUNKS, (3 << 20) + KIB64 - 1, (3 << 20) + KIB64 + 1)
    assert wanted == Wanted(range(0), (Run(3, 0, 2),))


def test_most_of_a_chunk_is_wanted_whole_unless_by_blocks() -> None:
    first, end = (3 << 20) + KIB64, (4 << 20)
    assert wanted_for(CHUNKS, first, end) == Wanted(range(3, 4), ())
    in_blocks = wanted_for(CHUNKS, first, end, by_blocks=True)
    assert in_blocks == Wanted(range(0), (Run(3, 1, 15),))


def test_a_long_range_wants_blocks_at_its_ends_only() -> None:
    wanted = wanted_for(CHUNKS, (2 << 20) - KIB64, (5 << 20) + 1)
    assert wanted == Wanted(range(2, 5), (Run(1, 15, 1), Run(5, 0, 1)))


def test_a_chunk_of_one_block_is_wanted_whole() -> None:
    small = Chunks(10 * KIB64, KIB64)
    wanted = wanted_for(small, 3 * KIB64 + 1, 5 * KIB64 + 2, by_blocks=True)
    assert wanted == Wanted(range(3, 6), ())


@given(
    st.integers(1, CHUNKS.size), st.integers(1, 5 << 20), st.booleans(), st.booleans()
)
def test_what_is_wanted_covers_the_range_and_little_more(
    end: int, size: int, by_blocks: bool, is_small: bool
) -> None:
    chunks = Chunks(CHUNKS.size, 1 << 14) if is_small else CHUNKS
    first = max(0, end - size)
    wanted = wanted_for(chunks, first, end, by_blocks=by_blocks)
    spans = [
        (offset, offset + chunks.length(index))
        for index in wanted.chunks
        for offset in [chunks.offset(index)]
    ]
    for run in wanted.runs:
        offset, (start, stop) = chunks.offset(run.index), run_span(chunks, run)
        spans.append((offset + start, offset + stop))
        assert run.index not in wanted.chunks
        assert wanted.has(run)
        assert wanted.has_part_of(run.index)
    spans.sort()
    assert all(b == a for (_, b), (a, _) in zip(spans, spans[1:], strict=False))
    assert spans[0][0] <= first
    assert end <= spans[-1][1]
    most = max(KIB64, chunks.chunk_size // 8)
    assert first - spans[0][0] + spans[-1][1] - end < 2 * most
