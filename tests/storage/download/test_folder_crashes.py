"""Downloads of a folder with killed processes and power losses."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.helpers.faulty.crashes import PowerLoss, lose_power_at, no_fault
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_folder import ROOT, TARGET, random_case, run_power_losses

pytestmark = pytest.mark.usefixtures("_large_files_are_small")


def test_power_losses_lose_only_uncommitted_chunks() -> None:
    run_power_losses(range(200))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_very_many_power_losses_lose_only_uncommitted_chunks() -> None:
    run_power_losses(range(200, 2_200))


@pytest.mark.parametrize("seed", range(10))
def test_a_power_loss_during_finish_leaves_the_target_or_all_chunks(
    seed: int,
) -> None:
    for call in range(1, 150):
        rng = random.Random(seed)
        case = random_case(rng)
        disk = FaultyDisk(ROOT)
        store = case.open(disk)
        store.put_many(case.items(*store.wanted))
        store.commit()
        lose_power_at(disk, disk.calls + call)
        try:
            store.finish()
        except PowerLoss:
            pass
        else:
            return
        disk.fault = no_fault
        disk.lose_power(rng)
        case.check_after(disk, set(store.wanted))
    raise AssertionError("finishing takes more calls than this test tries")


@pytest.mark.parametrize("seed", range(50))
def test_a_kill_loses_no_chunk_that_was_put(seed: int) -> None:
    rng = random.Random(seed)
    case = random_case(rng)
    disk = FaultyDisk(ROOT)
    done: dict[str, set[int]] = {"put": set()}
    lose_power_at(disk, rng.randrange(1, 150))
    try:
        case.download(disk, rng, done)
    except PowerLoss:
        pass
    disk.fault = no_fault
    disk.lose_process()
    case.check_after(disk, done["put"])


class TreeMachine(RuleBasedStateMachine):
    """Call methods in any order, and compare the store with a set of indexes."""

    @initialize(seed=st.integers(0, 10_000))
    def begin(self, seed: int) -> None:
        self.case = random_case(random.Random(seed))
        self.disk = FaultyDisk(ROOT)
        self.expected: set[int] = set()
        self.safe: set[int] = set()
        self.store = self.case.open(self.disk)

    @rule(data=st.data())
    def put_many(self, data: st.DataObject) -> None:
        wanted = list(self.store.wanted)
        if wanted:
            indexes = data.draw(st.lists(st.sampled_from(wanted), max_size=20))
            self.store.put_many(self.case.items(*indexes))
            self.expected.update(indexes)

    @rule()
    def commit(self) -> None:
        self.store.commit()
        self.safe = set(self.expected)

    @rule(checked=st.booleans())
    def close_and_reopen(self, checked: bool) -> None:
        self.store.close()
        self._reopen(checked)
        assert set(self.store.have) == self.expected

    @rule(checked=st.booleans())
    def kill(self, checked: bool) -> None:
        self.disk.lose_process()
        self._reopen(checked)
        assert set(self.store.have) == self.expected

    @rule(checked=st.booleans(), seed=st.integers(0, 1000))
    def lose_power(self, checked: bool, seed: int) -> None:
        safe = self.safe
        self.disk.lose_power(random.Random(seed))
        self._reopen(checked)
        assert safe <= set(self.store.have) <= self.expected
        self.expected = set(self.store.have)

    @rule()
    def finish(self) -> None:
        if self.store.is_complete:
            self.store.finish()
            self.store.close()
            assert self.disk.files(TARGET) == self.case.expected()
            self.disk = FaultyDisk(ROOT)
            self.expected = set()
            self._reopen(False)

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "store"):
            assert set(self.store.have) == self.expected
            self.case.check_claims(self.store)

    def _reopen(self, checked: bool) -> None:
        verify = self.case.verify if checked else None
        self.store = self.case.open(self.disk, verify=verify)
        self.safe = set(self.store.have)


TreeMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None
)
test_any_order_of_puts_and_crashes = TreeMachine.TestCase
