"""A file being downloaded: its chunks, commits and name."""

import random
from pathlib import Path

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.errors import StoreError, TargetExistsError, UsageError
from shoal.storage.download.filestore import (
    COMMIT_BYTES,
    COMMIT_SECONDS,
    WRITE_BEHIND,
    FileStore,
)
from tests.helpers.faulty.crashes import no_fault
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_file import (
    CHUNKS,
    CONTENT,
    FILE,
    STAGING,
    TARGET,
    check_claims,
    chunk,
    full_store,
    items,
    open_store,
)
from tests.storage.one_folder import FILES, IDENTITY, ROOT, Case

# Chunks and commits.


@pytest.mark.usefixtures("_large_files_are_small")
@pytest.mark.parametrize("case", [FILE, Case(FILES, 100)], ids=["file", "folder"])
def test_a_complete_download_gets_its_name_and_nothing_else_remains(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.open(disk)
    order = list(range(case.chunks.count))
    random.Random(2).shuffle(order)
    for start in range(0, len(order), 7):
        store.put_many(case.items(*order[start : start + 7]))
        assert case.stored(disk) is None
    store.finish()
    assert case.stored(disk) == case.expected()
    assert [store.get(index) for index in (0, 3)] == [case.chunk(0), case.chunk(3)]
    store.close()
    store.close()
    disk.lose_power(random.Random(3))
    assert case.stored(disk) == case.expected()
    assert {path for path in disk.paths() if path.parent == ROOT} == {case.target}


def test_an_empty_file_is_complete_at_once(disk: FaultyDisk) -> None:
    store = open_store(disk, chunks=Chunks(0, 100))
    assert store.have.is_complete
    store.finish()
    store.close()
    assert disk.contents(TARGET) == b""
    assert disk.paths() == {TARGET}


@pytest.mark.usefixtures("_large_files_are_small")
@pytest.mark.parametrize("case", [FILE, Case(FILES, 100)], ids=["file", "folder"])
def test_a_store_without_chunks_leaves_nothing_behind(
    disk: FaultyDisk, case: Case
) -> None:
    case.open(disk).close()
    assert disk.paths() == set()


def test_chunks_put_before_close_survive_a_power_loss(
    disk: FaultyDisk,
) -> None:
    store = open_store(disk)
    store.put_many(items(1, 2, 3, 249))
    store.close()
    disk.lose_power(random.Random(4))
    store = open_store(disk)
    assert list(store.have) == [1, 2, 3, 249]
    check_claims(store)


def test_a_killed_process_loses_no_chunk(disk: FaultyDisk) -> None:
    store = open_store(disk)
    store.put(5, chunk(5))
    store.put_many(items(7, 6))
    disk.lose_process()
    store = open_store(disk)
    assert list(store.have) == [5, 6, 7]
    check_claims(store)


def test_a_stored_chunk_is_not_overwritten(disk: FaultyDisk) -> None:
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
    assert store.is_commit_due(20 + COMMIT_SECONDS)
    store.commit()
    assert not store.is_commit_due(1000)
    store.put(0, bytes(COMMIT_BYTES))
    assert store.is_commit_due(2000)


def test_the_store_is_behind_until_a_commit_ends(disk: FaultyDisk) -> None:
    store = open_store(disk, chunks=Chunks(2 * WRITE_BEHIND, WRITE_BEHIND))
    states = [store.is_behind]
    store.put(0, bytes(WRITE_BEHIND))
    states.append(store.is_behind)
    assert store.is_commit_due(0)
    store.commit()
    states.append(store.is_behind)
    assert states == [False, True, False]


def test_a_commit_covers_only_chunks_put_before_it_began(disk: FaultyDisk) -> None:
    store = open_store(disk)
    store.put_many(items(1, 2))
    sync = disk.fdatasync

    def put_during_the_flush(fd: int) -> None:
        sync(fd)
        disk.fdatasync = sync  # type: ignore[method-assign]
        store.put_many(items(3, 4, 5))

    disk.fdatasync = put_during_the_flush  # type: ignore[method-assign]
    store.commit()
    disk.lose_power(random.Random(5))
    store = open_store(disk)
    assert list(store.have) == [1, 2]


# Names.


def test_an_existing_target_is_replaced_only_with_overwrite(disk: FaultyDisk) -> None:
    disk.close(disk.open_write(TARGET))
    disk.overwrite(TARGET, 0, b"precious")
    with pytest.raises(TargetExistsError, match="already exists"):
        open_store(disk)
    assert disk.paths() == {TARGET}
    store = full_store(disk, overwrite=True)
    assert disk.contents(TARGET) == b"precious"
    store.finish()
    assert disk.contents(TARGET) == CONTENT
    assert disk.paths() == {TARGET}


def test_a_target_created_in_the_meantime_is_not_replaced(disk: FaultyDisk) -> None:
    store = full_store(disk)
    disk.close(disk.open_write(TARGET))
    with pytest.raises(TargetExistsError):
        store.finish()
    assert disk.contents(TARGET) == b""
    disk.unlink(TARGET)
    store.finish()
    assert disk.contents(TARGET) == CONTENT


def test_a_second_process_cannot_download_to_the_same_target(disk: FaultyDisk) -> None:
    first = open_store(disk)
    first.put(1, chunk(1))
    with pytest.raises(
        StoreError, match="Another shoal is already downloading to /disk"
    ):
        open_store(disk)
    first.put_many(items(*range(CHUNKS.count)))
    with pytest.raises(StoreError, match="Another shoal"):
        open_store(disk)
    first.finish()
    first.close()
    assert disk.contents(TARGET) == CONTENT


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_process_that_locks_a_removed_journal_starts_again(
    disk: FaultyDisk, overwrite: bool
) -> None:
    first = full_store(disk)

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


def test_a_target_needs_an_existing_folder_and_a_file_name(disk: FaultyDisk) -> None:
    with pytest.raises(StoreError, match="no folder /nowhere"):
        FileStore.open(Path("/nowhere/file"), IDENTITY, CHUNKS, disk=disk)
    with pytest.raises(UsageError, match="file name"):
        FileStore.open(Path("/"), IDENTITY, CHUNKS, disk=disk)
    disk.make_directory(ROOT / "folder")
    with pytest.raises(TargetExistsError, match="a folder is never replaced"):
        FileStore.open(ROOT / "folder", IDENTITY, CHUNKS, disk=disk, overwrite=True)
