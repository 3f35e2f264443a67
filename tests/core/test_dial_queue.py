"""Check the order of the dial queue, and its cost in a flood."""

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shoal.core.dial_queue import SLACK, DialQueue
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
