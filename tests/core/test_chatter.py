"""How long a peer that says too much beside chunks is not listened to."""

import pytest

from shoal.core.limits.chatter import BURST, MAX_PAUSE, MAX_PAUSES, RATE, Chatter
from shoal.errors import ProtocolError

ONE_READ = 30_000  # messages that one read can hold


def test_who_says_a_little_is_always_listened_to() -> None:
    chatter, said = Chatter(), 0
    for second in range(1000):
        said += int(RATE)
        assert chatter.pause(said, float(second)) == 0


def test_who_says_much_at_once_waits_until_time_has_paid_for_it() -> None:
    chatter = Chatter()
    said = int(BURST + 9 * RATE)
    assert chatter.pause(said, 0.0) == pytest.approx(9)
    assert chatter.pause(said, 4.0) == pytest.approx(5)
    assert chatter.pause(said, 9.0) == 0
    assert chatter.pause(said + int(RATE), 9.0) == pytest.approx(1)


@pytest.mark.parametrize("read", [1, 100, 5000])
def test_who_always_says_too_much_is_listened_to_no_faster(read: int) -> None:
    chatter, said, now = Chatter(), 0, 0.0
    while now < 100:
        said += read
        now += max(0.0001, chatter.pause(said, now))
    assert said <= BURST + RATE * now + 2 * read


def test_who_says_too_much_however_long_nobody_listens_is_given_up() -> None:
    chatter, said, now = Chatter(), 0, 0.0
    for _ in range(MAX_PAUSES):
        said += ONE_READ
        assert chatter.pause(said, now) == MAX_PAUSE
        now += MAX_PAUSE
    with pytest.raises(ProtocolError):
        chatter.pause(said + ONE_READ, now)


def test_who_says_too_much_now_and_then_is_not_given_up() -> None:
    chatter, said, now = Chatter(), 0, 0.0
    for _ in range(100):
        said += ONE_READ
        assert chatter.pause(said, now) == MAX_PAUSE
        now += ONE_READ / RATE
        assert chatter.pause(said, now) == 0


def test_chunks_pay_for_what_was_said_for_them() -> None:
    chatter = Chatter()
    # Asked for, many at a time and faster than any line, and given.
    for number in range(10_000):
        assert chatter.pause(64, number * 1e-6) == 0
        assert chatter.pause(0, number * 1e-6) == 0


def test_chunks_and_time_save_nothing_up() -> None:
    chatter = Chatter()
    chatter.pause(0, 0.0)
    chatter.pause(-1_000_000, 1.0)
    chatter.pause(-1_000_000, 1_000_000.0)
    said = -1_000_000 + int(BURST + RATE)
    assert chatter.pause(said, 1_000_000.0) == pytest.approx(1)


def test_what_costs_more_counts_for_more() -> None:
    chatter = Chatter()
    chatter.add(BURST + 2 * RATE)
    assert chatter.pause(0, 0.0) == pytest.approx(2)
