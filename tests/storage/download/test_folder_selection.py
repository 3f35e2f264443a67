"""Downloads of only some files of a folder."""

import pytest

from shoal.errors import UsageError
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_folder import FILES, ROOT, STAGING, TARGET, Case

pytestmark = pytest.mark.usefixtures("_large_files_are_small")


@pytest.mark.parametrize("selected", [{3}, {0, 5}, {1}, {2, 4, 6}, set(range(7))])
def test_only_selected_files_are_downloaded(
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


def test_chunks_with_bytes_of_other_files_can_be_verified_after_a_kill(
    disk: FaultyDisk,
) -> None:
    case = Case(FILES, 100, {3})  # bytes 131 to 199, so only chunk 1
    case.open(disk).put_many(case.items(1))
    disk.lose_process()
    store = case.open(disk, verify=case.verify)
    assert list(store.have) == [1]
    assert store.get(1) == case.chunk(1)
    assert disk.contents(STAGING / "side") == case.content[100:131]
    disk.lose_process()
    disk.overwrite(STAGING / "side", 0, b"?")
    assert not case.open(disk, verify=case.verify).have.count


def keep_selection(disk: FaultyDisk) -> None:
    """Fetch the first and the last file of all."""
    first = Case(FILES, 100, {0, 4})
    store = first.open(disk)
    store.put_many(first.items(*store.wanted))
    store.close()


def test_another_selection_keeps_chunks_that_verify_and_removes_other_files(
    disk: FaultyDisk,
) -> None:
    keep_selection(disk)
    second = Case(FILES, 100, {3, 4})
    store = second.open(disk, verify=second.verify)
    inside = set(range(3, 22))  # large is bytes 200 to 2199
    assert inside - {21} <= set(store.have)
    second.check_claims(store)
    store.put_many(second.items(*second.missing(store)))
    store.finish()
    assert disk.files(TARGET) == second.expected()


def test_another_selection_without_verification_starts_from_nothing(
    disk: FaultyDisk,
) -> None:
    keep_selection(disk)
    second = Case(FILES, 100, None)
    store = second.open(disk)
    assert not store.have.count
    assert disk.files(STAGING / "data") == {"large": bytes(2_000)}


def test_an_empty_selection_is_an_error(disk: FaultyDisk) -> None:
    with pytest.raises(UsageError, match="No file"):
        Case(FILES, 100, []).open(disk)
    with pytest.raises(ValueError, match="7 files"):
        Case(FILES, 100, [7]).open(disk)
    assert disk.paths() == set()
