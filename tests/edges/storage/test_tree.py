"""A folder being fetched: resumes, crashes, full disks and some of its files only."""

import random
from collections.abc import Iterator
from errno import EIO, ENOSPC

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoal.core.chunks import Chunks
from shoal.errors import (
    DiskFullError,
    ShoalError,
    StoreError,
    TargetExistsError,
    UsageError,
)
from shoal.storage import layout
from shoal.storage.extents import FileEntry
from shoal.storage.filestore import FileStore, check_target
from tests.edges.storage.trees import (
    IDENTITY,
    ROOT,
    STAGING,
    TARGET,
    Case,
    PowerLoss,
    lose_power_at,
    no_fault,
    random_case,
    run_power_losses,
)
from tests.helpers.faulty_disk import FaultyDisk

FILES = [
    FileEntry("a/deep/er/one", 130),
    FileEntry("a/empty", 0),
    FileEntry("a/two", 1, executable=True),
    FileEntry("b", 69),
    FileEntry("large", 2_000),
    FileEntry("ünïcode/名前", 250),
    FileEntry("ünïcode/空", 0),
]


@pytest.fixture(autouse=True, scope="module")
def _large_files_are_small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "LARGE", 1_000)
        yield


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk(ROOT)


@pytest.fixture
def case() -> Case:
    return Case(FILES, 100)


# What it is for.


def test_a_fetched_folder_gets_its_name_in_one_step_and_nothing_else_stays(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.open(disk)
    order = list(range(case.chunks.count))
    random.Random(2).shuffle(order)
    for start in range(0, len(order), 3):
        store.put_many(case.items(*order[start : start + 3]))
        assert disk.files(TARGET) is None
    store.finish()
    assert disk.files(TARGET) == case.expected()
    assert [store.get(index) for index in (0, 3)] == [case.chunk(0), case.chunk(3)]
    store.close()
    store.close()
    disk.lose_power(random.Random(3))
    assert disk.files(TARGET) == case.expected()
    assert STAGING not in disk.paths()


def test_a_file_exists_once_a_chunk_of_it_is_there_a_large_one_at_once(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.open(disk)
    assert disk.files(STAGING / "data") == {"large": bytes(2_000)}
    store.put_many(case.items(0))
    assert disk.files(STAGING / "data") == {
        "large": bytes(2_000),
        "a/deep/er/one": case.content[:100],
    }


def test_permissions_come_with_the_name(disk: FaultyDisk, case: Case) -> None:
    store = case.open(disk)
    store.keep_exec = True
    store.put_many(case.items(*range(case.chunks.count)))
    assert disk.mode(STAGING) == disk.mode(STAGING / "data") == 0o700
    assert disk.mode(STAGING / "data/a/deep") == 0o700
    assert disk.mode(STAGING / "data/a/two") == 0o600
    store.finish()
    assert disk.mode(TARGET) == disk.mode(TARGET / "a/deep") == 0o755
    assert disk.mode(TARGET / "b") == disk.mode(TARGET / "a/empty") == 0o644
    assert disk.mode(TARGET / "a/two") == 0o755


def test_nothing_is_executable_unless_asked(disk: FaultyDisk, case: Case) -> None:
    store = case.open(disk)
    store.put_many(case.items(*range(case.chunks.count)))
    store.finish()
    assert disk.mode(TARGET / "a/two") == 0o644


def test_a_folder_of_empty_files_is_complete_at_once(disk: FaultyDisk) -> None:
    case = Case([FileEntry("x/a", 0), FileEntry("x/b", 0)], 100)
    store = case.open(disk)
    assert store.is_complete
    store.finish()
    store.close()
    assert disk.files(TARGET) == {"x/a": b"", "x/b": b""}


def test_a_store_without_a_chunk_leaves_nothing_behind(
    disk: FaultyDisk, case: Case
) -> None:
    case.open(disk).close()
    assert disk.paths() == set()


# Some files only.


@pytest.mark.parametrize("selected", [{3}, {0, 5}, {1}, {2, 4, 6}, set(range(7))])
def test_only_what_is_selected_is_fetched_and_there(
    disk: FaultyDisk, selected: set[int]
) -> None:
    case = Case(FILES, 100, selected)
    store = case.open(disk)
    needed = {
        index
        for number in selected
        for start in [sum(file.size for file in FILES[:number])]
        for index in case.chunks.covering(start, start + FILES[number].size)
    }
    assert set(store.wanted) == needed
    store.put_many(case.items(*range(case.chunks.count)))
    assert set(store.have) == needed, "a chunk that is not wanted is dropped"
    case.check_claims(store)
    store.finish()
    case.check_claims(store)
    store.close()
    assert disk.files(TARGET) == case.expected()
    assert {path for path in disk.paths() if path.parent == ROOT} == {TARGET}


def test_chunks_that_reach_beyond_the_selection_can_be_verified_after_a_kill(
    disk: FaultyDisk,
) -> None:
    case = Case(FILES, 100, {3})  # bytes 131 to 199, so chunk 1 only
    case.open(disk).put_many(case.items(1))
    disk.lose_process()
    store = case.open(disk, verify=case.verify)
    assert list(store.have) == [1]
    assert store.get(1) == case.chunk(1)
    assert disk.contents(STAGING / "side") == case.content[100:131]
    disk.lose_process()
    disk.overwrite(STAGING / "side", 0, b"?")
    assert not case.open(disk, verify=case.verify).have.count


def test_another_selection_keeps_what_verifies_and_removes_what_is_not_in_it(
    disk: FaultyDisk,
) -> None:
    first = Case(FILES, 100, {0, 4})
    store = first.open(disk)
    store.put_many(first.items(*store.wanted))
    store.close()
    second = Case(FILES, 100, {3, 4})
    store = second.open(disk, verify=second.verify)
    inside = set(range(3, 22))  # large is bytes 200 to 2199
    assert inside - {21} <= set(store.have)
    second.check_claims(store)
    store.put_many(second.items(*second.missing(store)))
    store.finish()
    assert disk.files(TARGET) == second.expected()


def test_another_selection_without_a_way_to_verify_starts_over(
    disk: FaultyDisk,
) -> None:
    first = Case(FILES, 100, {0, 4})
    store = first.open(disk)
    store.put_many(first.items(*store.wanted))
    store.close()
    second = Case(FILES, 100, None)
    store = second.open(disk)
    assert not store.have.count
    assert disk.files(STAGING / "data") == {"large": bytes(2_000)}


def test_nothing_selected_is_an_error(disk: FaultyDisk) -> None:
    with pytest.raises(UsageError, match="No file"):
        Case(FILES, 100, []).open(disk)
    with pytest.raises(ValueError, match="7 files"):
        Case(FILES, 100, [7]).open(disk)
    assert disk.paths() == set()


# Names.


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_folder_never_replaces_anything(
    disk: FaultyDisk, case: Case, kind: str, overwrite: bool
) -> None:
    if kind == "file":
        disk.close(disk.open_write(TARGET))
    else:
        disk.make_directory(TARGET)
    with pytest.raises(TargetExistsError, match="a folder replaces nothing"):
        case.open(disk, overwrite=overwrite)
    with pytest.raises(TargetExistsError):
        check_target(TARGET, IDENTITY, disk=disk, overwrite=overwrite, folder=True)
    assert disk.paths() == {TARGET}


def test_a_folder_that_comes_to_exist_is_not_merged_into(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.open(disk)
    store.put_many(case.items(*range(case.chunks.count)))
    disk.make_directory(TARGET)
    with pytest.raises(TargetExistsError):
        store.finish()
    assert disk.files(TARGET) == {}
    disk.remove_directory(TARGET)
    store.finish()
    assert disk.files(TARGET) == case.expected()


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a//b", "a/./b", "", "a/..", "nul\0", "a/"]
)
def test_no_path_leads_out_of_the_folder(disk: FaultyDisk, path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        Case([FileEntry(path, 5)], 100).open(disk)
    assert disk.paths() == set()


def test_files_have_to_be_in_order_and_to_add_up(disk: FaultyDisk) -> None:
    for paths in (["b", "a"], ["a", "a"]):
        with pytest.raises(ValueError, match="no path"):
            Case([FileEntry(path, 5) for path in paths], 100).open(disk)
    with pytest.raises(ValueError, match="add up"):
        FileStore.open(
            TARGET, IDENTITY, Chunks(6, 2), disk=disk, files=[FileEntry("a", 5)]
        )


# What a resume believes.


def half_done(disk: FaultyDisk, case: Case) -> set[int]:
    store = case.open(disk)
    indexes = list(store.wanted)[::2]
    store.put_many(case.items(*indexes))
    store.close()
    return set(indexes)


def test_a_shortened_or_removed_file_costs_its_chunks_only(
    disk: FaultyDisk, case: Case
) -> None:
    claimed = half_done(disk, case)
    disk.unlink(STAGING / "data/ünïcode/名前")
    store = case.open(disk, verify=case.verify)
    assert set(store.have) == claimed - set(case.chunks.covering(2200, 2450))
    case.check_claims(store)


def test_an_edited_file_is_found_by_its_time_and_size(
    disk: FaultyDisk, case: Case
) -> None:
    claimed = half_done(disk, case)
    disk.overwrite(STAGING / "data/large", 20, b"?")
    store = case.open(disk, verify=case.verify)
    assert set(store.have) == claimed - {2}
    store.close()
    disk.overwrite(STAGING / "data/large", 2_000, b"more")
    disk.overwrite(STAGING / "journal", 0, b"s")  # as young as the data
    store = case.open(disk, verify=case.verify)
    store.put_many(case.items(*case.missing(store)))
    store.finish()
    assert disk.files(TARGET) == case.expected()


def test_one_edited_chunk_of_very_many_is_found_by_its_time(disk: FaultyDisk) -> None:
    """A sample would hardly ever hit it."""
    case = Case([FileEntry(f"{place:03}", 990) for place in range(200)], 100)
    store = case.open(disk)
    store.put_many(case.items(*range(case.chunks.count)))
    store.close()
    disk.overwrite(STAGING / "data/077", 500, b"?")
    store = case.open(disk, verify=case.verify)
    wrong = case.chunks.covering(77 * 990 + 500, 77 * 990 + 501)
    assert set(store.have) == set(range(case.chunks.count)) - set(wrong)


def test_what_others_put_into_the_folder_does_not_arrive(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.open(disk)
    store.put_many(case.items(*range(case.chunks.count)))
    disk.make_directory(STAGING / "data/stranger")
    for name in ("stranger/file", "a/file", "file"):
        disk.close(disk.open_write(STAGING / "data" / name))
    store.finish()
    assert disk.files(TARGET) == case.expected()
    assert TARGET / "stranger" not in disk.paths()


def test_a_file_changed_before_the_end_is_no_target(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.open(disk)
    store.put_many(case.items(*range(case.chunks.count)))
    disk.overwrite(STAGING / "data/b", 69, b"more")
    with pytest.raises(StoreError, match="Somebody changed b"):
        store.finish()
    store.close()
    store = case.open(disk, verify=case.verify)
    store.put_many(case.items(*case.missing(store)))
    store.finish()
    assert disk.files(TARGET) == case.expected()


# Full and failing disks.


def test_a_disk_too_small_is_found_before_the_first_byte(
    disk: FaultyDisk, case: Case
) -> None:
    disk.capacity = 20_000
    with pytest.raises(DiskFullError, match="needs 20,480 bytes"):
        case.open(disk)
    assert disk.paths() == set()


def test_a_failed_sync_is_never_believed_again(disk: FaultyDisk, case: Case) -> None:
    store = case.open(disk)
    store.put_many(case.items(0, 1))
    store.commit()
    store.put_many(case.items(21, 22))
    disk.fault = lambda number, method: EIO if "sync" in method else 0
    with pytest.raises(StoreError):
        store.commit()
    disk.fault = no_fault
    with pytest.raises((StoreError, ValueError)):
        store.finish()
    store.close()
    store = case.open(disk)
    assert list(store.have) == [0, 1]
    disk.lose_process()
    disk.fault = lambda number, method: EIO if "sync" in method else 0
    with pytest.raises(StoreError):
        case.open(disk)
    disk.fault = no_fault
    disk.lose_power(random.Random(6))
    case.check_claims(case.open(disk))


def test_few_files_are_synced_one_by_one_many_together(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.open(disk)
    store.put_many(case.items(3))
    store.commit()
    called: list[str] = []

    def note(number: int, method: str) -> int:
        if "sync" in method:
            called.append(method)
        return 0

    disk.fault = note
    store.put_many(case.items(4))  # in a file that has its name for good
    store.commit()
    assert called == ["fdatasync", "fdatasync"]
    called.clear()
    store.put_many(case.items(0, 1))  # in files that are new
    store.commit()
    assert called == ["sync_file_system", "fdatasync"]


def test_power_losses_cost_one_group_at_most_and_no_lie() -> None:
    run_power_losses(range(200))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_power_losses_cost_one_group_at_most_and_no_lie_many_times() -> None:
    run_power_losses(range(200, 2_200))


@pytest.mark.parametrize("seed", range(10))
def test_a_power_loss_while_finishing_leaves_the_target_or_all_chunks(
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
def test_a_kill_costs_nothing_that_was_put(seed: int) -> None:
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


@pytest.mark.parametrize("number", [EIO, ENOSPC])
@pytest.mark.parametrize("then", ["close", "power"])
@pytest.mark.parametrize("selected", [None, {0, 2, 5}])
def test_any_call_may_fail(number: int, then: str, selected: set[int] | None) -> None:
    case = Case(FILES, 100, selected)
    for call in range(1, 500):
        disk = FaultyDisk(ROOT)
        done: dict[str, set[int]] = {"put": set(), "safe": set()}
        disk.fault = lambda n, method, call=call: number if n == call else 0  # type: ignore[misc]
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
        case.check_after(disk, done["safe"])
        if not failed and calls < call:
            return
    raise AssertionError("a download takes more calls than this test tries")


class TreeMachine(RuleBasedStateMachine):
    """Do anything in any order, and compare with a set of indexes."""

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
