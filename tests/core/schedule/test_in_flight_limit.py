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


def test_as_much_as_may_be_in_flight_is_asked_for_at_first() -> None:
    intake = InFlightLimit(SIZE)
    assert intake.room(0, 0) == MOST
    assert intake.room(MOST - 3, 0) == 3
    assert intake.room(10, 2 * SIZE) == MOST - 12
    assert intake.room(MOST + 5, 0) == 0


def test_while_they_are_ahead_all_together_owe_what_one_may() -> None:
    assert MOST > ahead(1).room(0, 0) > LEAST
    assert ahead(LONG).room(0, 0) == LEAST
    assert ahead(LONG).room(LEAST, 0) == 0


def test_what_waits_for_its_verdict_does_not_stand_for_what_is_asked() -> None:
    assert ahead(LONG).room(0, BACKLOG_LIMIT) == LEAST


def test_who_can_take_more_again_asks_for_more() -> None:
    intake = ahead(LONG)
    intake.on_read(is_ahead=False)
    for _ in range(LONG):
        intake.on_read(is_ahead=False)
    assert intake.room(0, 0) == MOST


def test_one_who_was_ahead_and_falls_silent_holds_nobody_up() -> None:
    intake = ahead(LONG)
    intake.on_tick()
    assert intake.room(0, 0) == LEAST, "something came since the tick before"
    intake.on_tick()
    assert intake.room(0, 0) == MOST


def test_nothing_is_asked_for_while_much_waits_for_its_verdict() -> None:
    assert InFlightLimit(SIZE).room(0, BACKLOG_LIMIT + 1) == 0


def test_one_chunk_may_always_be_on_its_way() -> None:
    large = 2 * IN_FLIGHT_LIMIT
    assert InFlightLimit(large).room(0, 0) == 1
    assert InFlightLimit(large).room(1, 0) == 0
