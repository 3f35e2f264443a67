"""Check how a chunk's hash follows from those of its blocks."""

import pytest

from shoal.core.crypto.hashes import (
    BLOCK_SIZE,
    DIGEST_SIZE,
    block_digests,
    chunk_digest,
    chunk_digest_of,
)
from tests.core.make_vectors import pattern

LENGTHS = (1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE, 200_000)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_chunk_is_verified_by_the_hashes_of_its_blocks(length: int) -> None:
    data = pattern(length)
    hashes = block_digests(data)
    assert len(hashes) == DIGEST_SIZE * -(-length // BLOCK_SIZE)
    assert chunk_digest_of(hashes, length) == chunk_digest(data)
    for number, start in enumerate(range(0, length, BLOCK_SIZE)):
        block = data[start : start + BLOCK_SIZE]
        at = number * DIGEST_SIZE
        assert block_digests(block) == hashes[at : at + DIGEST_SIZE]


@pytest.mark.parametrize("length", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE])
def test_a_chunk_of_one_block_has_the_hash_of_the_block(length: int) -> None:
    data = pattern(length)
    assert chunk_digest(data) == block_digests(data)


@pytest.mark.parametrize("length", LENGTHS)
def test_every_block_changes_the_hash_of_its_chunk(length: int) -> None:
    data = bytearray(pattern(length))
    right = chunk_digest(data)
    for place in {0, length // 2, length - 1}:
        data[place] ^= 1
        assert chunk_digest(data) != right
        data[place] ^= 1


def test_the_kind_of_the_bytes_does_not_matter() -> None:
    data = pattern(2 * BLOCK_SIZE + 1)
    expected = chunk_digest(data)
    assert chunk_digest(bytearray(data)) == expected
    assert chunk_digest(memoryview(data)) == expected


def test_a_list_of_block_hashes_cannot_pass_as_a_block() -> None:
    hashes = block_digests(pattern(2 * BLOCK_SIZE))
    assert chunk_digest(hashes) != chunk_digest_of(hashes, 2 * BLOCK_SIZE)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_number_of_block_hashes_must_fit_the_length(count: int) -> None:
    with pytest.raises(ValueError, match="hashes for 2 blocks"):
        chunk_digest_of(bytes(DIGEST_SIZE * count), BLOCK_SIZE + 1)
