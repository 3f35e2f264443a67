"""Check which addresses are dialled, and when."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.bans import BAN_TIME
from shoal.core.names.address import Address
from shoal.core.names.address_scope import MIN_PORT
from shoal.core.peerbook import (
    FIRST_BACKOFF,
    KNOWN_BACKOFF,
    KNOWN_TIME,
    LEFT_TIME,
    MAX_ADDRESSES,
    MAX_BACKOFF,
    MAX_PORTS,
    MAX_UNPROVEN,
    MAX_UNPROVEN_NEAR,
    NAMED_SOURCES,
    PeerBook,
)

HERE = Address("10.0.0.1", 4001)
THERE = Address("10.0.0.2", 4001)


@pytest.fixture
def book() -> PeerBook:
    return PeerBook(Random(1))


def test_an_address_counts_once_however_often_it_is_reported(book: PeerBook) -> None:
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


def test_an_address_is_not_dialled_before_its_time(book: PeerBook) -> None:
    book.add(HERE, "swarm", 5.0)
    assert book.next_dials(4.9, 9) == []
    assert book.next_due() == 5.0
    assert not book.add(HERE, "lan"), "a known address keeps its time"
    assert book.next_dials(5.0, 9) == [HERE]


def test_no_more_addresses_are_dialled_than_there_are_slots(book: PeerBook) -> None:
    for number in range(1, 100):
        book.add(Address(f"10.0.0.{number}", 4001), "lan")
    first = book.next_dials(0.0, 8)
    assert len(first) == 8
    assert book.next_dials(0.0, 0) == []
    assert not set(first) & set(book.next_dials(0.0, 99))


def test_a_failed_address_is_dialled_after_longer_and_longer_pauses(
    book: PeerBook,
) -> None:
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


def test_the_failures_of_a_peer_that_answers_are_forgotten(book: PeerBook) -> None:
    book.add(HERE, "lan")
    for _ in range(9):
        book.on_lost(HERE, 0.0)
    book.on_ready(HERE)
    book.on_lost(HERE, 1000.0)
    due = book.next_due()
    assert due is not None
    assert due <= 1000.0 + FIRST_BACKOFF


def test_a_recent_peer_is_dialled_again_soon(book: PeerBook) -> None:
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


def test_known_addresses_can_be_dialled_at_once_despite_their_back_off(
    book: PeerBook,
) -> None:
    named, former, left, reported, banned, connected = (
        Address(f"10.0.0.{host}", 4001) for host in range(1, 7)
    )
    for address in (former, left, reported, banned, connected):
        book.add(address, "lan")
    book.add(named, "peer")
    assert len(book.next_dials(0.0, 9)) == 6
    for address in (former, left, connected):
        book.on_ready(address)
    for address in (named, former, reported):
        for _ in range(9):
            book.on_lost(address, 0.0)
    book.on_left(left, 0.0)
    book.on_ready(banned)
    book.ban(banned, 0.0)
    book.on_lost(banned, 0.0)
    assert book.next_dials(0.1, 9) == []
    book.end_waits(0.1)
    assert set(book.next_dials(0.1, 9)) == {named, former, left}
    assert set(book.next_dials(BAN_TIME, 9)) == {reported, banned}


def test_the_address_that_failed_less_is_dialled_first(book: PeerBook) -> None:
    for address in (HERE, THERE):
        book.add(address, "lan")
    book.next_dials(0.0, 2)
    book.on_lost(HERE, 0.0)
    book.on_lost(HERE, 0.0)
    book.on_lost(THERE, 0.0)
    assert book.next_dials(1e6, 1) == [THERE]


def test_an_address_is_not_dialled_right_after_its_goodbye(book: PeerBook) -> None:
    book.add(HERE, "lan")
    book.next_dials(0.0, 1)
    book.on_ready(HERE)
    book.on_left(HERE, 100.0)
    assert book.next_due() == 100.0 + LEFT_TIME
    assert book.next_dials(100.0 + LEFT_TIME, 1) == [HERE]
    # It has probably left, so it is not dialled every second from then on.
    book.on_lost(HERE, 200.0)
    due = book.next_due()
    assert due is not None
    assert due >= 205.0


def test_an_address_that_proves_to_be_a_peers_is_soon_dialled_again(
    book: PeerBook,
) -> None:
    book.add(HERE, "lan")
    now = 0.0
    for _ in range(5):  # refused, because its node is connected by another address
        due = book.next_due()
        assert due is not None
        assert book.next_dials(due, 9) == [HERE]
        now = due
        book.on_lost(HERE, now)
    due = book.next_due()
    assert due is not None
    assert due > now + 2 * FIRST_BACKOFF
    book.on_ready(HERE)
    book.on_lost(HERE, now)
    due = book.next_due()
    assert due is not None
    assert due <= now + FIRST_BACKOFF


def test_a_proof_does_not_end_a_ban(book: PeerBook) -> None:
    book.add(HERE, "lan")
    book.ban(HERE, 0.0)
    book.on_ready(HERE)
    book.on_lost(HERE, 1.0)
    assert book.next_dials(BAN_TIME - 1, 9) == []


def test_a_goodbye_does_not_end_a_ban(book: PeerBook) -> None:
    book.add(HERE, "lan")
    book.next_dials(0.0, 1)
    book.ban(HERE, 5.0)
    book.on_left(HERE, 5.0)
    assert book.next_due() == 5.0 + BAN_TIME


@pytest.mark.parametrize("is_known", [True, False])
def test_a_banned_address_is_not_dialled_for_a_while(
    book: PeerBook, is_known: bool
) -> None:
    if is_known:
        book.add(HERE, "lan")
        book.next_dials(0.0, 1)
    book.ban(HERE, 5.0)
    if is_known:
        book.on_lost(HERE, 5.0)  # this does not shorten the ban
    assert book.next_dials(5.0 + BAN_TIME - 1, 1) == []
    assert book.next_dials(5.0 + BAN_TIME, 1) == [HERE]


def test_our_own_address_is_never_dialled_again(book: PeerBook) -> None:
    book.add(HERE, "lan")
    book.next_dials(0.0, 1)
    book.forget(HERE)
    book.on_lost(HERE, 0.0)
    assert book.next_dials(1e12, 1) == []


def flood(book: PeerBook, count: int, *, net: int = 20) -> list[Address]:
    """Report addresses without a peer, each of another host."""
    made = [
        Address(f"{net}.{i >> 16}.{i >> 8 & 255}.{i & 255}", 4001) for i in range(count)
    ]
    for address in made:
        book.add(address, "swarm")
    return made


def fail(book: PeerBook, count: int, now: float) -> set[Address]:
    """Dial this many addresses, which fail; return them."""
    dialled = set(book.next_dials(now, count))
    for address in dialled:
        book.on_lost(address, now)
    return dialled


def test_only_so_many_addresses_are_remembered(book: PeerBook) -> None:
    flood(book, MAX_ADDRESSES + 5)
    assert len(book) == MAX_ADDRESSES


def test_a_full_book_forgets_the_address_that_failed_most_then_the_oldest(
    book: PeerBook,
) -> None:
    twice = flood(book, 3)
    for now in (0.0, MAX_BACKOFF):
        assert fail(book, 3, now) == set(twice)
    once = flood(book, 4, net=21)
    assert fail(book, 4, MAX_BACKOFF) == set(once)
    fresh = flood(book, MAX_ADDRESSES - 7, net=22)
    for newcomers, gone in ((3, twice), (4, once), (5, fresh[:5])):
        for number in range(newcomers):
            assert book.add(Address("10.0.0.3", 1000 * newcomers + number), "lan")
        assert not set(gone) & set(book)
    assert set(fresh[5:]) <= set(book)
    assert len(book) == MAX_ADDRESSES


def test_a_former_peer_survives_a_flood(book: PeerBook) -> None:
    book.add(HERE, "lan")
    book.add(THERE, "lan")
    assert len(book.next_dials(0.0, 2)) == 2
    book.on_ready(HERE)
    for _ in range(9):
        book.on_lost(HERE, 0.0)
    book.on_ready(THERE)
    book.on_left(THERE, 0.0)
    flood(book, 3 * MAX_ADDRESSES)
    assert {HERE, THERE} <= set(book)


def test_connected_and_banned_addresses_survive_a_flood(book: PeerBook) -> None:
    liar, also = Address("10.0.0.3", 4001), Address("10.0.0.4", 4001)
    for address in (HERE, liar):
        book.add(address, "lan")
    book.next_dials(0.0, 2)
    book.ban(liar, 0.0)
    book.on_lost(liar, 0.0)
    book.ban(also, 0.0)
    flood(book, 3 * MAX_ADDRESSES)
    assert {HERE, liar, also} <= set(book)
    assert len(book) == MAX_ADDRESSES
    dialled = set(book.next_dials(1.0, MAX_ADDRESSES))
    assert not {HERE, liar, also} & dialled
    # No address can be forgotten any more, so no other one is remembered.
    assert not book.add(THERE, "lan")
    book.ban(THERE, 1.0)
    assert len(book) == MAX_ADDRESSES


@pytest.mark.parametrize("source", ["peer", "hint"])
@pytest.mark.parametrize("is_late", [False, True])
def test_a_named_address_is_dialled_first_and_never_forgotten(
    book: PeerBook, source: str, is_late: bool
) -> None:
    named = [Address("8.8.8.8", port) for port in range(5000, 5009)]
    if is_late:
        book.add(named[0], "swarm")
        flood(book, MAX_ADDRESSES - 1)
    for address in named:
        book.add(address, source)
    flood(book, 2 * MAX_ADDRESSES, net=21)
    assert set(named) <= set(book)
    assert len(book) == MAX_ADDRESSES + len(named)
    assert set(book.next_dials(0.0, len(named))) == set(named)
    for address in named:
        book.on_lost(address, 0.0)
    assert set(book.next_dials(MAX_BACKOFF, len(named))) == set(named)


@pytest.mark.parametrize("host", ["8.8.8.8", "10.0.0.9", "127.0.0.1"])
def test_a_host_has_only_so_many_ports(book: PeerBook, host: str) -> None:
    ports = [Address(host, port) for port in range(5000, 6000)]
    assert [book.add(address, "dht") for address in ports].count(True) == MAX_PORTS
    assert book.add(Address("8.8.4.4", 5000), "dht")


@pytest.mark.parametrize("source", ["swarm", "lan", "dht", "peer", "hint"])
def test_a_port_of_a_service_counts_only_if_it_is_named(
    book: PeerBook, source: str
) -> None:
    is_named = source in NAMED_SOURCES
    assert book.add(Address("10.0.0.9", MIN_PORT - 1), source) == is_named
    assert book.add(Address("10.0.0.9", MIN_PORT), source)


@pytest.mark.parametrize(
    ("host", "most"), [("8.8.8.8", MAX_UNPROVEN), ("10.0.0.9", MAX_UNPROVEN_NEAR)]
)
def test_many_ports_of_one_host_do_not_cause_more_dials(
    book: PeerBook, host: str, most: int
) -> None:
    now, dials = 0.0, 0
    ports = iter(Address(host, port) for port in range(2000, 60_000))
    while now < 600.0:
        for _ in range(5):
            book.add(next(ports), "swarm")
        dials += len(fail(book, 9, now))
        assert len(book) <= MAX_PORTS
        now += 0.5
    assert len(book) == MAX_PORTS
    assert dials <= most * (600 / (MAX_BACKOFF / 2) + 8)


def test_many_addresses_in_one_ipv6_prefix_do_not_cause_more_dials(
    book: PeerBook,
) -> None:
    for number in range(5000):
        book.add(Address(f"2a01:1:2:3::{number:x}", 4001 + number), "swarm")
    assert len(book) == MAX_PORTS
    assert len(book.next_dials(0.0, 99)) == MAX_UNPROVEN
    # So are those that stand for one IPv4 address.
    for number in range(9):
        for host in ("9.9.9.9", "64:ff9b::909:909", f"2002:909:909::{number}"):
            book.add(Address(host, 4001 + number), "swarm")
    assert len(book.next_dials(0.0, 99)) == MAX_UNPROVEN


def test_many_nodes_behind_one_address_are_all_dialled(book: PeerBook) -> None:
    """The next are dialled at once when one has proven to be a peer."""
    nodes = [Address("8.8.8.8", port) for port in range(5000, 5000 + MAX_PORTS)]
    for address in nodes:
        assert book.add(address, "swarm")
    found: list[Address] = []
    while dialled := book.next_dials(0.0, 9):
        assert len(dialled) <= MAX_UNPROVEN
        found += dialled
        for address in dialled:
            book.on_ready(address)
    assert sorted(found) == nodes
    # They were peers, so all are dialled again if the network fails.
    for address in nodes:
        book.on_lost(address, 10.0)
    assert sorted(book.next_dials(10.0 + MAX_BACKOFF, 99)) == nodes


def test_the_ports_of_a_host_are_dialled_in_turn(book: PeerBook) -> None:
    nodes = [Address("8.8.8.8", port) for port in range(5000, 5006)]
    for address in nodes:
        book.add(address, "swarm")
    assert [fail(book, 9, now) for now in (0.0, 1.0, 3.0, 7.0)] == [
        set(nodes[:2]),
        set(nodes[2:4]),
        set(nodes[4:]),
        set(nodes[:2]),
    ]


def test_a_port_is_dialled_when_another_one_is_forgotten(book: PeerBook) -> None:
    nodes = [Address("8.8.8.8", port) for port in range(5000, 5004)]
    for address in nodes:
        book.add(address, "swarm")
    book.next_dials(0.0, 9)
    book.forget(nodes[0])  # it is our own
    assert book.next_dials(0.0, 9) == [nodes[2]]
    book.add(nodes[1], "hint")  # and now it is named
    assert book.next_dials(0.0, 9) == [nodes[3]]


def test_a_full_book_lets_64_behind_one_address_be_known(book: PeerBook) -> None:
    flood(book, 2 * MAX_ADDRESSES)
    nodes = [Address("8.8.8.8", port) for port in range(5000, 5000 + MAX_PORTS)]
    for address in nodes:
        assert book.add(address, "swarm")
    assert set(nodes) <= set(book)
    assert len(book) == MAX_ADDRESSES


def test_a_new_port_takes_the_place_of_one_that_failed(book: PeerBook) -> None:
    for port in range(5000, 5000 + MAX_PORTS):
        book.add(Address("8.8.8.8", port), "swarm")
    honest = Address("8.8.8.8", 4001)
    assert not book.add(honest, "dht")
    now = 0.0
    fail(book, 9, now)
    assert book.add(honest, "dht")
    while honest not in set(book.next_dials(now, 9)):
        now += MAX_BACKOFF
        for address in set(book) - {honest}:
            book.on_lost(address, now)
        assert now < MAX_PORTS * MAX_BACKOFF
    book.on_ready(honest)
    # It stays in the book.
    book.on_lost(honest, now)
    for port in range(6000, 6100):
        book.add(Address("8.8.8.8", port), "swarm")
        fail(book, 9, now + MAX_BACKOFF)
    assert honest in set(book)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), max_size=90))
def test_no_port_of_a_host_is_lost(steps: list[tuple[int, int]]) -> None:
    """Whatever happens, every port that is known is dialled some time."""
    book, now = PeerBook(Random(0)), 0.0
    for step, number in steps:
        address = Address("8.8.8.8", 5000 + number)
        now += 1.0
        match step:
            case 0 | 1:
                book.add(address, "swarm")
            case 2:
                book.next_dials(now, number)
            case 3 if address in set(book):
                book.on_lost(address, now)
            case 4 if address in set(book):
                book.on_ready(address)
            case 5:
                book.ban(address, now)
            case 6:
                book.add(address, "hint")
    for address in set(book):
        book.on_lost(address, now)
    dialled: set[Address] = set()
    while len(dialled) < len(book) and now < 1e5:
        dialled |= fail(book, 9, now)
        now += MAX_BACKOFF
    assert dialled == set(book)


@given(st.integers(0, 99), st.lists(st.integers(0, 5), max_size=60))
def test_every_due_address_is_eventually_dialled(seed: int, lost: list[int]) -> None:
    book = PeerBook(Random(seed))
    addresses = [Address(f"10.0.0.{number}", 4001) for number in range(1, 7)]
    for address in addresses:
        book.add(address, "lan")
    for number in lost:
        book.on_lost(addresses[number], 0.0)
    assert sorted(book.next_dials(MAX_BACKOFF, 9)) == addresses


GLOBAL = Address("8.8.8.8", 4001)


def test_an_address_that_dials_us_is_dialled_whatever_its_back_off(
    book: PeerBook,
) -> None:
    book.add(GLOBAL, "dht")
    for _ in range(8):
        book.next_dials(1e6, 9)
        book.on_lost(GLOBAL, 1000.0)
    assert book.next_dials(1001.0, 9) == []
    book.hasten(GLOBAL, 1002.0)
    assert book.next_dials(1001.0, 9) == []
    assert book.next_dials(1002.0, 9) == [GLOBAL]
    book.hasten(GLOBAL, 1003.0)
    assert book.next_dials(1003.0, 9) == [], "it is being dialled"


def test_a_banned_address_is_not_hastened(book: PeerBook) -> None:
    book.add(GLOBAL, "dht")
    book.ban(GLOBAL, 0.0)
    book.hasten(GLOBAL, 1.0)
    assert book.next_dials(BAN_TIME - 1, 9) == []


def test_an_address_is_a_claim_while_only_peers_make_us_dial_it(book: PeerBook) -> None:
    found, claimed = GLOBAL, Address("8.8.9.9", 4001)
    book.add(found, "dht")
    book.add(claimed, "swarm")
    book.add(HERE, "swarm")
    assert [book.is_claim(each) for each in (found, claimed, HERE)] == [0, 1, 0]
    book.hasten(found, 0.0)
    assert book.is_claim(found)
    book.next_dials(0.0, 9)
    book.on_lost(found, 0.0)
    assert not book.is_claim(found), "the next dial is ours"
    book.on_ready(claimed)
    assert not book.is_claim(claimed), "it has been a peer"


def test_a_postponed_address_is_dialled_later(book: PeerBook) -> None:
    book.add(GLOBAL, "swarm")
    assert book.next_dials(0.0, 9) == [GLOBAL]
    book.postpone(GLOBAL, 50.0)
    assert book.next_dials(49.0, 9) == []
    assert book.next_dials(50.0, 9) == [GLOBAL]
