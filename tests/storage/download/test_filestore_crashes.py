"""Downloads of a file with killed processes and power losses."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shoal.errors import TargetExistsError
from tests.helpers.faulty.crashes import PowerLoss, lose_power_at, no_fault
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_file import (
    CHUNKS,
    CONTENT,
    ROOT,
    TARGET,
    check_after,
    chunk,
    download,
    items,
    open_store,
    verify,
)


@pytest.mark.parametrize("seed", range(200))
def test_a_power_loss_loses_only_uncommitted_chunks(seed: int) -> None:
    rng = random.Random(seed)
    disk = FaultyDisk(ROOT)
    done: dict[str, set[int]] = {}
    for _ in range(rng.randrange(1, 4)):  # several power losses in one download
        lose_power_at(disk, disk.calls + rng.randrange(1, 120))
        done["safe"] = set()
        try:
            download(disk, rng, done)
        except (PowerLoss, TargetExistsError):
            pass
        disk.fault = no_fault
        disk.lose_power(rng)
    check_after(disk, done["safe"])


@pytest.mark.parametrize("seed", range(20))
def test_a_power_loss_during_finish_leaves_the_target_or_all_chunks(
    seed: int,
) -> None:
    for call in range(1, 30):
        disk = FaultyDisk(ROOT)
        store = open_store(disk)
        store.put_many(items(*range(CHUNKS.count)))
        store.commit()
        lose_power_at(disk, disk.calls + call)
        try:
            store.finish()
        except PowerLoss:
            pass
        else:
            return
        disk.fault = no_fault
        disk.lose_power(random.Random(seed))
        check_after(disk, set(range(CHUNKS.count)))
    raise AssertionError("finishing takes more calls than this test tries")


@pytest.mark.parametrize("seed", range(50))
def test_a_kill_loses_no_chunk_that_was_put(seed: int) -> None:
    rng = random.Random(seed)
    disk = FaultyDisk(ROOT)
    done: dict[str, set[int]] = {"put": set()}
    lose_power_at(disk, rng.randrange(1, 120))
    with pytest.raises(PowerLoss):
        download(disk, rng, done)
    disk.fault = no_fault
    disk.lose_process()
    check_after(disk, done["put"])


class StoreMachine(RuleBasedStateMachine):
    """Call methods in any order, and compare the store with a set of indexes."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = FaultyDisk(ROOT)
        self.expected: set[int] = set()
        self.safe: set[int] = set()
        self.store = open_store(self.disk)

    @rule(indexes=st.lists(st.integers(0, CHUNKS.count - 1), max_size=20))
    def put_many(self, indexes: list[int]) -> None:
        self.store.put_many(items(*indexes))
        self.expected.update(indexes)

    @rule()
    def commit(self) -> None:
        self.store.commit()
        self.safe = set(self.expected)

    @rule(checked=st.booleans())
    def close_and_reopen(self, checked: bool) -> None:
        self.store.close()
        self.safe = set(self.expected)
        self._reopen(checked)

    @rule(checked=st.booleans())
    def kill(self, checked: bool) -> None:
        self.disk.lose_process()
        self._reopen(checked)
        assert set(self.store.have) == self.expected

    @rule(checked=st.booleans(), seed=st.integers(0, 1000))
    def lose_power(self, checked: bool, seed: int) -> None:
        self.disk.lose_power(random.Random(seed))
        self._reopen(checked)
        assert self.safe <= set(self.store.have) <= self.expected
        self.expected = set(self.store.have)

    @rule()
    def finish(self) -> None:
        if self.store.have.is_complete:
            self.store.finish()
            self.store.close()
            assert self.disk.contents(TARGET) == CONTENT
            self.disk.unlink(TARGET)
            self.expected, self.safe = set(), set()
            self._reopen(False)

    @invariant()
    def agrees(self) -> None:
        assert set(self.store.have) == self.expected
        for index in self.store.have:
            assert self.store.get_now(index) == chunk(index)

    def _reopen(self, checked: bool) -> None:
        self.store = open_store(self.disk, verify=verify if checked else None)
        self.safe = set(self.store.have)


StoreMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None
)
test_any_order_of_puts_and_crashes = StoreMachine.TestCase
