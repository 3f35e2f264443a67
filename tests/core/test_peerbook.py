"""Whom to dial and when."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.address import Address
from shoal.core.peerbook import (
    BAN_TIME,
    FIRST_BACKOFF,
    KNOWN_BACKOFF,
    KNOWN_TIME,
    LEFT_TIME,
    MAX_ADDRESSES,
    MAX_BACKOFF,
    PeerBook,
)

HERE = Address("10.0.0.1", 4001)
THERE = Address("10.0.0.2", 4001)


@pytest.fixture
def book() -> PeerBook:
    return PeerBook(Random(1))


def test_an_address_counts_once_however_often_it_is_found(book: PeerBook) -> None:
    assert book.add(HERE, "lan")
    assert not book.add(HERE, "dht")
    assert (len(book), book.source_of(HERE)) == (1, "lan")
    assert book.source_of(THERE) == "unknown"


def test_an_address_is_dialled_once_at_a_time(book: PeerBook) -> None:
    book.add(HERE, "lan")
    assert book.next_due() == 0.0
    assert book.next_dials(0.0, 9) == [HERE]
    assert book.next_dials(0.0, 9) == []
    assert book.next_due() is None


def test_no_more_are_dialled_than_there_are_slots(book: PeerBook) -> None:
    for port in range(1, 100):
        book.add(Address("10.0.0.1", port), "lan")
    first = book.next_dials(0.0, 8)
    assert len(first) == 8
    assert book.next_dials(0.0, 0) == []
    assert not set(first) & set(book.next_dials(0.0, 99))


def test_a_failed_one_is_tried_later_and_later(book: PeerBook) -> None:
    book.add(HERE, "lan")
    now, waits = 0.0, []
    for _ in range(30):
        assert book.next_dials(now, 1) == [HERE]
        book.on_lost(HERE, now)
        due = book.next_due()
        assert due is not None
        assert book.next_dials(due - 0.001, 1) == []
        waits.append(due - now)
        now = due
    for number, wait in enumerate(waits):
        longest = min(FIRST_BACKOFF * 2**number, MAX_BACKOFF)
        assert longest / 2 <= wait <= longest


def test_one_that_answered_is_forgiven(book: PeerBook) -> None:
    book.add(HERE, "lan")
    for _ in range(9):
        book.on_lost(HERE, 0.0)
    book.on_ready(HERE)
    book.on_lost(HERE, 1000.0)
    due = book.next_due()
    assert due is not None
    assert due <= 1000.0 + FIRST_BACKOFF


def test_one_that_was_a_peer_is_dialled_soon_again_for_a_while(book: PeerBook) -> None:
    book.add(HERE, "lan")
    book.on_ready(HERE)
    now = 50.0
    waits = []
    while now < 50.0 + KNOWN_TIME + 2 * MAX_BACKOFF:
        book.on_lost(HERE, now)
        due = book.next_due()
        assert due is not None
        if now < 50.0 + KNOWN_TIME:
            assert due - now <= KNOWN_BACKOFF
        waits.append(due - now)
        now = due
    assert waits[-1] > KNOWN_BACKOFF


def test_one_that_failed_less_is_dialled_first(book: PeerBook) -> None:
    for address in (HERE, THERE):
        book.add(address, "lan")
    book.next_dials(0.0, 2)
    book.on_lost(HERE, 0.0)
    book.on_lost(HERE, 0.0)
    book.on_lost(THERE, 0.0)
    assert book.next_dials(1e6, 1) == [THERE]


def test_one_that_said_goodbye_is_left_alone_for_a_little(book: PeerBook) -> None:
    book.add(HERE, "lan")
    book.next_dials(0.0, 1)
    book.on_ready(HERE)
    book.on_left(HERE, 100.0)
    assert book.next_due() == 100.0 + LEFT_TIME
    assert book.next_dials(100.0 + LEFT_TIME, 1) == [HERE]
    # It is hardly there, so that it is not tried every second from then on.
    book.on_lost(HERE, 200.0)
    due = book.next_due()
    assert due is not None
    assert due >= 205.0


def test_a_goodbye_is_no_way_out_of_a_ban(book: PeerBook) -> None:
    book.add(HERE, "lan")
    book.next_dials(0.0, 1)
    book.ban(HERE, 5.0)
    book.on_left(HERE, 5.0)
    assert book.next_due() == 5.0 + BAN_TIME


@pytest.mark.parametrize("is_known", [True, False])
def test_a_liar_is_left_alone_for_a_while(book: PeerBook, is_known: bool) -> None:
    if is_known:
        book.add(HERE, "lan")
        book.next_dials(0.0, 1)
    book.ban(HERE, 5.0)
    if is_known:
        book.on_lost(HERE, 5.0)  # does not shorten it
    assert book.next_dials(5.0 + BAN_TIME - 1, 1) == []
    assert book.next_dials(5.0 + BAN_TIME, 1) == [HERE]


def test_our_own_address_is_never_dialled_again(book: PeerBook) -> None:
    book.add(HERE, "lan")
    book.next_dials(0.0, 1)
    book.forget(HERE)
    book.on_lost(HERE, 0.0)
    assert book.next_dials(1e12, 1) == []


def test_only_so_many_addresses_are_remembered(book: PeerBook) -> None:
    news = [
        book.add(Address(f"10.0.{i >> 8}.{i & 255}", 1), "dht")
        for i in range(MAX_ADDRESSES + 5)
    ]
    assert sum(news) == len(book) == MAX_ADDRESSES


@given(st.integers(0, 99), st.lists(st.integers(0, 5), max_size=60))
def test_whoever_is_due_is_dialled_some_day(seed: int, lost: list[int]) -> None:
    book = PeerBook(Random(seed))
    addresses = [Address("10.0.0.1", port) for port in range(1, 7)]
    for address in addresses:
        book.add(address, "lan")
    for number in lost:
        book.on_lost(addresses[number], 0.0)
    assert sorted(book.next_dials(MAX_BACKOFF, 9)) == addresses
