"""How long a peer that says too much beside chunks is not listened to."""

import pytest

from shoal.core.chatter import BURST, RATE, Chatter


def test_who_says_a_little_is_always_listened_to() -> None:
    chatter, said = Chatter(), 0
    for second in range(1000):
        said += int(RATE)
        assert chatter.pause(said, float(second)) == 0


def test_who_says_much_at_once_waits_until_time_has_paid_for_it() -> None:
    chatter = Chatter()
    said = int(BURST + 10 * RATE)
    assert chatter.pause(said, 0.0) == pytest.approx(10)
    assert chatter.pause(said, 4.0) == pytest.approx(6)
    assert chatter.pause(said, 10.0) == 0
    assert chatter.pause(said + int(RATE), 10.0) == pytest.approx(1)


def test_who_says_too_much_all_the_time_is_listened_to_no_faster_than_that() -> None:
    chatter, said, now = Chatter(), 0, 0.0
    while now < 1000:
        said += 30_000  # what one read can hold
        now += max(0.001, chatter.pause(said, now))
    assert said <= BURST + RATE * (now + 30)


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
