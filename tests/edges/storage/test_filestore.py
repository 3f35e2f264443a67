"""A file being fetched: resumes, crashes, full disks and names that are taken."""

import random
from collections.abc import Callable
from errno import EIO, ENOSPC
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shoal.core.chunks import Chunks
from shoal.errors import (
    DiskFullError,
    ShoalError,
    StoreError,
    TargetExistsError,
    UsageError,
)
from shoal.storage.disk import Data
from shoal.storage.filestore import COMMIT_BYTES, COMMIT_SECONDS, FileStore
from shoal.storage.staging import SAMPLE
from tests.helpers.faulty_disk import FaultyDisk

ROOT = Path("/disk")
TARGET = ROOT / "file"
IDENTITY = sha256(b"share").digest()
STAGING = ROOT / f".file.shoal-{IDENTITY[:4].hex()}"
CHUNKS = Chunks(24_950, 100)
CONTENT = random.Random(1).randbytes(CHUNKS.size)


def chunk(index: int) -> bytes:
    return CONTENT[CHUNKS.offset(index) :][: CHUNKS.length(index)]


def items(*indexes: int) -> list[tuple[int, bytes]]:
    return [(index, chunk(index)) for index in indexes]


def verify(index: int, data: Data) -> bool:
    return data == chunk(index)


def open_store(
    disk: FaultyDisk,
    *,
    verify: Callable[[int, Data], bool] | None = None,
    chunks: Chunks = CHUNKS,
    identity: bytes = IDENTITY,
    overwrite: bool = False,
) -> FileStore:
    return FileStore.open(
        TARGET, identity, chunks, disk=disk, verify=verify, overwrite=overwrite
    )


def check_claims(store: FileStore) -> None:
    for index in store.have:
        assert store.get(index) == chunk(index), f"chunk {index} is a lie"


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk(ROOT)


# What it is for.


def test_a_fetched_file_gets_its_name_and_nothing_else_stays(disk: FaultyDisk) -> None:
    store = open_store(disk)
    order = list(range(CHUNKS.count))
    random.Random(2).shuffle(order)
    for start in range(0, len(order), 7):
        store.put_many(items(*order[start : start + 7]))
    assert disk.contents(TARGET) is None
    store.finish()
    assert disk.contents(TARGET) == CONTENT
    assert store.get(3) == chunk(3)
    store.close()
    store.close()
    assert disk.paths() == {TARGET}
    disk.lose_power(random.Random(3))
    assert disk.contents(TARGET) == CONTENT
    assert disk.paths() == {TARGET}


def test_an_empty_file_is_complete_at_once(disk: FaultyDisk) -> None:
    store = open_store(disk, chunks=Chunks(0, 100))
    assert store.have.is_complete
    store.finish()
    store.close()
    assert disk.contents(TARGET) == b""
    assert disk.paths() == {TARGET}


def test_a_store_without_a_chunk_leaves_nothing_behind(disk: FaultyDisk) -> None:
    open_store(disk).close()
    assert disk.paths() == set()


def test_what_was_put_before_closing_is_there_after_a_power_loss(
    disk: FaultyDisk,
) -> None:
    store = open_store(disk)
    store.put_many(items(1, 2, 3, 249))
    store.close()
    disk.lose_power(random.Random(4))
    store = open_store(disk)
    assert list(store.have) == [1, 2, 3, 249]
    check_claims(store)


def test_a_killed_process_loses_nothing(disk: FaultyDisk) -> None:
    store = open_store(disk)
    store.put(5, chunk(5))
    store.put_many(items(7, 6))
    disk.lose_process()
    store = open_store(disk)
    assert list(store.have) == [5, 6, 7]
    check_claims(store)


def test_a_chunk_that_is_there_is_not_overwritten(disk: FaultyDisk) -> None:
    store = open_store(disk)
    store.put(5, chunk(5))
    store.put(5, bytes(100))
    assert store.get_many_now([5]) == [chunk(5)]
    assert store.have.count == 1


@pytest.mark.parametrize(("index", "size"), [(0, 99), (0, 101), (249, 100), (250, 100)])
def test_a_chunk_of_the_wrong_length_is_refused(
    disk: FaultyDisk, index: int, size: int
) -> None:
    store = open_store(disk)
    with pytest.raises(ValueError, match=f"chunk {index}"):
        store.put_many([*items(1), (index, bytes(size))])
    assert not store.have.count


def test_a_missing_chunk_is_a_key_error(disk: FaultyDisk) -> None:
    store = open_store(disk)
    for get in (store.get, store.get_now):
        with pytest.raises(KeyError):
            get(0)
    with pytest.raises(ValueError, match="0 of 250"):
        store.finish()


def test_commits_are_due_by_bytes_and_by_time(disk: FaultyDisk) -> None:
    store = open_store(disk, chunks=Chunks(COMMIT_BYTES + 1, COMMIT_BYTES))
    assert not store.is_commit_due(10)
    store.put(1, b"x")
    assert not store.is_commit_due(20)
    assert not store.is_commit_due(20 + COMMIT_SECONDS - 0.1)
    assert store.commit_if_due(20 + COMMIT_SECONDS)
    assert not store.is_commit_due(1000)
    store.put(0, bytes(COMMIT_BYTES))
    assert store.is_commit_due(2000)


def test_a_commit_covers_only_what_was_put_before_it_began(disk: FaultyDisk) -> None:
    store = open_store(disk)
    store.put_many(items(1, 2))
    sync = disk.fdatasync

    def put_meanwhile(fd: int) -> None:
        sync(fd)
        disk.fdatasync = sync  # type: ignore[method-assign]
        store.put_many(items(3, 4, 5))

    disk.fdatasync = put_meanwhile  # type: ignore[method-assign]
    store.commit()
    disk.lose_power(random.Random(5))
    store = open_store(disk)
    assert list(store.have) == [1, 2]


# Names.


def test_an_existing_target_is_left_alone_unless_overwritten(disk: FaultyDisk) -> None:
    disk.close(disk.open_write(TARGET))
    disk.overwrite(TARGET, 0, b"precious")
    with pytest.raises(TargetExistsError, match="already there"):
        open_store(disk)
    assert disk.paths() == {TARGET}
    store = open_store(disk, overwrite=True)
    store.put_many(items(*range(CHUNKS.count)))
    assert disk.contents(TARGET) == b"precious"
    store.finish()
    assert disk.contents(TARGET) == CONTENT
    assert disk.paths() == {TARGET}


def test_a_target_that_comes_to_exist_is_not_replaced(disk: FaultyDisk) -> None:
    store = open_store(disk)
    store.put_many(items(*range(CHUNKS.count)))
    disk.close(disk.open_write(TARGET))
    with pytest.raises(TargetExistsError):
        store.finish()
    assert disk.contents(TARGET) == b""
    disk.unlink(TARGET)
    store.finish()
    assert disk.contents(TARGET) == CONTENT


def test_a_second_process_on_one_target_is_told_so(disk: FaultyDisk) -> None:
    first = open_store(disk)
    first.put(1, chunk(1))
    with pytest.raises(StoreError, match="Another shoal is already fetching to /disk"):
        open_store(disk)
    first.put_many(items(*range(CHUNKS.count)))
    with pytest.raises(StoreError, match="Another shoal"):
        open_store(disk)
    first.finish()
    first.close()
    assert disk.contents(TARGET) == CONTENT


@pytest.mark.parametrize("overwrite", [False, True])
def test_whoever_locks_a_journal_that_has_just_gone_looks_again(
    disk: FaultyDisk, overwrite: bool
) -> None:
    first = open_store(disk)
    first.put_many(items(*range(CHUNKS.count)))

    def finish_before_the_lock(number: int, method: str) -> int:
        if method == "lock":
            disk.fault = no_fault
            first.finish()
            first.close()
        return 0

    disk.fault = finish_before_the_lock
    if overwrite:
        second = open_store(disk, overwrite=True)
        second.put(1, chunk(1))
        second.close()
        assert STAGING in disk.paths()
    else:
        with pytest.raises(TargetExistsError):
            open_store(disk)
        assert disk.paths() == {TARGET}
    assert disk.contents(TARGET) == CONTENT


def test_there_must_be_a_folder_and_a_name(disk: FaultyDisk) -> None:
    with pytest.raises(StoreError, match="no folder /nowhere"):
        FileStore.open(Path("/nowhere/file"), IDENTITY, CHUNKS, disk=disk)
    with pytest.raises(UsageError, match="name of a file"):
        FileStore.open(Path("/"), IDENTITY, CHUNKS, disk=disk)
    disk.make_directory(ROOT / "folder")
    with pytest.raises(TargetExistsError, match="not a regular file"):
        FileStore.open(ROOT / "folder", IDENTITY, CHUNKS, disk=disk, overwrite=True)


# What a resume believes.


def half_done(disk: FaultyDisk) -> None:
    store = open_store(disk)
    store.put_many(items(*range(0, CHUNKS.count, 2)))
    store.close()


@pytest.mark.parametrize(
    ("chunks", "identity"),
    [
        (Chunks(CHUNKS.size, 50), IDENTITY),
        (Chunks(CHUNKS.size - 1, 100), IDENTITY),
        (CHUNKS, IDENTITY[:4] + bytes(28)),
    ],
)
def test_what_belongs_to_another_share_is_started_over(
    disk: FaultyDisk, chunks: Chunks, identity: bytes
) -> None:
    half_done(disk)
    store = open_store(disk, chunks=chunks, identity=identity)
    assert not store.have.count
    assert disk.contents(STAGING / "data") == bytes(chunks.size)


def test_a_broken_journal_costs_a_hash_of_everything_or_the_start(
    disk: FaultyDisk,
) -> None:
    half_done(disk)
    disk.overwrite(STAGING / "journal", 20, b"\xff")
    store = open_store(disk, verify=verify)
    assert store.have.count == CHUNKS.count // 2
    check_claims(store)
    store.close()
    disk.overwrite(STAGING / "journal", 20, b"\xff")
    assert not open_store(disk).have.count


def test_an_edit_while_stopped_is_found_by_its_time(disk: FaultyDisk) -> None:
    half_done(disk)
    disk.overwrite(STAGING / "data", 200, b"?")
    checked: set[int] = set()

    def note(index: int, data: Data) -> bool:
        checked.add(index)
        return verify(index, data)

    store = open_store(disk, verify=note)
    assert checked == set(range(0, CHUNKS.count, 2)), "more than a sample"
    assert set(store.have) == checked - {2}


@pytest.mark.parametrize("spoiled", [range(CHUNKS.count - SAMPLE, CHUNKS.count), None])
def test_an_edit_whose_time_is_hidden_is_found_by_the_sample(
    disk: FaultyDisk, spoiled: range | None
) -> None:
    """Either among the last chunks, or so many that a random sample must hit."""
    store = open_store(disk)
    store.put_many(items(*range(CHUNKS.count)))
    store.close()
    wrong = spoiled or range(0, CHUNKS.count - SAMPLE)
    for index in wrong:
        disk.overwrite(STAGING / "data", CHUNKS.offset(index), bytes(2))
    disk.overwrite(STAGING / "journal", 0, b"s")  # as young as the data
    store = open_store(disk, verify=verify)
    assert set(store.have) == set(range(CHUNKS.count)) - set(wrong)
    check_claims(store)


def test_a_resume_checks_a_sample_only(disk: FaultyDisk) -> None:
    half_done(disk)
    checked: set[int] = set()

    def note(index: int, data: Data) -> bool:
        checked.add(index)
        return verify(index, data)

    assert open_store(disk, verify=note).have.count == CHUNKS.count // 2
    assert SAMPLE < len(checked) <= 2 * SAMPLE
    assert checked >= set(range(CHUNKS.count - 2 * SAMPLE, CHUNKS.count, 2))


# Full and failing disks.


def test_a_disk_too_small_is_found_before_the_first_byte(disk: FaultyDisk) -> None:
    disk.capacity = 20_000
    with pytest.raises(DiskFullError, match="needs 24,950 bytes"):
        open_store(disk)
    assert disk.paths() == set()


def test_a_disk_full_midway_keeps_what_was_put(disk: FaultyDisk) -> None:
    store = open_store(disk)
    store.put_many(items(1, 2, 3))
    disk.fault = lambda number, method: ENOSPC if method == "pwrite" else 0
    with pytest.raises(DiskFullError, match="Free some space"):
        store.put_many(items(5, 8, 9))
    assert list(store.have) == [1, 2, 3]
    with pytest.raises(DiskFullError):
        store.close()
    disk.fault = no_fault
    store = open_store(disk)
    assert list(store.have) == [1, 2, 3]
    check_claims(store)
    store.put_many(items(*range(CHUNKS.count)))
    store.finish()
    assert disk.contents(TARGET) == CONTENT


def test_a_failed_sync_is_never_believed_again(disk: FaultyDisk) -> None:
    store = open_store(disk)
    store.put_many(items(1, 2))
    store.commit()
    store.put_many(items(3, 4))
    disk.fault = lambda number, method: EIO if method == "fdatasync" else 0
    with pytest.raises(StoreError, match="flush|fdatasync"):
        store.commit()
    disk.fault = no_fault
    for again in (store.commit, store.finish, lambda: store.put(9, chunk(9))):
        with pytest.raises((StoreError, ValueError)):
            again()
    with pytest.raises(StoreError):
        store.get(3)
    store.close()
    store = open_store(disk)
    assert list(store.have) == [1, 2]
    disk.lose_power(random.Random(6))
    store = open_store(disk)
    assert list(store.have) == [1, 2]
    check_claims(store)


@pytest.mark.parametrize("verify", [None, verify])
def test_a_failed_sync_at_a_resume_is_never_believed_again(
    disk: FaultyDisk, verify: Callable[[int, Data], bool] | None
) -> None:
    store = open_store(disk)
    store.put_many(items(1, 2))
    store.commit()
    store.put_many(items(3, 4))
    disk.lose_process()
    disk.fault = lambda number, method: EIO if method == "fdatasync" else 0
    with pytest.raises(StoreError, match="fdatasync"):
        open_store(disk, verify=verify)
    disk.fault = no_fault
    store = open_store(disk, verify=verify)
    assert list(store.have) == [1, 2]
    store.close()

    disk.overwrite(STAGING / "journal", 20, b"\xff")
    disk.fault = lambda number, method: EIO if method == "fdatasync" else 0
    with pytest.raises(StoreError):
        open_store(disk, verify=verify)
    disk.fault = no_fault
    assert not open_store(disk, verify=verify).have.count


def test_the_first_error_is_the_one_that_is_told(disk: FaultyDisk) -> None:
    store = open_store(disk)
    store.put_many(items(1, 2))
    start = disk.calls
    disk.fault = lambda number, method: EIO if number > start else 0
    with pytest.raises(StoreError, match="fdatasync"):
        store.commit()


def download(disk: FaultyDisk, rng: random.Random, done: dict[str, set[int]]) -> None:
    """Fetch everything, noting what a process crash and a power loss must spare."""
    store = open_store(disk)
    done["put"], done["safe"] = set(store.have), set(store.have)
    try:
        missing = list(store.have.missing())
        rng.shuffle(missing)
        while missing:
            batch = [missing.pop() for _ in range(min(len(missing), 9))]
            store.put_many(items(*batch))
            done["put"].update(batch)
            if rng.random() < 0.3:
                store.commit()
                done["safe"] |= done["put"]
        store.finish()
    finally:
        store.close()


def check_after(disk: FaultyDisk, expected: set[int]) -> None:
    """Check the three promises, then go on to the end."""
    if disk.contents(TARGET) is not None:
        assert disk.contents(TARGET) == CONTENT
        with pytest.raises(TargetExistsError):
            open_store(disk)
        assert disk.paths() == {TARGET}
        return
    store = open_store(disk)
    check_claims(store)
    assert set(store.have) >= expected
    store.put_many(items(*store.have.missing()))
    store.finish()
    store.close()
    assert disk.contents(TARGET) == CONTENT
    assert disk.paths() == {TARGET}


def no_fault(number: int, method: str) -> int:
    return 0


def fail_at(disk: FaultyDisk, call: int, error: int) -> None:
    disk.fault = lambda number, method: error if number == call else 0


class PowerLoss(BaseException):
    """Ends a run as nothing else does: no handler may help it."""


def lose_power_at(disk: FaultyDisk, call: int) -> None:
    def fault(number: int, method: str) -> int:
        if number >= call:
            raise PowerLoss
        return 0

    disk.fault = fault


@pytest.mark.parametrize("seed", range(200))
def test_a_power_loss_costs_one_group_at_most_and_no_lie(seed: int) -> None:
    rng = random.Random(seed)
    disk = FaultyDisk(ROOT)
    done: dict[str, set[int]] = {}
    for _ in range(rng.randrange(1, 4)):  # several losses on one download
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
def test_a_power_loss_while_finishing_leaves_the_target_or_all_chunks(
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
def test_a_kill_costs_nothing_that_was_put(seed: int) -> None:
    rng = random.Random(seed)
    disk = FaultyDisk(ROOT)
    done: dict[str, set[int]] = {"put": set()}
    lose_power_at(disk, rng.randrange(1, 120))
    with pytest.raises(PowerLoss):
        download(disk, rng, done)
    disk.fault = no_fault
    disk.lose_process()
    check_after(disk, done["put"])


@pytest.mark.parametrize("number", [EIO, ENOSPC])
@pytest.mark.parametrize("then", ["close", "power"])
def test_any_call_may_fail(number: int, then: str) -> None:
    for call in range(1, 400):
        disk = FaultyDisk(ROOT)
        done: dict[str, set[int]] = {"put": set(), "safe": set()}
        fail_at(disk, call, number)
        try:
            download(disk, random.Random(call), done)
        except ShoalError:
            failed = True
        else:
            failed = False
        calls = disk.calls
        disk.fault = no_fault
        if then == "power":
            disk.lose_power(random.Random(call))
        # `safe` holds either way: what a failed sync loses was never in it.
        check_after(disk, done["safe"])
        if not failed and calls < call:
            return
    raise AssertionError("a download takes more calls than this test tries")


class StoreMachine(RuleBasedStateMachine):
    """Do anything in any order, and compare with a set of indexes."""

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
