"""Downloads of a folder to a disk that fills up or fails."""

import random
from errno import EIO

import pytest

from shoal.errors import DiskFullError, StoreError
from tests.helpers.faulty.crashes import no_fault
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_folder import Case

pytestmark = pytest.mark.usefixtures("_large_files_are_small")


def test_a_disk_too_small_is_an_error_before_the_first_byte(
    disk: FaultyDisk, case: Case
) -> None:
    disk.capacity = 20_000
    with pytest.raises(DiskFullError, match="needs 20,480 bytes"):
        case.open(disk)
    assert disk.paths() == set()


def test_chunks_of_a_failed_flush_never_count_again(
    disk: FaultyDisk, case: Case
) -> None:
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


def test_few_files_are_flushed_one_by_one_and_many_together(
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
