"""Decoding a journal returns the records that were written, and no others."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import StoreError
from shoal.storage.disk.disk import UNKNOWN_BOOT
from shoal.storage.download.journal import (
    HEADER_SIZE,
    MARK,
    RECORD_SIZE,
    VOID,
    Header,
    Journal,
    decode,
    encode_records,
)
from tests.helpers.faulty.disk import FaultyDisk

BOOT = b"b" * 16
HEADER = Header(b"i" * 32, 1_000_000, 1000, BOOT, b"saltsalt")

indexes = st.lists(st.integers(0, 999))


def journal(*values: int, header: Header = HEADER) -> bytes:
    return header.encode() + encode_records(values, 0, header.seed)


@given(indexes)
def test_indexes_are_decoded_in_order(values: list[int]) -> None:
    contents = decode(journal(*values))
    assert contents is not None
    assert contents.header == HEADER
    assert list(contents.indexes) == values
    assert contents.committed == 0


@given(indexes, indexes, st.data())
def test_after_a_restart_only_chunks_covered_by_a_mark_count(
    before: list[int], after: list[int], data: st.DataObject
) -> None:
    uncovered = data.draw(st.integers(0, len(before)))
    contents = decode(journal(*before, MARK + uncovered, *after))
    assert contents is not None
    covered = before[: len(before) - uncovered]
    assert list(contents.trusted(b"c" * 16)) == covered
    assert list(contents.trusted(BOOT)) == before + after


def test_an_unknown_boot_id_never_matches() -> None:
    header = HEADER._replace(boot_id=UNKNOWN_BOOT)
    contents = decode(journal(1, MARK, 2, header=header))
    assert contents is not None
    assert list(contents.trusted(UNKNOWN_BOOT)) == [1]


def test_a_void_record_removes_chunks_without_a_mark() -> None:
    contents = decode(journal(1, 2, 3, MARK + 1, 4, VOID, 5))
    assert contents is not None
    assert list(contents.trusted(BOOT)) == [1, 2]


@given(indexes, st.integers(0, 4000))
def test_an_incomplete_end_loses_only_its_records(
    values: list[int], length: int
) -> None:
    data = journal(*values)[: HEADER_SIZE + length]
    contents = decode(data)
    assert contents is not None
    assert list(contents.indexes) == values[: length // RECORD_SIZE]


@given(indexes, st.data())
def test_a_flipped_bit_never_adds_a_chunk(
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
def test_any_bytes_can_be_decoded(data: bytes) -> None:
    assert decode(data) is None
    decode(HEADER.encode() + data)


def test_a_record_is_valid_only_in_its_place_and_journal() -> None:
    other = HEADER._replace(salt=b"pepper!!")
    data = journal(1, 2)
    swapped = data[:HEADER_SIZE] + data[-RECORD_SIZE:] + data[HEADER_SIZE:-RECORD_SIZE]
    for bad in (swapped, data[:HEADER_SIZE] + journal(1, header=other)[HEADER_SIZE:]):
        contents = decode(bad)
        assert contents is not None
        assert not contents.indexes


def test_decoding_stops_at_an_index_beyond_the_share() -> None:
    contents = decode(journal(1, 1000, 2))
    assert contents is not None
    assert list(contents.indexes) == [1]


def test_the_format_has_not_changed() -> None:
    """A newer shoal reads old journals, so a new format needs a new `VERSION`."""
    assert journal(3, MARK).hex() == GOLDEN


def test_appended_records_are_decoded_and_a_failed_write_is_overwritten() -> None:
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
