"""How much is asked of all together: less while they are ahead, and never nothing."""

from shoal.core.schedule.window import (
    BACKLOG_LIMIT,
    IN_FLIGHT_LIMIT,
    MAX_BYTES,
    InFlightLimit,
)

SIZE = 1 << 20
MOST = IN_FLIGHT_LIMIT // SIZE
LEAST = MAX_BYTES // SIZE
LONG = 200  # reads; more than it takes to get from one end to the other


def ahead(reads: int) -> InFlightLimit:
    intake = InFlightLimit(SIZE)
    for _ in range(reads):
        intake.on_read(is_ahead=True)
    return intake


def test_the_limit_begins_at_its_highest() -> None:
    intake = InFlightLimit(SIZE)
    assert intake.room(0, 0) == MOST
    assert intake.room(MOST - 3, 0) == 3
    assert intake.room(10, 2 * SIZE) == MOST - 12
    assert intake.room(MOST + 5, 0) == 0


def test_the_limit_falls_to_that_of_one_source_while_they_are_ahead() -> None:
    assert MOST > ahead(1).room(0, 0) > LEAST
    assert ahead(LONG).room(0, 0) == LEAST
    assert ahead(LONG).room(LEAST, 0) == 0


def test_unverified_bytes_do_not_count_as_requested() -> None:
    assert ahead(LONG).room(0, BACKLOG_LIMIT) == LEAST


def test_the_limit_rises_while_no_source_is_ahead() -> None:
    intake = ahead(LONG)
    intake.on_read(is_ahead=False)
    for _ in range(LONG):
        intake.on_read(is_ahead=False)
    assert intake.room(0, 0) == MOST


def test_a_silent_tick_restores_the_highest_limit() -> None:
    intake = ahead(LONG)
    intake.on_tick()
    assert intake.room(0, 0) == LEAST, "something came since the tick before"
    intake.on_tick()
    assert intake.room(0, 0) == MOST


def test_nothing_is_requested_while_much_waits_for_verification() -> None:
    assert InFlightLimit(SIZE).room(0, BACKLOG_LIMIT + 1) == 0


def test_one_chunk_may_always_be_outstanding() -> None:
    large = 2 * IN_FLIGHT_LIMIT
    assert InFlightLimit(large).room(0, 0) == 1
    assert InFlightLimit(large).room(1, 0) == 0
