"""Check the order of the dial queue, its cost in a flood, and how many are dialled."""

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shoal.core.dials import (
    INTRODUCTION_PERIOD,
    MAX_INTRODUCED_PORTS,
    MAX_INTRODUCTIONS,
    MAX_PUNCHES,
    SLACK,
    DialPace,
    DialQueue,
)
from shoal.core.names.address import Address

ADDRESSES = [Address("10.0.0.1", port) for port in range(1, 9)]
NAMED = st.sampled_from(ADDRESSES)


def test_of_equal_addresses_a_random_one_comes_first() -> None:
    firsts = set()
    for seed in range(40):
        queue = DialQueue(Random(seed))
        for address in ADDRESSES:
            queue.put(address, 1, 0.0)
        firsts.add(queue.take(0.0))
    assert len(firsts) > 4


def test_of_due_addresses_the_lowest_rank_comes_first() -> None:
    queue = DialQueue(Random(1))
    queue.put(ADDRESSES[0], 5, 0.0)
    queue.put(ADDRESSES[1], 0, 10.0)
    queue.put(ADDRESSES[2], 6, 0.0)
    assert queue.take(9.0) == ADDRESSES[0]
    assert queue.take(10.0) == ADDRESSES[1]
    assert queue.next_due() == 0.0
    assert queue.take(10.0) == ADDRESSES[2]
    assert queue.take(1e9) is None


@pytest.mark.parametrize("is_due", [False, True])
def test_moving_an_address_repeatedly_uses_no_memory(is_due: bool) -> None:
    queue = DialQueue(Random(1))
    for number in range(10_000):
        queue.put(ADDRESSES[number % 8], 1, 0.0 if is_due else 1e9)
        if is_due:
            queue.put(Address("10.0.0.2", 1), 0, 0.0)
            assert queue.take(0.0) == Address("10.0.0.2", 1)
    kept = len(queue._waiting) + sum(map(len, queue._due.values()))
    assert kept <= 2 * len(ADDRESSES) + SLACK + 2


class Machine(RuleBasedStateMachine):
    """Compare the queue with a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = DialQueue(Random(1))
        self.model: dict[Address, tuple[int, float]] = {}
        self.now = 0.0

    @rule(
        address=st.sampled_from(ADDRESSES),
        rank=st.integers(0, 3),
        wait=st.integers(0, 5),
    )
    def put(self, address: Address, rank: int, wait: int) -> None:
        self.queue.put(address, rank, self.now + wait)
        self.model[address] = (rank, self.now + wait)

    @rule(address=NAMED)
    def discard(self, address: Address) -> None:
        self.queue.discard(address)
        self.model.pop(address, None)

    @rule(seconds=st.integers(0, 3))
    def take(self, seconds: int) -> None:
        self.now += seconds
        taken = self.queue.take(self.now)
        due = {a: rank for a, (rank, when) in self.model.items() if when <= self.now}
        if taken is None:
            assert not due
        else:
            assert due[taken] == min(due.values())
            del self.model[taken]

    @invariant()
    def it_knows_how_many_and_when(self) -> None:
        assert len(self.queue) == len(self.model)
        whens = [when for _, when in self.model.values()]
        due = self.queue.next_due()
        assert (due is None) == (not whens)
        if due is not None and due > self.now:
            assert due == min(whens)


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestMachine = Machine.TestCase


def test_an_address_that_peers_claim_is_dialled_once_in_a_period() -> None:
    pace = DialPace()
    claimed, other = Address("8.8.8.8", 5000), Address("8.8.9.9", 5000)
    assert pace.introduced_at(claimed, 100.0) == 100.0
    assert pace.introduced_at(claimed, 101.0) == 100.0 + INTRODUCTION_PERIOD
    assert pace.introduced_at(other, 101.0) == 101.0
    again = 100.0 + INTRODUCTION_PERIOD
    assert pace.introduced_at(claimed, again) == again
    assert pace.introduced_at(claimed, again + 1) > again + 1


def test_only_some_ports_of_a_host_are_dialled_in_a_period() -> None:
    pace = DialPace()
    ports = [Address("8.8.8.8", 5000 + number) for number in range(1000)]
    moments = [0.05 * number for number in range(1000)]  # within a period
    allowed = [
        pace.introduced_at(*each) == each[1]
        for each in zip(ports, moments, strict=True)
    ]
    assert sum(allowed) == MAX_INTRODUCED_PORTS
    assert pace.introduced_at(ports[0], 2 * INTRODUCTION_PERIOD) == 120.0


def test_only_so_many_claimed_addresses_are_dialled_in_a_period() -> None:
    pace = DialPace()
    hosts = [f"8.{a}.{b}.1" for a in range(8) for b in range(250)]
    allowed = [pace.introduced_at(Address(each, 5000), 1.0) == 1.0 for each in hosts]
    assert sum(allowed) == MAX_INTRODUCTIONS
    late = 1.0 + INTRODUCTION_PERIOD
    assert pace.introduced_at(Address(hosts[-1], 5000), late) == late
    assert len(pace._introduced) == len(pace._hosts) == 1


def test_only_so_many_dials_wait_for_a_peer() -> None:
    pace = DialPace()
    assert all(pace.begin_punch() for _ in range(MAX_PUNCHES))
    assert not pace.begin_punch()
    pace.end_punch()
    assert pace.begin_punch()
