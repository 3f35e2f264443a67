"""The resume of a folder: the chunks that count, and the changes it detects."""

import pytest

from shoal.core.manifest.file_tree import File
from shoal.errors import StoreError
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_folder import STAGING, TARGET, Case

pytestmark = pytest.mark.usefixtures("_large_files_are_small")


def test_a_removed_file_loses_only_its_chunks(disk: FaultyDisk, case: Case) -> None:
    claimed = case.half_done(disk)
    disk.unlink(STAGING / "data/ünïcode/名前")
    store = case.open(disk, verify=case.verify)
    assert set(store.have) == claimed - set(case.chunks.covering(2200, 2450))
    case.check_claims(store)


def test_an_edited_file_is_detected_by_time_and_size(
    disk: FaultyDisk, case: Case
) -> None:
    claimed = case.half_done(disk)
    disk.overwrite(STAGING / "data/large", 20, b"?")
    store = case.open(disk, verify=case.verify)
    assert set(store.have) == claimed - {2}
    store.close()
    disk.overwrite(STAGING / "data/large", 2_000, b"more")
    disk.overwrite(STAGING / "journal", 0, b"s")  # now as new as the data
    store = case.open(disk, verify=case.verify)
    case.complete(store)
    assert disk.files(TARGET) == case.expected()


def test_one_edited_chunk_of_very_many_is_detected_by_time(disk: FaultyDisk) -> None:
    """A random sample would rarely include it."""
    case = Case([File(f"{place:03}", 990) for place in range(200)], 100)
    store = case.full(disk)
    store.close()
    disk.overwrite(STAGING / "data/077", 500, b"?")
    store = case.open(disk, verify=case.verify)
    wrong = case.chunks.covering(77 * 990 + 500, 77 * 990 + 501)
    assert set(store.have) == set(range(case.chunks.count)) - set(wrong)


@pytest.mark.parametrize("replaced", [3, 77, 150])
def test_a_file_replaced_by_an_older_one_of_its_size_is_detected(
    replaced: int, disk: FaultyDisk
) -> None:
    """With so few files, the sample has a chunk of each."""
    case = Case([File(f"{place:03}", 1000) for place in range(200)], 100)
    store = case.full(disk)
    store.close()
    disk.overwrite(STAGING / f"data/{replaced:03}", 0, bytes(1000))
    disk.overwrite(STAGING / "journal", 0, b"s")  # now as new as the data
    store = case.open(disk, verify=case.verify)
    wrong = case.chunks.covering(replaced * 1000, replaced * 1000 + 1000)
    assert set(store.have) == set(range(case.chunks.count)) - set(wrong)


def test_files_of_other_programs_are_removed_before_the_end(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.full(disk)
    disk.make_directory(STAGING / "data/other")
    for name in ("other/file", "a/file", "file"):
        disk.close(disk.open_write(STAGING / "data" / name))
    store.finish()
    assert disk.files(TARGET) == case.expected()
    assert TARGET / "other" not in disk.paths()


def test_a_file_changed_before_the_end_is_an_error(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.full(disk)
    disk.overwrite(STAGING / "data/b", 69, b"more")
    with pytest.raises(StoreError, match="Another program changed b"):
        store.finish()
    store.close()
    store = case.open(disk, verify=case.verify)
    case.complete(store)
    assert disk.files(TARGET) == case.expected()


MANY = [File(f"{number:04}", 1) for number in range(1001)]
"""So many files that they are checked at the same time as the flush."""


def test_files_of_other_programs_are_removed_among_very_many(
    disk: FaultyDisk,
) -> None:
    case = Case(MANY, 100)
    store = case.full(disk)
    disk.close(disk.open_write(STAGING / "data/other"))
    store.finish()
    assert disk.files(TARGET) == case.expected()


def test_one_changed_file_of_very_many_is_an_error(disk: FaultyDisk) -> None:
    case = Case(MANY, 100)
    store = case.full(disk)
    disk.overwrite(STAGING / "data/0500", 1, b"more")
    with pytest.raises(StoreError, match="Another program changed 0500"):
        store.finish()
