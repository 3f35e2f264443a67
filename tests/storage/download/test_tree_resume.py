"""A folder that was half fetched: what a resume believes, and what it finds out."""

import pytest

from shoal.errors import StoreError
from shoal.storage.extents import FileEntry
from tests.helpers.faulty_disk import FaultyDisk
from tests.storage.trees import STAGING, TARGET, Case

pytestmark = pytest.mark.usefixtures("_large_files_are_small")


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


@pytest.mark.parametrize("replaced", [3, 77, 150])
def test_a_file_replaced_by_an_older_one_of_its_size_is_found(
    replaced: int, disk: FaultyDisk
) -> None:
    """Of few files each is looked into."""
    case = Case([FileEntry(f"{place:03}", 1000) for place in range(200)], 100)
    store = case.open(disk)
    store.put_many(case.items(*range(case.chunks.count)))
    store.close()
    disk.overwrite(STAGING / f"data/{replaced:03}", 0, bytes(1000))
    disk.overwrite(STAGING / "journal", 0, b"s")  # as young as the data
    store = case.open(disk, verify=case.verify)
    wrong = case.chunks.covering(replaced * 1000, replaced * 1000 + 1000)
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
    with pytest.raises(StoreError, match="Another program changed b"):
        store.finish()
    store.close()
    store = case.open(disk, verify=case.verify)
    store.put_many(case.items(*case.missing(store)))
    store.finish()
    assert disk.files(TARGET) == case.expected()


MANY = [FileEntry(f"{number:04}", 1) for number in range(1001)]
"""So many that they are looked at beside the flush."""


def test_of_very_many_files_what_others_put_there_does_not_arrive_either(
    disk: FaultyDisk,
) -> None:
    case = Case(MANY, 100)
    store = case.open(disk)
    store.put_many(case.items(*range(case.chunks.count)))
    disk.close(disk.open_write(STAGING / "data/stranger"))
    store.finish()
    assert disk.files(TARGET) == case.expected()


def test_one_of_very_many_files_that_was_changed_is_noticed(disk: FaultyDisk) -> None:
    case = Case(MANY, 100)
    store = case.open(disk)
    store.put_many(case.items(*range(case.chunks.count)))
    disk.overwrite(STAGING / "data/0500", 1, b"more")
    with pytest.raises(StoreError, match="Another program changed 0500"):
        store.finish()
