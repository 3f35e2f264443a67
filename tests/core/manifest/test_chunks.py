"""Compare chunks and bitfields with a plain model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.manifest.chunks import (
    MAX_CHUNK_SIZE,
    Bitfield,
    Chunks,
    check_chunk_size,
    check_index,
)
from shoal.errors import UsageError

SIZES = st.integers(0, 3000)
CHUNK_SIZES = st.integers(1, 400)
INDEXES = st.tuples(st.integers(0, 70), st.sets(st.integers(0, 69))).map(
    lambda drawn: (drawn[0], {i for i in drawn[1] if i < drawn[0]})
)


@given(SIZES, CHUNK_SIZES)
def test_chunks_cover_every_byte_once(size: int, chunk_size: int) -> None:
    chunks = Chunks(size, chunk_size)
    places = [
        range(chunks.offset(i), chunks.offset(i) + chunks.length(i))
        for i in range(chunks.count)
    ]
    assert [byte for place in places for byte in place] == list(range(size))
    assert all(len(place) == chunk_size for place in places[:-1])
    assert all(0 < len(place) <= chunk_size for place in places[-1:])


@given(SIZES, CHUNK_SIZES, st.integers(-9, 3009), st.integers(-9, 3009))
def test_covering_returns_the_chunks_with_a_byte_of_the_range(
    size: int, chunk_size: int, first: int, end: int
) -> None:
    chunks = Chunks(size, chunk_size)
    bytes_in = range(max(first, 0), min(end, size))
    expected = sorted({byte // chunk_size for byte in bytes_in})
    assert list(chunks.covering(first, end)) == expected


@pytest.mark.parametrize("chunk_size", [1, 1024, MAX_CHUNK_SIZE])
def test_allowed_chunk_sizes_are_accepted(chunk_size: int) -> None:
    check_chunk_size(chunk_size)


@pytest.mark.parametrize("chunk_size", [0, -1, MAX_CHUNK_SIZE + 1, 1 << 70])
def test_an_error_for_another_chunk_size_names_the_range(chunk_size: int) -> None:
    with pytest.raises(UsageError, match="choose 1 to 16777216"):
        check_chunk_size(chunk_size)


def test_an_error_for_an_index_out_of_range_names_the_range() -> None:
    check_index(0, 1)
    check_index(9, 10)
    for index in (-1, 10, 1 << 70):
        with pytest.raises(UsageError, match="from 0 to 9"):
            check_index(index, 10)
    with pytest.raises(UsageError, match="empty"):
        check_index(0, 0)


@given(INDEXES)
def test_a_bitfield_is_a_set_of_indexes(drawn: tuple[int, set[int]]) -> None:
    size, indexes = drawn
    field = Bitfield(size)
    for index in indexes:
        assert field.add(index)
        assert not field.add(index)
    assert list(field) == sorted(indexes)
    assert list(field.missing()) == sorted(set(range(size)) - indexes)
    assert len(field) == field.count == len(indexes)
    assert [i in field for i in range(-9, size + 9)] == [
        i in indexes for i in range(-9, size + 9)
    ]
    assert field.is_complete is (len(indexes) == size)
    assert repr(field) == f"<Bitfield {len(indexes)} of {size}>"


@given(INDEXES, st.integers(-3, 80), st.integers(-3, 80))
def test_a_bitfield_counts_the_chunks_in_a_range(
    drawn: tuple[int, set[int]], first: int, end: int
) -> None:
    size, indexes = drawn
    field = Bitfield(size)
    for index in indexes:
        field.add(index)
    assert field.number_in(first, end) == len([i for i in indexes if first <= i < end])


@given(INDEXES)
def test_a_bitfield_is_read_back_from_its_bytes(drawn: tuple[int, set[int]]) -> None:
    size, indexes = drawn
    field = Bitfield(size)
    for index in indexes:
        field.add(index)
    data = bytes(field)
    # BEP 3: the first chunk is the first byte's highest bit; spare bits are zero.
    bits = "".join("1" if i in indexes else "0" for i in range(len(data) * 8))
    assert data == bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    again = Bitfield.from_bytes(data, size)
    assert again == field
    assert len(again) == len(indexes)


@given(st.integers(0, 70))
def test_a_full_bitfield_has_every_chunk(size: int) -> None:
    field = Bitfield.full(size)
    assert field.is_complete
    assert list(field) == list(range(size))
    assert Bitfield.from_bytes(bytes(field), size) == field


@given(st.integers(0, 70), st.binary(max_size=10))
def test_bytes_of_another_length_or_with_spare_bits_are_refused(
    size: int, data: bytes
) -> None:
    bits = "".join(f"{byte:08b}" for byte in data)
    if len(data) == -(-size // 8) and "1" not in bits[size:]:
        assert list(Bitfield.from_bytes(data, size)) == [
            i for i, bit in enumerate(bits) if bit == "1"
        ]
    else:
        with pytest.raises(ValueError, match="bitfield"):
            Bitfield.from_bytes(data, size)


@pytest.mark.parametrize("index", [-1, 8, 9])
def test_an_index_that_does_not_exist_cannot_be_added(index: int) -> None:
    with pytest.raises(IndexError):
        Bitfield(8).add(index)


def test_a_bitfield_equals_only_an_equal_one_and_is_not_hashable() -> None:
    assert Bitfield(3) != Bitfield(4)
    assert Bitfield(3) != object()
    with pytest.raises(TypeError):
        hash(Bitfield(3))


@given(INDEXES, st.integers(0, 70), st.integers(0, 70))
def test_adding_a_run_returns_the_chunks_that_are_new(
    drawn: tuple[int, set[int]], first: int, number: int
) -> None:
    size, indexes = drawn
    field = Bitfield(size)
    for index in indexes:
        field.add(index)
    run = set(range(first, first + number))
    if first + number > size:
        if number:
            with pytest.raises(IndexError):
                field.add_run(first, number)
        return
    assert field.add_run(first, number) == sorted(run - indexes)
    assert set(field) == indexes | run
