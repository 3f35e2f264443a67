"""Downloads to a disk that fills up or fails."""

import random
from collections.abc import Callable
from errno import EIO, ENOSPC

import pytest

from shoal.errors import DiskFullError, StoreError
from shoal.storage.disk.disk import Data
from tests.helpers.faulty.crashes import no_fault
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_file import (
    CHUNKS,
    CONTENT,
    FILE,
    STAGING,
    TARGET,
    check_claims,
    items,
    open_store,
    verify,
)
from tests.storage.one_folder import FILES, Case

pytestmark = pytest.mark.usefixtures("_large_files_are_small")
FOLDER = Case(FILES, 100)


@pytest.mark.parametrize(("case", "size"), [(FILE, "24.4 KiB"), (FOLDER, "20.0 KiB")])
def test_a_disk_too_small_is_an_error_before_the_first_byte(
    case: Case, size: str, disk: FaultyDisk
) -> None:
    disk.capacity = 20_000
    with pytest.raises(DiskFullError, match=f"needs {size} "):
        case.open(disk)
    assert disk.paths() == set()


def test_a_full_disk_keeps_the_chunks_that_were_put(disk: FaultyDisk) -> None:
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


@pytest.mark.parametrize("case", [FILE, FOLDER], ids=["file", "folder"])
def test_chunks_of_a_failed_flush_never_count_again(
    case: Case, disk: FaultyDisk
) -> None:
    store = case.open(disk)
    store.put_many(case.items(0, 1))
    store.commit()
    store.put_many(case.items(3, 21))
    disk.fault = lambda number, method: EIO if "sync" in method else 0
    with pytest.raises(StoreError, match="flush|sync"):
        store.commit()
    disk.fault = no_fault
    for again in (store.commit, store.finish, lambda: store.put(9, case.chunk(9))):
        with pytest.raises((StoreError, ValueError)):
            again()
    with pytest.raises(StoreError):
        store.get(3)
    store.close()
    store = case.open(disk)
    assert list(store.have) == [0, 1]
    disk.lose_power(random.Random(6))
    store = case.open(disk)
    assert list(store.have) == [0, 1]
    case.check_claims(store)


@pytest.mark.parametrize("verify", [None, verify])
def test_chunks_of_a_failed_flush_on_resume_never_count_again(
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


def test_the_first_error_is_raised(disk: FaultyDisk) -> None:
    store = open_store(disk)
    store.put_many(items(1, 2))
    start = disk.calls
    disk.fault = lambda number, method: EIO if number > start else 0
    with pytest.raises(StoreError, match="fdatasync"):
        store.commit()


def test_few_files_of_a_folder_are_flushed_one_by_one_and_many_together(
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
    store.put_many(case.items(4))  # in a file whose name was flushed
    store.commit()
    assert called == ["fdatasync", "fdatasync"]
    called.clear()
    store.put_many(case.items(0, 1))  # in new files
    store.commit()
    assert called == ["sync_file_system", "fdatasync"]
