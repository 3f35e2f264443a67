"""Limits on rates, messages and overhead, on a fake clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.limits import (
    MAX_PAUSE,
    MAX_PAUSES,
    MESSAGE_BURST,
    MESSAGE_RATE,
    OVERHEAD_LIMIT,
    OVERHEAD_RATE,
    PAYLOAD_SHARE,
    MessageLimit,
    OverheadLimit,
)
from shoal.core.rate_limit import MAX_WAIT, RATE_BURST, RateLimit
from shoal.errors import ProtocolError

# RateLimit

RATES = st.sampled_from([1.0, 1000.0, 2.5e7])
STEPS = st.lists(
    # Bytes as a part of the rate, and the pause after more could have been sent.
    st.tuples(st.floats(0, 3), st.sampled_from([0.0, 0.0, 0.01, 0.5, 10.0])),
    max_size=60,
)


def waited(limit: RateLimit, now: float) -> float:
    """Return when the next bytes may be moved, after as many waits as that takes."""
    while (wait := limit.wait(now)) == MAX_WAIT:
        now += wait
    now += wait
    assert limit.wait(now) <= 1e-6, "the wait was not over when it should be"
    return now


@given(RATES, STEPS, st.floats(0, 1e6))
def test_the_rate_is_kept_between_any_two_moments(
    rate: float, steps: list[tuple[float, float]], start: float
) -> None:
    limit, now = RateLimit(rate), start
    sent: list[tuple[float, float]] = []
    for part, pause in steps:
        now = waited(limit, now) + pause
        limit.take(int(part * rate), now)
        sent.append((now, int(part * rate)))
    for first in range(len(sent)):
        size = 0.0
        for until, bytes_ in sent[first:]:
            # One piece may exceed the rate; the next piece waits for it.
            allowed = rate * (until - sent[first][0] + RATE_BURST)
            assert size <= allowed * (1 + 1e-6) + rate * 1e-5
            size += bytes_


@given(RATES, st.lists(st.floats(0.001, 2), min_size=1, max_size=60))
def test_a_sender_that_always_has_data_reaches_the_whole_rate(
    rate: float, parts: list[float]
) -> None:
    limit, now, size = RateLimit(rate), 0.0, 0.0
    for part in parts:
        now = waited(limit, now)
        limit.take(int(part * rate), now)
        size += int(part * rate)
    now = waited(limit, now)
    assert size >= rate * now * (1 - 1e-6)


def test_a_long_pause_allows_one_burst_and_no_more() -> None:
    limit = RateLimit(1000)
    limit.take(0, 0.0)
    taken = 0
    while not limit.wait(3600.0):
        limit.take(1, 3600.0)
        taken += 1
    assert taken == 1000 * RATE_BURST + 1


def test_the_next_piece_waits_for_one_that_exceeded_the_rate() -> None:
    limit = RateLimit(1000)
    limit.take(5000, 10.0)
    assert limit.wait(10.0) == MAX_WAIT, "the rate may change meanwhile"
    assert limit.wait(14.5) == pytest.approx(0.5 - RATE_BURST)
    assert limit.wait(15.0) == 0.0


def test_another_rate_holds_at_once() -> None:
    limit = RateLimit(1_000_000)
    limit.take(5_000_000, 10.0)
    limit.change(1000, 10.0)
    assert limit.wait(10.0) == 0.0, "what was moved before counts no more"
    limit.take(1000, 10.0)
    assert limit.wait(10.0) == MAX_WAIT
    limit.change(None, 10.0)
    assert not limit.is_limited
    assert limit.wait(10.0) == 0.0
    limit.change(1000, 20.0)
    limit.take(600, 20.0)
    assert limit.wait(20.0) == pytest.approx(0.6 - RATE_BURST)


def test_without_a_rate_nothing_waits() -> None:
    limit = RateLimit()
    assert not limit.is_limited
    for _ in range(10):
        limit.take(1 << 40, 0.0)
        assert limit.wait(0.0) == 0.0
    assert RateLimit(5).is_limited


# MessageLimit

ONE_READ = 30_000  # messages that one read can hold


def test_a_peer_that_sends_few_messages_is_never_paused() -> None:
    limit, sent = MessageLimit(), 0
    for second in range(1000):
        sent += int(MESSAGE_RATE)
        assert limit.pause(sent, float(second)) == 0


def test_many_messages_at_once_cause_a_pause_that_time_shortens() -> None:
    limit = MessageLimit()
    sent = int(MESSAGE_BURST + 9 * MESSAGE_RATE)
    assert limit.pause(sent, 0.0) == pytest.approx(9)
    assert limit.pause(sent, 4.0) == pytest.approx(5)
    assert limit.pause(sent, 9.0) == 0
    assert limit.pause(sent + int(MESSAGE_RATE), 9.0) == pytest.approx(1)


@pytest.mark.parametrize("read", [1, 100, 5000])
def test_a_peer_that_always_sends_too_much_is_read_at_the_limit(read: int) -> None:
    limit, sent, now = MessageLimit(), 0, 0.0
    while now < 100:
        sent += read
        now += max(0.0001, limit.pause(sent, now))
    assert sent <= MESSAGE_BURST + MESSAGE_RATE * now + 2 * read


def test_a_peer_that_exceeds_the_limit_after_every_longest_pause_is_cut_off() -> None:
    limit, sent, now = MessageLimit(), 0, 0.0
    for _ in range(MAX_PAUSES):
        sent += ONE_READ
        assert limit.pause(sent, now) == MAX_PAUSE
        now += MAX_PAUSE
    with pytest.raises(ProtocolError):
        limit.pause(sent + ONE_READ, now)


def test_a_peer_that_exceeds_the_limit_now_and_then_is_not_cut_off() -> None:
    limit, sent, now = MessageLimit(), 0, 0.0
    for _ in range(100):
        sent += ONE_READ
        assert limit.pause(sent, now) == MAX_PAUSE
        now += ONE_READ / MESSAGE_RATE
        assert limit.pause(sent, now) == 0


def test_chunks_pay_for_the_messages_that_requested_them() -> None:
    limit = MessageLimit()
    # Requested and sent, many at a time and faster than any line.
    for number in range(10_000):
        assert limit.pause(64, number * 1e-6) == 0
        assert limit.pause(0, number * 1e-6) == 0


def test_chunks_and_time_do_not_pay_in_advance() -> None:
    limit = MessageLimit()
    limit.pause(0, 0.0)
    limit.pause(-1_000_000, 1.0)
    limit.pause(-1_000_000, 1_000_000.0)
    sent = -1_000_000 + int(MESSAGE_BURST + MESSAGE_RATE)
    assert limit.pause(sent, 1_000_000.0) == pytest.approx(1)


def test_expensive_messages_count_more_than_once() -> None:
    limit = MessageLimit()
    limit.add(MESSAGE_BURST + 2 * MESSAGE_RATE)
    assert limit.pause(0, 0.0) == pytest.approx(2)


# OverheadLimit

MESSAGE = 18  # bytes of a Noise message beside its payload


def test_overhead_alone_is_too_much_beyond_the_limit() -> None:
    limit = OverheadLimit()
    limit.add(OVERHEAD_LIMIT)
    with pytest.raises(ProtocolError):
        limit.add(1)


def test_overhead_at_the_rate_is_allowed_forever() -> None:
    limit = OverheadLimit()
    for second in range(1000):
        limit.leak(second)
        limit.add(OVERHEAD_RATE // 2)
        limit.leak(second + 0.5)
        limit.add(OVERHEAD_RATE // 2)


def test_overhead_above_the_rate_is_soon_too_much() -> None:
    limit = OverheadLimit()

    def send_too_fast() -> None:
        for second in range(10):
            limit.leak(second)
            limit.add(OVERHEAD_RATE * 9 // 8)

    with pytest.raises(ProtocolError):
        send_too_fast()


def test_payload_does_not_pay_in_advance() -> None:
    limit = OverheadLimit()
    limit.on_payload(1 << 40)
    limit.leak(0)
    limit.leak(1000)
    with pytest.raises(ProtocolError):
        limit.add(OVERHEAD_LIMIT + 1)


def test_full_messages_and_one_for_each_request_pay_for_themselves() -> None:
    # The smallest chunks and a message for each request: what a fast peer sends.
    limit = OverheadLimit()
    for _ in range(100_000):
        limit.add(MESSAGE, 16 * 1024)
    assert PAYLOAD_SHARE * MESSAGE < 16 * 1024


def test_messages_that_are_counted_together_pay_for_one_another() -> None:
    limit, many = OverheadLimit(), OVERHEAD_LIMIT // MESSAGE
    limit.add(2 * many * MESSAGE, many * MESSAGE * PAYLOAD_SHARE)
    with pytest.raises(ProtocolError):
        limit.add(2 * many * MESSAGE, many * MESSAGE * PAYLOAD_SHARE // 2)


def test_a_record_that_arrives_in_pieces_counts_until_it_is_complete() -> None:
    limit = OverheadLimit()
    for _ in range(1000):
        limit.add(16 * 1024)
        limit.add(MESSAGE - 16 * 1024)
        limit.on_payload(16 * 1024)
