"""How much a peer may send that carries nothing."""

import pytest

from shoal.core.limits.overhead import (
    OVERHEAD_LIMIT,
    OVERHEAD_RATE,
    PAYLOAD_SHARE,
    Overhead,
)
from shoal.errors import ProtocolError

RECORD = 22  # bytes that a record has beside what is in it


def test_nothing_but_overhead_is_too_much_at_the_limit() -> None:
    overhead = Overhead()
    overhead.add(OVERHEAD_LIMIT)
    with pytest.raises(ProtocolError):
        overhead.add(1)


def test_what_time_pays_for_may_go_on_for_ever() -> None:
    overhead = Overhead()
    for second in range(1000):
        overhead.on_time(second)
        overhead.add(OVERHEAD_RATE // 2)
        overhead.on_time(second + 0.5)
        overhead.add(OVERHEAD_RATE // 2)


def test_more_than_time_pays_for_is_too_much_soon() -> None:
    overhead = Overhead()

    def go_on() -> None:
        for second in range(10):
            overhead.on_time(second)
            overhead.add(OVERHEAD_RATE * 9 // 8)

    with pytest.raises(ProtocolError):
        go_on()


def test_full_records_pay_for_themselves_however_fast() -> None:
    overhead = Overhead()
    for _ in range(100_000):
        overhead.add(RECORD)
        overhead.on_payload(16 * 1024)


def test_payload_saves_nothing_up() -> None:
    overhead = Overhead()
    overhead.on_payload(1 << 40)
    overhead.on_time(0)
    overhead.on_time(1000)
    with pytest.raises(ProtocolError):
        overhead.add(OVERHEAD_LIMIT + 1)


def test_a_request_for_each_chunk_that_comes_is_no_overhead_to_speak_of() -> None:
    # The smallest chunks and a record for each request: what a fast peer sends.
    overhead = Overhead()
    for _ in range(100_000):
        overhead.add(RECORD)
        overhead.on_payload(16 * 1024 + RECORD)
    assert PAYLOAD_SHARE * RECORD < 16 * 1024


def test_a_record_that_comes_in_pieces_counts_until_it_is_whole() -> None:
    overhead = Overhead()
    for _ in range(1000):
        overhead.add(16 * 1024)
        overhead.add(RECORD - 16 * 1024)
        overhead.on_payload(16 * 1024)
