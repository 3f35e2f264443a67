"""The journal's bytes: what was written is read, and nothing else is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import StoreError
from shoal.storage.disk.disk import UNKNOWN_BOOT
from shoal.storage.download.journal import (
    HEADER_SIZE,
    RECORD_SIZE,
    VOID,
    Header,
    Journal,
    decode,
    encode_mark,
    encode_records,
)
from tests.helpers.faulty_disk import FaultyDisk

BOOT = b"b" * 16
HEADER = Header(b"i" * 32, 1_000_000, 1000, BOOT, b"saltsalt")

indexes = st.lists(st.integers(0, 999))


def journal(*values: int, header: Header = HEADER) -> bytes:
    return header.encode() + encode_records(values, 0, header.seed)


@given(indexes)
def test_indexes_come_back_in_order(values: list[int]) -> None:
    contents = decode(journal(*values))
    assert contents is not None
    assert contents.header == HEADER
    assert list(contents.indexes) == values
    assert contents.committed == 0


@given(indexes, indexes, st.data())
def test_after_another_boot_only_what_a_mark_covers_counts(
    before: list[int], after: list[int], data: st.DataObject
) -> None:
    uncovered = data.draw(st.integers(0, len(before)))
    contents = decode(journal(*before, encode_mark(uncovered), *after))
    assert contents is not None
    covered = before[: len(before) - uncovered]
    assert list(contents.trusted(b"c" * 16)) == covered
    assert list(contents.trusted(BOOT)) == before + after


def test_an_unknown_boot_is_never_the_same() -> None:
    header = HEADER._replace(boot_id=UNKNOWN_BOOT)
    contents = decode(journal(1, encode_mark(0), 2, header=header))
    assert contents is not None
    assert list(contents.trusted(UNKNOWN_BOOT)) == [1]


def test_a_failed_sync_voids_what_no_mark_covers() -> None:
    contents = decode(journal(1, 2, 3, encode_mark(1), 4, VOID, 5))
    assert contents is not None
    assert list(contents.trusted(BOOT)) == [1, 2]


@given(indexes, st.integers(0, 4000))
def test_a_torn_end_costs_only_what_is_torn(values: list[int], length: int) -> None:
    data = journal(*values)[: HEADER_SIZE + length]
    contents = decode(data)
    assert contents is not None
    assert list(contents.indexes) == values[: length // RECORD_SIZE]


@given(indexes, st.data())
def test_a_flipped_bit_never_brings_a_chunk_that_was_not_written(
    values: list[int], data: st.DataObject
) -> None:
    good = journal(*values)
    place = data.draw(st.integers(0, len(good) * 8 - 1))
    bad = bytearray(good)
    bad[place // 8] ^= 1 << place % 8
    contents = decode(bytes(bad))
    if place < HEADER_SIZE * 8:
        assert contents is None
    else:
        assert contents is not None
        hit = (place // 8 - HEADER_SIZE) // RECORD_SIZE
        assert list(contents.indexes) == values[:hit]


@given(st.binary(max_size=400))
def test_any_bytes_can_be_read(data: bytes) -> None:
    assert decode(data) is None
    decode(HEADER.encode() + data)


def test_a_record_counts_only_in_its_place_and_its_journal() -> None:
    other = HEADER._replace(salt=b"pepper!!")
    data = journal(1, 2)
    swapped = data[:HEADER_SIZE] + data[-RECORD_SIZE:] + data[HEADER_SIZE:-RECORD_SIZE]
    for bad in (swapped, data[:HEADER_SIZE] + journal(1, header=other)[HEADER_SIZE:]):
        contents = decode(bad)
        assert contents is not None
        assert not contents.indexes


def test_an_index_beyond_the_share_ends_the_reading() -> None:
    contents = decode(journal(1, 1000, 2))
    assert contents is not None
    assert list(contents.indexes) == [1]


def test_the_format_is_what_it_was() -> None:
    """Journals outlive versions of shoal: change `VERSION` with the format."""
    assert journal(3, encode_mark(0)).hex() == GOLDEN


def test_what_is_appended_is_read_and_a_failed_write_is_overwritten() -> None:
    disk = FaultyDisk(Path("/"))
    fd = disk.open_write(Path("/journal"))
    writer = Journal.begin(disk, fd, HEADER, [7])
    covered = writer.chunks
    disk.fault = lambda number, method: 5
    with pytest.raises(StoreError, match="pwrite"):
        writer.append([1, 2, 3, 4])
    disk.fault = lambda number, method: 0
    writer.append([8, 9])
    writer.mark(covered)
    data = disk.contents(Path("/journal"))
    assert data is not None
    contents = decode(data)
    assert contents is not None
    assert list(contents.indexes[:3]) == [7, 8, 9]
    assert contents.committed == 1


GOLDEN = (
    "73686f616c6a6e6c00000001"
    + "69" * 32
    + "00000000000f4240000003e8"
    + "62" * 16
    + "73616c7473616c74d99df15a00000000"
    "0000000350a80450800000007ee567e3"
)
