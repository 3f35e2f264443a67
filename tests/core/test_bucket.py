"""A token bucket keeps its rate over any sequence of bytes, on a fake clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.limits.bucket import BURST, TokenBucket

RATE = st.sampled_from([1.0, 1000.0, 2.5e7])
STEPS = st.lists(
    # Bytes in parts of the rate, and how long one dawdles when more may be sent.
    st.tuples(st.floats(0, 3), st.sampled_from([0.0, 0.0, 0.01, 0.5, 10.0])),
    max_size=60,
)


@given(RATE, STEPS, st.floats(0, 1e6))
def test_the_rate_is_kept_from_any_moment_to_any_other(
    rate: float, steps: list[tuple[float, float]], start: float
) -> None:
    bucket, now = TokenBucket(rate), start
    sent: list[tuple[float, float]] = []
    for part, dawdle in steps:
        now += bucket.wait(now) + dawdle
        if bucket.wait(now) > 1e-6:
            raise AssertionError("who waited as long as was said waits again")
        bucket.take(int(part * rate), now)
        sent.append((now, int(part * rate)))
    for first in range(len(sent)):
        size = 0.0
        for until, bytes_ in sent[first:]:
            # What goes in one piece may be over the rate; the next one waits for it.
            allowed = rate * (until - sent[first][0] + BURST)
            assert size <= allowed * (1 + 1e-6) + rate * 1e-5
            size += bytes_


@given(RATE, st.lists(st.floats(0.001, 2), min_size=1, max_size=60))
def test_who_always_has_something_to_send_gets_the_whole_rate(
    rate: float, parts: list[float]
) -> None:
    bucket, now, size = TokenBucket(rate), 0.0, 0.0
    for part in parts:
        now += bucket.wait(now)
        bucket.take(int(part * rate), now)
        size += int(part * rate)
    now += bucket.wait(now)
    assert size >= rate * now * (1 - 1e-6)


def test_a_long_pause_saves_up_one_burst_and_no_more() -> None:
    bucket = TokenBucket(1000)
    bucket.take(0, 0.0)
    taken = 0
    while not bucket.wait(3600.0):
        bucket.take(1, 3600.0)
        taken += 1
    assert taken == 1000 * BURST + 1


def test_one_large_piece_is_waited_for_afterwards() -> None:
    bucket = TokenBucket(1000)
    bucket.take(5000, 10.0)
    assert bucket.wait(10.0) == pytest.approx(5 - BURST)
    assert bucket.wait(12.0) == pytest.approx(3 - BURST)
    assert bucket.wait(15.0) == 0.0


def test_without_a_rate_nothing_is_waited_for() -> None:
    bucket = TokenBucket()
    assert not bucket.is_limited
    for _ in range(10):
        bucket.take(1 << 40, 0.0)
        assert bucket.wait(0.0) == 0.0
    assert TokenBucket(5).is_limited
