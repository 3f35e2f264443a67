"""The rule for chunk sizes, at both sides of every threshold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.root import (
    MAX_SHARE_SIZE,
    check_root_fits,
    check_sealed_chunk_size,
    choose_chunk_size,
    is_chunk_size,
)
from shoal.errors import UsageError

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


@pytest.mark.parametrize(
    ("size", "chunk_size"),
    [
        (0, 64 * KIB),
        (1, 64 * KIB),
        (64 * MIB, 64 * KIB),
        (64 * MIB + 1, 128 * KIB),
        (128 * MIB, 128 * KIB),
        (128 * MIB + 1, 256 * KIB),
        (256 * MIB + 1, 512 * KIB),
        (512 * MIB + 1, MIB),
        (GIB + 1, 2 * MIB),
        (2 * GIB, 2 * MIB),
        (2 * GIB + 1, 4 * MIB),
        (4 * GIB + 1, 4 * MIB),
        (TIB, 4 * MIB),
        (253 * 2048 * 4 * MIB, 4 * MIB),
        (253 * 2048 * 4 * MIB + 1, 8 * MIB),
        (8_000_000_000_000, 16 * MIB),
    ],
)
def test_the_choice_of_the_chunk_size_is_frozen(size: int, chunk_size: int) -> None:
    assert choose_chunk_size(size, name="x") == chunk_size


@given(st.integers(0, 8 * 10**12), st.integers(0, 9), st.sampled_from(["", "n" * 255]))
def test_the_chosen_chunk_size_fits(size: int, file_pages: int, name: str) -> None:
    chunk_size = choose_chunk_size(size, name=name, file_pages=file_pages)
    assert is_chunk_size(chunk_size)
    check_root_fits(Chunks(size, chunk_size), name=name, file_pages=file_pages)
    if size <= 4 * GIB:
        assert Chunks(size, chunk_size).count <= 1024


def test_too_small_chunks_are_refused_with_a_size_that_fits() -> None:
    with pytest.raises(UsageError, match="use --chunk-size 4194304") as error:
        check_root_fits(Chunks(TIB, 16 * KIB), name="x", file_pages=1)
    assert "67108864 chunks" in str(error.value)
    check_root_fits(Chunks(TIB, 4 * MIB), name="x", file_pages=1)


@pytest.mark.parametrize(
    ("size", "file_pages"),
    [(9 * TIB, 0), (0, 256), (MAX_SHARE_SIZE + 1, 0), (1, 1 << 60)],
)
def test_a_share_that_fits_no_chunk_size_is_refused(size: int, file_pages: int) -> None:
    with pytest.raises(UsageError, match="in parts"):
        choose_chunk_size(size, name="x", file_pages=file_pages)
    with pytest.raises(UsageError, match="in parts"):
        check_root_fits(Chunks(size, 16 * KIB), name="x", file_pages=file_pages)


@pytest.mark.parametrize("chunk_size", [-1, 0, 1, 1024, 8192, 16_385, 3 << 14, 1 << 25])
def test_other_chunk_sizes_are_refused_with_the_range(chunk_size: int) -> None:
    with pytest.raises(UsageError, match="power of two from 16384 to 16777216"):
        check_sealed_chunk_size(chunk_size)


def test_every_power_of_two_in_the_range_is_a_chunk_size() -> None:
    for bits in range(14, 25):
        check_sealed_chunk_size(1 << bits)
