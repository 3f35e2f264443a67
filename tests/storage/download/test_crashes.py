"""Downloads with killed processes, power losses and failing calls."""

import random
from collections.abc import Callable
from errno import EIO, ENOSPC

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoal.errors import ShoalError, TargetExistsError
from tests.helpers.faulty.crashes import PowerLoss, fail_at, lose_power_at, no_fault
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_file import FILE
from tests.storage.one_folder import FILES, ROOT, Case, random_case

pytestmark = pytest.mark.usefixtures("_large_files_are_small")
Make = Callable[[random.Random], Case]
KINDS: dict[str, Make] = {"file": lambda rng: FILE, "folder": random_case}
BOTH = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def lose_power_often(make: Make, seeds: range) -> None:
    """Lose power at random moments, one to three times per download."""
    for seed in seeds:
        rng = random.Random(seed)
        case = make(rng)
        disk = FaultyDisk(ROOT)
        disk.can_sync_all = rng.random() < 0.8
        done: dict[str, set[int]] = {}
        for _ in range(rng.randrange(1, 4)):
            lose_power_at(disk, disk.calls + rng.randrange(1, 150))
            done["safe"] = set()
            try:
                case.download(disk, rng, done)
            except (PowerLoss, TargetExistsError):
                pass
            disk.fault = no_fault
            disk.lose_power(rng)
        try:
            case.check_after(disk, done["safe"])
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


@BOTH
def test_power_losses_lose_only_uncommitted_chunks(make: Make) -> None:
    lose_power_often(make, range(200))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_very_many_power_losses_lose_only_uncommitted_chunks() -> None:
    lose_power_often(random_case, range(200, 2_200))


@BOTH
@pytest.mark.parametrize("seed", range(10))
def test_a_power_loss_during_finish_leaves_the_target_or_all_chunks(
    seed: int, make: Make
) -> None:
    for call in range(1, 150):
        rng = random.Random(seed)
        case = make(rng)
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


@BOTH
@pytest.mark.parametrize("seed", range(50))
def test_a_kill_loses_no_chunk_that_was_put(seed: int, make: Make) -> None:
    rng = random.Random(seed)
    case = make(rng)
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


@pytest.mark.parametrize("number", [EIO, ENOSPC])
@pytest.mark.parametrize("then", ["close", "power"])
@pytest.mark.parametrize(
    "case",
    [FILE, Case(FILES, 100), Case(FILES, 100, {0, 2, 5})],
    ids=["file", "folder", "selected files"],
)
def test_any_call_to_the_disk_may_fail(number: int, then: str, case: Case) -> None:
    for call in range(1, 500):
        disk = FaultyDisk(ROOT)
        done: dict[str, set[int]] = {"put": set(), "safe": set()}
        fail_at(disk, call, number)
        try:
            case.download(disk, random.Random(5), done)
        except ShoalError:
            failed = True
        else:
            failed = False
        calls = disk.calls
        disk.fault = no_fault
        if then == "power":
            disk.lose_power(random.Random(call))
        # A failed flush loses chunks too, but none that is in `safe`.
        case.check_after(disk, done["safe"])
        if not failed and calls < call:
            return
    raise AssertionError("a download takes more calls than this test tries")


class StoreMachine(RuleBasedStateMachine):
    """Call methods in any order, and compare the store with a set of indexes."""

    @initialize(make=st.sampled_from([*KINDS.values()]), seed=st.integers(0, 10_000))
    def begin(self, make: Make, seed: int) -> None:
        self.case = make(random.Random(seed))
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
            assert self.case.stored(self.disk) == self.case.expected()
            self.disk = FaultyDisk(ROOT)
            self.expected = set()
            self._reopen(False)

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "store"):
            assert set(self.store.have) == self.expected
            self.case.check_claims(self.store)
            for index in self.store.have if self.case.files is None else ():
                assert self.store.get_now(index) == self.case.chunk(index)

    def _reopen(self, checked: bool) -> None:
        verify = self.case.verify if checked else None
        self.store = self.case.open(self.disk, verify=verify)
        self.safe = set(self.store.have)


StoreMachine.TestCase.settings = settings(
    max_examples=80, stateful_step_count=25, deadline=None
)
test_any_order_of_puts_and_crashes = StoreMachine.TestCase
