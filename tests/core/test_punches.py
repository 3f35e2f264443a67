"""Which datagrams two nodes exchange before a QUIC connection."""

from itertools import count
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.crypto.knock import KnockMemory
from shoal.core.crypto.udp_knock import (
    DATAGRAM_SIZE,
    NONCE_SIZE,
    Kind,
    is_made,
    make,
    udp_key,
)
from shoal.core.dials import (
    INTRODUCTION_PERIOD,
    MAX_INTRODUCED_PORTS,
    MAX_PUNCHES,
)
from shoal.core.names.address import Address
from shoal.core.punches import (
    ACCEPT_TIME,
    MAX_ACCEPTED,
    MEET_TIME,
    PUNCH_TIME,
    REPEAT,
    TRY_BURST,
    Met,
    Punches,
)

PSK, OTHER_PSK = b"p" * 32, b"o" * 32
KEY = udp_key(PSK)
ONE, OTHER = Address("8.8.1.1", 4001), Address("9.9.1.1", 4002)
VICTIM = Address("7.7.7.7", 5000)


class End:
    """One of two ends, with what it has sent and who it has met."""

    def __init__(self, seed: int, shares: tuple[bytes, ...] = (PSK,)) -> None:
        self.punches = Punches(Random(seed), KnockMemory())
        self.shares = shares
        self.met: list[Met] = []

    def dial(self, address: Address, now: float = 0.0, psk: bytes = PSK) -> bytes:
        knock = self.punches.dial(address, psk, now)
        assert knock is not None
        return knock

    def take(self, data: bytes, source: Address, now: float = 0.0) -> bytes:
        """Take a datagram; return the answer, which is empty if there is none."""
        done = self.punches.on_datagram(data, source, self.shares, now)
        if done is None:
            return b""
        if done[1] is not None:
            self.met.append(done[1])
        return done[0]


def knocks() -> list[bytes]:
    """Return more right knocks than any limit counts."""
    nonces = (number.to_bytes(NONCE_SIZE, "big") for number in count(1))
    return [make(KEY, Kind.KNOCK, next(nonces)) for _ in range(2 * MAX_ACCEPTED)]


def test_a_knock_looks_like_random_bytes_and_fits_48() -> None:
    one, other = End(1).dial(OTHER), End(2).dial(OTHER)
    assert len(one) == DATAGRAM_SIZE == 48
    same = sum(a == b for a, b in zip(one, other, strict=True))
    assert same <= 5


def test_a_node_that_is_dialled_accepts_and_is_the_server() -> None:
    one, other = End(1), End(2)
    accept = other.take(one.dial(OTHER), ONE)
    reply = one.take(accept, OTHER)
    assert not other.met, "its knock may have come from anywhere"
    assert other.take(reply, ONE) == b""
    assert one.met == [Met(OTHER, PSK, is_dialled=True, is_client=True)]
    assert other.met == [Met(ONE, PSK, is_dialled=False, is_client=False)]


@given(
    seeds=st.tuples(st.integers(0, 99), st.integers(100, 199)),
    lost=st.sets(st.integers(0, 1)),
    order=st.lists(st.booleans(), max_size=40),
)
def test_two_that_dial_each_other_agree_on_the_client(
    seeds: tuple[int, int], lost: set[int], order: list[bool]
) -> None:
    """At most one of the knocks is lost: the other end's NAT drops the first one."""
    ends = End(seeds[0]), End(seeds[1])
    at = (ONE, OTHER)
    waiting: list[list[bytes]] = [[], []]  # to each of the ends
    for number in (0, 1):
        knock = ends[number].dial(at[1 - number])
        if len(lost) == 2 or number not in lost:
            waiting[1 - number].append(knock)
    turns = iter(order)
    while any(waiting):
        number = int(next(turns, not waiting[0]))
        if waiting[number]:
            answer = ends[number].take(waiting[number].pop(0), at[1 - number])
            if answer:
                waiting[1 - number].append(answer)
    assert [len(end.met) for end in ends] == [1, 1]
    assert ends[0].met[0].is_client != ends[1].met[0].is_client
    assert all(end.met[0].is_dialled for end in ends)


@pytest.mark.parametrize("is_lost", [False, True])
def test_two_that_dial_each_other_for_two_shares_meet_for_both(is_lost: bool) -> None:
    """The first knock is lost if the other end's NAT lets no one in yet."""
    shares = (PSK, OTHER_PSK)
    one, other = End(1, shares), End(2, shares)
    knocks = one.dial(OTHER), other.dial(ONE, psk=OTHER_PSK)
    accept = one.take(knocks[1], OTHER)
    one.take(other.take(accept, ONE), OTHER)
    assert other.met == [Met(ONE, OTHER_PSK, is_dialled=True, is_client=True)]
    assert one.met == [Met(OTHER, OTHER_PSK, is_dialled=False, is_client=False)]
    if not is_lost:
        other.take(one.take(other.take(knocks[0], ONE), OTHER), ONE)
        assert one.met[1] == Met(OTHER, PSK, is_dialled=True, is_client=True)
        assert other.met[1] == Met(ONE, PSK, is_dialled=False, is_client=False)


def test_a_node_answers_a_knock_for_a_share_that_it_only_dials_for() -> None:
    one, other = End(1, ()), End(2, ())
    one.dial(OTHER)
    assert one.take(other.dial(ONE, psk=OTHER_PSK), OTHER) == b""
    assert one.take(End(3).dial(ONE), OTHER)


@given(st.binary(min_size=48, max_size=48) | st.binary(max_size=100))
def test_a_stranger_gets_no_byte(data: bytes) -> None:
    end = End(1)
    end.dial(OTHER)
    for source in (ONE, OTHER):
        assert end.take(data, source) == b""
    assert not end.met


@given(flipped=st.integers(0, 48 * 8 - 1))
def test_a_changed_datagram_is_no_one_s(flipped: int) -> None:
    one, other = End(1), End(2)
    knock = bytearray(one.dial(OTHER))
    knock[flipped // 8] ^= 1 << flipped % 8
    assert other.take(bytes(knock), ONE) == b""


def test_a_node_without_the_share_does_not_answer() -> None:
    assert End(2, (OTHER_PSK,)).take(End(1).dial(OTHER), ONE) == b""


def test_a_repeated_knock_is_not_answered() -> None:
    other, knock = End(2), End(1).dial(OTHER)
    assert other.take(knock, ONE)
    for source in (ONE, VICTIM):
        assert other.take(knock, source) == b""


def test_an_answer_is_never_longer_than_what_it_answers() -> None:
    other = End(2)
    for number, knock in enumerate(knocks()):
        assert len(other.take(knock, Address("7.7.7.7", 5000 + number))) <= len(knock)


def test_a_recorded_answer_does_not_fit_another_dial() -> None:
    one, other = End(1), End(2)
    accept = other.take(one.dial(OTHER), ONE)
    fresh = End(3)
    fresh.dial(OTHER)
    assert fresh.take(accept, OTHER) == b""
    assert not fresh.met


def test_an_address_gets_one_knock_a_minute_until_it_answers() -> None:
    end = End(1)
    times = [now for now in range(200) if end.punches.dial(VICTIM, PSK, float(now))]
    assert times == [0, INTRODUCTION_PERIOD, 2 * INTRODUCTION_PERIOD, 180]


def test_a_host_gets_few_knocks_a_minute_at_all_its_ports() -> None:
    end = End(1)
    sent = [end.punches.dial(Address("7.7.7.7", port), PSK, 0.0) for port in range(100)]
    assert sum(each is not None for each in sent) == MAX_INTRODUCED_PORTS


def test_an_address_that_has_answered_can_be_dialled_again_at_once() -> None:
    one, other = End(1), End(2)
    one.take(other.take(one.dial(OTHER), ONE), OTHER)
    one.punches.end(OTHER, PSK)
    assert one.punches.dial(OTHER, PSK, 1.0)


def test_no_more_than_64_are_dialled_at_once() -> None:
    end = End(1)
    hosts = [Address(f"8.8.{number}.1", 4001) for number in range(200)]
    sent = [host for host in hosts if end.punches.dial(host, PSK, 0.0)]
    assert len(sent) == MAX_PUNCHES == 64
    assert end.punches.dial(hosts[-1], PSK, PUNCH_TIME)


def test_nodes_that_only_knock_cost_little_memory_and_end() -> None:
    end = End(1)
    for number, knock in enumerate(knocks()):
        end.take(knock, Address("7.7.7.7", 5000 + number))
    assert len(end.punches) == MAX_ACCEPTED
    end.take(b"", VICTIM, ACCEPT_TIME)
    end.punches.repetitions(ACCEPT_TIME)
    assert len(end.punches) == 0


def test_a_flood_is_not_tried_with_every_share() -> None:
    shares = tuple(number.to_bytes(32, "big") for number in range(1000))
    end = End(1, shares)
    for number in range(int(TRY_BURST) // len(shares) + 2):
        end.take(number.to_bytes(DATAGRAM_SIZE, "big"), VICTIM)
    knock = make(udp_key(shares[7]), Kind.KNOCK, bytes(NONCE_SIZE))
    assert end.take(knock, ONE) == b""
    assert end.take(knock, ONE, 1.0)


def test_a_reply_is_repeated_until_the_peer_is_heard() -> None:
    one, other = End(1), End(2)
    reply = one.take(other.take(one.dial(OTHER), ONE), OTHER)
    assert one.punches.next_due() == REPEAT
    assert one.punches.repetitions(0.0) == []
    assert one.punches.repetitions(REPEAT) == [(reply, OTHER)]
    one.punches.end(OTHER, PSK)
    assert one.punches.next_due() is None


def test_a_reply_is_repeated_for_some_seconds_only() -> None:
    one, other = End(1), End(2)
    one.take(other.take(one.dial(OTHER), ONE), OTHER)
    assert one.punches.repetitions(MEET_TIME) == []
    assert one.punches.next_due() is None


def test_a_node_does_not_meet_itself() -> None:
    one = End(1)
    assert one.take(one.dial(ONE), ONE) == b""
    assert not one.met


@pytest.mark.parametrize("kind", Kind)
def test_a_datagram_is_of_one_kind(kind: Kind) -> None:
    data = make(KEY, kind, bytes(NONCE_SIZE), b"x" * NONCE_SIZE)
    fits = [each for each in Kind if is_made(KEY, each, data, b"x" * NONCE_SIZE)]
    assert fits == [kind]


def test_a_host_that_only_knocks_displaces_no_other() -> None:
    """The first of its own knocks are forgotten."""
    node, one, attacker = End(1), End(2), End(3)
    accepted = node.take(one.dial(OTHER), ONE)
    for port in range(2 * MAX_ACCEPTED):
        attacker = End(100 + port)
        node.take(attacker.dial(OTHER), Address("7.7.7.7", 5000 + port))
    node.take(one.take(accepted, OTHER), ONE)
    assert [met.address for met in node.met] == [ONE]
    assert len(node.punches) < MAX_ACCEPTED


def test_a_stranger_uses_up_little_of_what_can_be_tried() -> None:
    """A node with very many shares tries few datagrams with all of them."""
    shares = tuple(bytes([n % 256, n // 256]) * 16 for n in range(1000))
    node = End(1, (*shares, PSK))
    rng, answered = Random(3), 0
    for number in range(400):
        now = 1.0 + number / 1000
        node.take(rng.randbytes(DATAGRAM_SIZE), Address("7.7.7.7", 5000), now)
        if number >= 300 and number % 10 == 0:
            address = Address("8.8.2.2", number)
            answered += bool(node.take(End(number).dial(OTHER, now), address, now))
    assert answered == 10
