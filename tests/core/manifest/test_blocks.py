"""Divide chunks into blocks; refuse wrong lists of hashes and wrong runs."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.crypto.hashes import (
    DIGEST_SIZE,
    block_digests,
    chunk_digest,
)
from shoal.core.manifest.blocks import (
    BLOCK_SIZE,
    MAX_BLOCKS,
    BlockHashes,
    Run,
    are_block_hashes,
    are_blocks,
    block_count,
    run_span,
    runs_covering,
    split_run,
)
from shoal.core.manifest.chunks import Chunks

BLOCKS = 6
CHUNK = Random(1).randbytes(BLOCKS * BLOCK_SIZE - 17)
OTHER = Random(2).randbytes(len(CHUNK))
DIGEST = chunk_digest(CHUNK)
HASHES = block_digests(CHUNK)
OTHERS = block_digests(OTHER)
LIST = [HASHES[i : i + DIGEST_SIZE] for i in range(0, len(HASHES), DIGEST_SIZE)]


def block(number: int, chunk: bytes = CHUNK) -> bytes:
    return chunk[number * BLOCK_SIZE : (number + 1) * BLOCK_SIZE]


def changed(data: bytes, place: int) -> bytes:
    """Return the bytes with one bit flipped."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


HOSTILE_HASHES = {
    "none": b"",
    "another chunk's": OTHERS,
    "reversed": b"".join(reversed(LIST)),
    "the first twice": b"".join([LIST[0], *LIST[:-1]]),
    "all the same": LIST[0] * BLOCKS,
    "the chunk's own hash": DIGEST,
    "the chunk's own hash, padded": DIGEST * BLOCKS,
    "zeros": bytes(len(HASHES)),
    "too many": HASHES * 2,
    "the most": HASHES * 43,
    **{f"without block {n}": b"".join(LIST[:n] + LIST[n + 1 :]) for n in range(BLOCKS)},
    **{f"one more at {n}": b"".join([*LIST[:n], LIST[0], *LIST[n:]]) for n in range(7)},
    **{
        f"{n} and {n + 1} swapped": b"".join(
            [*LIST[:n], LIST[n + 1], LIST[n], *LIST[n + 2 :]]
        )
        for n in range(BLOCKS - 1)
    },
    **{
        f"{n} of another chunk": b"".join(
            [*LIST[:n], OTHERS[n * 32 : n * 32 + 32], *LIST[n + 1 :]]
        )
        for n in range(BLOCKS)
    },
    **{f"bit {n} flipped": changed(HASHES, n) for n in range(0, len(HASHES), 7)},
    **{f"{n} bytes": HASHES[:n] for n in (1, 31, 32, 33, 160, 191)},
    **{f"{n} bytes more": HASHES + bytes(n) for n in (1, 31, 32, 33)},
}


@pytest.mark.parametrize("hashes", HOSTILE_HASHES.values(), ids=HOSTILE_HASHES)
def test_a_wrong_list_of_hashes_is_refused(hashes: bytes) -> None:
    assert not are_block_hashes(hashes, len(CHUNK), DIGEST)


def test_the_right_list_is_refused_for_another_chunk_or_length() -> None:
    assert are_block_hashes(HASHES, len(CHUNK), DIGEST)
    assert not are_block_hashes(HASHES, len(CHUNK), chunk_digest(OTHER))
    assert not are_block_hashes(HASHES, len(CHUNK) - BLOCK_SIZE, DIGEST)
    assert not are_block_hashes(HASHES, len(CHUNK) + BLOCK_SIZE, DIGEST)


HOSTILE_RUNS: dict[str, tuple[int, bytes]] = {
    **{f"{n} of another chunk": (n, block(n, OTHER)) for n in range(BLOCKS)},
    **{f"{n} instead of {n + 1}": (n + 1, block(n)) for n in range(BLOCKS - 1)},
    **{f"{n + 1} instead of {n}": (n, block(n + 1)) for n in range(BLOCKS - 1)},
    **{f"{n} shortened": (n, block(n)[:-1]) for n in range(BLOCKS)},
    **{f"{n} lengthened": (n, block(n) + b"\0") for n in range(BLOCKS)},
    **{
        f"{n} with a bit flipped at {place}": (n, changed(block(n), place))
        for n in range(BLOCKS)
        for place in (0, 1000, len(block(n)) - 1)
    },
    "two swapped": (1, block(2) + block(1)),
    "one right, one wrong": (1, block(1) + block(3)),
    "one wrong, one right": (1, block(0) + block(2)),
    "beyond the end": (BLOCKS, block(0)),
    "far beyond the end": (MAX_BLOCKS - 1, block(0)),
    "past the end": (BLOCKS - 1, block(BLOCKS - 1) + block(0)),
    "zeros": (2, bytes(BLOCK_SIZE)),
    "nothing": (2, b""),
    "a whole chunk": (0, OTHER),
}


@pytest.mark.parametrize(
    ("first", "data"), HOSTILE_RUNS.values(), ids=list(HOSTILE_RUNS)
)
def test_a_wrong_run_of_blocks_is_refused(first: int, data: bytes) -> None:
    assert not are_blocks(data, first, HASHES)


def test_more_than_a_hundred_hostile_lists_and_runs_are_tried() -> None:
    assert len(HOSTILE_HASHES) + len(HOSTILE_RUNS) >= 100


@given(st.integers(0, BLOCKS - 1), st.integers(1, BLOCKS))
def test_every_run_of_the_right_blocks_verifies(first: int, count: int) -> None:
    chunks = Chunks(len(CHUNK), BLOCK_SIZE * 8)
    run = Run(0, first, min(count, BLOCKS - first))
    assert are_blocks(memoryview(CHUNK)[slice(*run_span(chunks, run))], first, HASHES)


SIZES = st.integers(1, 40 * BLOCK_SIZE)
CHUNK_SIZES = st.sampled_from([16_384, 65_536, 131_072, 1 << 20])


@given(SIZES, CHUNK_SIZES, st.data())
def test_the_runs_of_a_range_cover_it_with_less_than_a_block_around(
    size: int, chunk_size: int, data: st.DataObject
) -> None:
    chunks = Chunks(size, chunk_size)
    first = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(first + 1, size))
    runs = list(runs_covering(chunks, first, end))
    spans = [
        (chunks.offset(run.index) + a, chunks.offset(run.index) + b)
        for run in runs
        for a, b in [run_span(chunks, run)]
    ]
    assert all(b == a for (_, b), (a, _) in zip(spans, spans[1:], strict=False))
    assert spans[0][0] <= first < spans[0][0] + BLOCK_SIZE
    assert end <= spans[-1][1] < end + BLOCK_SIZE
    for run in runs:
        assert 1 <= run.count <= block_count(chunks, run.index)


@given(st.integers(0, 99), st.integers(1, 99), st.integers(1, 20))
def test_a_run_is_split_into_parts_of_a_limited_length(
    first: int, count: int, most: int
) -> None:
    run = Run(3, first, count)
    parts = list(split_run(run, most))
    assert [b for part in parts for b in part.blocks] == list(run.blocks)
    assert all(part.index == 3 and 1 <= part.count <= most for part in parts)


def test_hashes_that_were_not_used_for_longest_are_forgotten() -> None:
    known = BlockHashes(memory=3 * 64)
    for index in range(3):
        known.add(index, bytes([index]) * 64)
    assert known.find(0) == bytes(64)
    known.add(3, bytes(64))
    assert [index in known for index in range(4)] == [True, False, True, True]
    known.add(9, bytes(999))
    assert [index in known for index in (0, 2, 3, 9)] == [False, False, False, True]
    assert known.find(2) is None
