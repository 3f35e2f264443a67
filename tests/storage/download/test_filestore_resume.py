"""The resume of a file: the chunks that count, and those it verifies again."""

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.storage.disk.disk import Data
from shoal.storage.download.resume import SAMPLE
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_file import (
    CHUNKS,
    STAGING,
    check_claims,
    full_store,
    half_done,
    open_store,
    verify,
)
from tests.storage.one_folder import IDENTITY


@pytest.mark.parametrize(
    ("chunks", "identity"),
    [
        (Chunks(CHUNKS.size, 50), IDENTITY),
        (Chunks(CHUNKS.size - 1, 100), IDENTITY),
        (CHUNKS, IDENTITY[:4] + bytes(28)),
    ],
)
def test_a_download_of_another_share_starts_from_nothing(
    disk: FaultyDisk, chunks: Chunks, identity: bytes
) -> None:
    half_done(disk)
    store = open_store(disk, chunks=chunks, identity=identity)
    assert not store.have.count
    assert disk.contents(STAGING / "data") == bytes(chunks.size)


def test_with_a_damaged_journal_all_chunks_are_verified_or_lost(
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


def test_an_edit_between_runs_is_detected_by_time(disk: FaultyDisk) -> None:
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
def test_an_edit_that_keeps_the_time_is_detected_by_the_sample(
    disk: FaultyDisk, spoiled: range | None
) -> None:
    """It is among the last chunks, or so many changed that any sample has one."""
    store = full_store(disk)
    store.close()
    wrong = spoiled or range(0, CHUNKS.count - SAMPLE)
    for index in wrong:
        disk.overwrite(STAGING / "data", CHUNKS.offset(index), bytes(2))
    disk.overwrite(STAGING / "journal", 0, b"s")  # now as new as the data
    store = open_store(disk, verify=verify)
    assert set(store.have) == set(range(CHUNKS.count)) - set(wrong)
    check_claims(store)


def test_a_resume_verifies_only_a_sample(disk: FaultyDisk) -> None:
    half_done(disk)
    checked: set[int] = set()

    def note(index: int, data: Data) -> bool:
        checked.add(index)
        return verify(index, data)

    assert open_store(disk, verify=note).have.count == CHUNKS.count // 2
    assert SAMPLE < len(checked) <= 2 * SAMPLE
    assert checked >= set(range(CHUNKS.count - 2 * SAMPLE, CHUNKS.count, 2))
