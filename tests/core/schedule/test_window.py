"""Check how many requests may be outstanding, and when a source stalls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.schedule.window import (
    BACKLOG_LIMIT,
    FIRST_REQUESTS,
    IN_FLIGHT_LIMIT,
    MAX_BYTES,
    MAX_REQUESTS,
    MIN_RATE,
    STALL_TIME,
    TARGET_DELAY,
    UNPROVEN_REQUESTS,
    InFlightLimit,
    RequestWindow,
)


def proven(chunk_size: int = 1024) -> RequestWindow:
    """Return the window of a source that has sent a right chunk."""
    window = RequestWindow(chunk_size)
    window.is_proven, window.is_verifying = True, False
    return window


def answered(window: RequestWindow, times: int, delay: float) -> float:
    """Request and answer one chunk after the other; return the time at the end."""
    now = 0.0
    for index in range(times):
        window.on_sent([index], now)
        now += delay
        window.on_heard(now)
        window.on_answer(index, now)
    return now


def test_until_a_chunk_is_verified_the_window_is_one() -> None:
    window = RequestWindow(1024)
    assert window.room() == UNPROVEN_REQUESTS == 1
    window.on_sent([1], 0.0)
    assert window.room() == 0
    window.on_answer(1, 0.01)
    window.is_verifying = True
    assert window.room() == 0
    window.is_proven, window.is_verifying = True, False
    assert window.room() >= FIRST_REQUESTS


def test_a_window_begins_small() -> None:
    assert proven().room() == FIRST_REQUESTS


def test_requests_fill_a_window_and_answers_empty_it() -> None:
    window = proven()
    window.on_sent([1, 2, 3], 0.0)
    assert (len(window), window.room()) == (3, FIRST_REQUESTS - 3)
    window.on_answer(2, TARGET_DELAY * 2)
    window.forget(3)
    window.forget(99)
    assert len(window) == 1


@pytest.mark.parametrize("chunk_size", [1, 1024, 1 << 20, 16 << 20])
def test_a_window_grows_to_its_bounds_while_answers_are_fast(chunk_size: int) -> None:
    window = proven(chunk_size)
    answered(window, 1000, TARGET_DELAY / 10)
    most = window.room()
    assert most <= MAX_REQUESTS
    assert most == 2 or most * chunk_size <= MAX_BYTES
    assert most == MAX_REQUESTS or (most + 1) * chunk_size > MAX_BYTES


def test_a_window_shrinks_while_answers_are_slow_but_not_to_zero() -> None:
    window = proven()
    answered(window, 1000, TARGET_DELAY / 10)
    before = window.room()
    answered(window, 50, TARGET_DELAY * 4)
    assert 2 <= window.room() < before
    answered(window, 5000, TARGET_DELAY * 4)
    assert window.room() == 2


def test_a_peer_without_requests_never_stalls() -> None:
    window = proven()
    assert not window.check_stalled(1e9)


def test_a_peer_that_does_not_answer_stalls_once_and_its_requests_are_void() -> None:
    window = proven()
    window.on_sent([1, 2], 100.0)
    assert not window.check_stalled(100.0 + STALL_TIME - 0.01)
    assert window.check_stalled(100.0 + STALL_TIME)
    assert (window.is_stalled, window.room(), len(window)) == (True, 0, 0)
    assert not window.check_stalled(200.0)


def test_an_answer_ends_a_stall_and_other_bytes_do_not() -> None:
    window = proven()
    window.on_sent([1], 0.0)
    window.check_stalled(STALL_TIME)
    window.on_heard(10.0)
    assert window.room() == 0
    window.on_answer(1, 11.0)
    assert window.room() > 0


def test_bytes_postpone_a_stall_but_not_forever() -> None:
    chunk_size = 1 << 20
    window = proven(chunk_size)
    window.on_sent([1], 0.0)
    now = 0.0
    while not window.check_stalled(now):
        now += 1.0
        window.on_heard(now)
        assert now < 1000
    assert now == pytest.approx(chunk_size / MIN_RATE, abs=1)


def test_a_slow_peer_has_more_time() -> None:
    window = proven()
    now = answered(window, 100, 5.0)
    window.on_sent([1000], now)
    assert not window.check_stalled(now + 14.8)
    assert window.check_stalled(now + 15.2)


@given(st.lists(st.tuples(st.sampled_from("sahf"), st.integers(0, 9)), max_size=80))
def test_a_window_counts_exactly_the_outstanding_requests(
    steps: list[tuple[str, int]],
) -> None:
    window, now, out = proven(), 0.0, set[int]()
    for step, index in steps:
        now += 0.05 * index
        match step:
            case "s":
                window.on_sent([index], now)
                out.add(index)
            case "a":
                window.on_answer(index, now)
                out.discard(index)
            case "h":
                window.on_heard(now)
            case _:
                window.forget(index)
                out.discard(index)
        assert len(window) == len(out)
        assert window.room() <= MAX_REQUESTS - len(out)


# InFlightLimit

SIZE = 1 << 20
MOST = IN_FLIGHT_LIMIT // SIZE
LEAST = MAX_BYTES // SIZE
LONG = 200  # reads; more than it takes from one limit to the other


def ahead(reads: int) -> InFlightLimit:
    limit = InFlightLimit(SIZE)
    for _ in range(reads):
        limit.on_read(is_ahead=True)
    return limit


def test_the_limit_begins_at_its_highest() -> None:
    limit = InFlightLimit(SIZE)
    assert limit.room(0, 0) == MOST
    assert limit.room(MOST - 3, 0) == 3
    assert limit.room(10, 2 * SIZE) == MOST - 12
    assert limit.room(MOST + 5, 0) == 0


def test_the_limit_falls_to_that_of_one_source_while_they_are_ahead() -> None:
    assert MOST > ahead(1).room(0, 0) > LEAST
    assert ahead(LONG).room(0, 0) == LEAST
    assert ahead(LONG).room(LEAST, 0) == 0


def test_unverified_bytes_do_not_count_as_requested() -> None:
    assert ahead(LONG).room(0, BACKLOG_LIMIT) == LEAST


def test_the_limit_rises_while_no_source_is_ahead() -> None:
    limit = ahead(LONG)
    limit.on_read(is_ahead=False)
    for _ in range(LONG):
        limit.on_read(is_ahead=False)
    assert limit.room(0, 0) == MOST


def test_a_silent_tick_restores_the_highest_limit() -> None:
    limit = ahead(LONG)
    limit.on_tick()
    assert limit.room(0, 0) == LEAST, "bytes arrived since the last tick"
    limit.on_tick()
    assert limit.room(0, 0) == MOST


def test_nothing_is_requested_while_much_waits_for_verification() -> None:
    assert InFlightLimit(SIZE).room(0, BACKLOG_LIMIT + 1) == 0


def test_one_chunk_may_always_be_outstanding() -> None:
    large = 2 * IN_FLIGHT_LIMIT
    assert InFlightLimit(large).room(0, 0) == 1
    assert InFlightLimit(large).room(1, 0) == 0
