"""Check how many bytes are fetched ahead of a reader."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.core.schedule.readahead import AHEAD_LIMIT, ReadAhead


def test_nothing_is_fetched_ahead_after_one_read() -> None:
    assert ReadAhead().on_read(0, 8) == 0


def test_the_window_grows_with_sequential_reads() -> None:
    ahead = ReadAhead()
    reads = [(0, 10), (10, 20), (20, 40), (40, 80), (80, 120)]
    assert [ahead.on_read(*each) for each in reads] == [0, 20, 40, 80, 120]


def test_a_jump_resets_the_window() -> None:
    ahead = ReadAhead()
    for place in range(10):
        ahead.on_read(place, place + 1)
    assert ahead.on_read(50, 60) == 0
    assert ahead.on_read(60, 61) == 11


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50))))
def test_at_most_as_much_is_wasted_as_was_read(reads: list[tuple[int, int]]) -> None:
    ahead, read = ReadAhead(), 0
    for first, size in reads:
        read += size
        assert ahead.on_read(first, first + size) <= read


def test_a_stream_is_fetched_ahead_up_to_the_limit() -> None:
    ahead, step = ReadAhead(), 1 << 20
    windows = [ahead.on_read(i * step, (i + 1) * step) for i in range(40)]
    assert windows[-1] == AHEAD_LIMIT
    assert windows == sorted(windows)
