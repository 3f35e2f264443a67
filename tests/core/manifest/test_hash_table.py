"""Check that pages are verified one by one, and chunks by the hashes in them."""

import random

import pytest

from shoal.core.crypto.hashes import chunk_digest, page_digest
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.hash_table import (
    HASHES_PER_PAGE,
    MAX_TOP_SIZE,
    HashTable,
    build_hash_pages,
    level_counts,
)
from shoal.core.manifest.pages import PageKey
from tests.core.reference import blake3_derive

CHUNK = 16_384
DATA = random.Random(1).randbytes(2 * CHUNK + 7)
SLICES = [DATA[:CHUNK], DATA[CHUNK : 2 * CHUNK], DATA[2 * CHUNK :]]


def table_of(size: int, pages: list[bytes]) -> HashTable:
    return HashTable(Chunks(size, CHUNK), b"".join(map(page_digest, pages)))


def small() -> tuple[HashTable, bytes]:
    page = b"".join(map(chunk_digest, SLICES))
    return table_of(len(DATA), [page]), page


def large() -> tuple[HashTable, list[bytes]]:
    rng = random.Random(2)
    pages = [rng.randbytes(65_536), rng.randbytes(65_536), rng.randbytes(64)]
    return table_of((2 * HASHES_PER_PAGE + 2) * CHUNK, pages), pages


def test_a_page_verifies_its_chunks_and_no_others() -> None:
    table, page = small()
    assert table.add_page(0, 0, memoryview(bytearray(page)))
    for index, data in enumerate(SLICES):
        assert table.has_digest(index)
        assert table.digest(index) == blake3_derive("shoal v2 block", data)
        assert table.verifies(index, data)
        assert table.verifies(index, memoryview(bytearray(data)))
        flipped = bytes((data[0] ^ 1,)) + data[1:]
        for wrong in (flipped, data[:-1], data + b"\0", b"", bytes(len(data))):
            assert not table.verifies(index, wrong)
        assert not table.verifies(index, SLICES[index - 1])
    assert not table.has_digest(3)
    assert not table.has_digest(-1)
    for index in (-1, 3, 1 << 60):
        with pytest.raises(IndexError):
            table.digest(index)


def test_every_changed_byte_of_a_page_is_refused() -> None:
    table, page = small()
    for place in range(len(page)):
        for bit in range(8):
            changed = bytearray(page)
            changed[place] ^= 1 << bit
            assert not table.add_page(0, 0, changed)
    assert table.page(0, 0) is None


@pytest.mark.parametrize("length", [0, 1, 31, 32, 64, 95, 97, 128, 65_536, 65_537])
def test_a_page_of_another_length_is_refused(length: int) -> None:
    table, page = small()
    assert not table.add_page(0, 0, (page * 700)[:length])


def test_pages_may_arrive_in_any_order() -> None:
    table, pages = large()
    assert table.counts == (3,)
    assert table.add_page(0, 2, pages[2])
    assert table.has_digest(2 * HASHES_PER_PAGE + 1)
    assert not table.has_digest(2 * HASHES_PER_PAGE - 1)
    with pytest.raises(LookupError, match="chunk 2048"):
        table.digest(HASHES_PER_PAGE)
    assert table.add_page(0, 1, pages[1])
    assert table.digest(HASHES_PER_PAGE) == pages[1][:32]
    assert table.digest(2 * HASHES_PER_PAGE - 1) == pages[1][-32:]
    assert table.digest(2 * HASHES_PER_PAGE + 1) == pages[2][32:]
    assert [table.page(0, number) for number in range(4)] == [None, *pages[1:], None]


def test_a_page_is_refused_under_another_number() -> None:
    table, pages = large()
    for number in range(-1, 5):
        for page_number, page in enumerate(pages):
            assert table.add_page(0, number, page) == (number == page_number)


@pytest.mark.parametrize("length", [0, 32, 64, 128, 65_536])
def test_a_page_of_another_length_is_refused_even_if_its_hash_is_right(
    length: int,
) -> None:
    page = bytes(length)
    assert not table_of(len(DATA), [page]).add_page(0, 0, page)


@pytest.mark.parametrize("length", [0, 6, 8, CHUNK, CHUNK + 1])
def test_a_chunk_of_another_length_is_refused_even_if_its_hash_is_right(
    length: int,
) -> None:
    chunks = [*SLICES[:2], bytes(length)]
    page = b"".join(map(chunk_digest, chunks))
    table = table_of(len(DATA), [page])
    assert table.add_page(0, 0, page)
    assert table.verifies(0, chunks[0])
    assert not table.verifies(2, chunks[2])


def test_a_page_is_copied_when_it_is_verified() -> None:
    table, page = small()
    received = bytearray(page)
    assert table.add_page(0, 0, received)
    received[:] = bytes(len(received))
    assert table.page(0, 0) == page


def test_a_page_that_arrives_twice_is_kept_once() -> None:
    table, pages = large()
    assert table.add_page(0, 0, pages[0])
    kept = table.page(0, 0)
    assert table.add_page(0, 0, bytearray(pages[0]))
    assert table.page(0, 0) is kept


def test_an_empty_share_has_no_page() -> None:
    table = table_of(0, [])
    assert table.counts == (0,)
    assert not table.add_page(0, 0, b"")
    assert not table.has_digest(0)


def test_chunk_hashes_and_page_hashes_differ() -> None:
    page = bytes(32)
    assert len({page_digest(page), chunk_digest(page)}) == 2


# Trees with more than one level.

COUNT = 131_073  # chunks: one more than fit below the root record
DIGESTS = random.Random(3).randbytes(32 * COUNT)
TOP, PAGES = build_hash_pages(DIGESTS)


def test_the_number_of_chunks_gives_the_number_of_levels() -> None:
    for count, counts in (
        (0, (0,)),
        (1, (1,)),
        (2048, (1,)),
        (2049, (2,)),
        (131_072, (64,)),
        (131_073, (65, 1)),
        (10_000_000, (4883, 3)),
        (1 << 26, (32_768, 16)),
    ):
        assert level_counts(count) == counts
        assert 32 * counts[-1] <= MAX_TOP_SIZE


def test_a_leaf_is_verified_by_the_page_above_it() -> None:
    table = HashTable(Chunks(COUNT * CHUNK, CHUNK), TOP)
    leaf, above = PageKey("hashes", 0, 64), PageKey("hashes", 1, 0)
    assert not table.add_page(0, 64, PAGES[leaf])
    assert list(table.missing(range(COUNT - 1, COUNT))) == [above]
    assert list(table.missing(range(COUNT))) == [above]
    assert not table.add_page(1, 0, PAGES[above][:-1])
    assert table.add_page(1, 0, PAGES[above])
    assert list(table.missing(range(COUNT - 1, COUNT))) == [leaf]
    assert table.add_page(0, 64, PAGES[leaf])
    assert list(table.missing(range(COUNT - 1, COUNT))) == []
    assert table.digest(COUNT - 1) == DIGESTS[-32:]
    assert [key.number for key in table.missing(range(COUNT))] == [*range(64)]
    assert list(table.keys()) == [above, leaf]
    with pytest.raises(LookupError):
        table.digests()


def test_a_whole_tree_has_the_hashes_it_was_built_from() -> None:
    table = HashTable(Chunks(COUNT * CHUNK, CHUNK), TOP)
    while missing := list(table.missing(range(COUNT))):
        for key in missing:
            assert table.add_page(key.level, key.number, PAGES[key])
    assert table.is_complete
    assert table.digests() == DIGESTS
    assert set(table.keys()) == PAGES.keys()


def test_a_page_is_refused_at_another_level() -> None:
    table = HashTable(Chunks(COUNT * CHUNK, CHUNK), TOP)
    above = PAGES[PageKey("hashes", 1, 0)]
    for level, number in ((0, 0), (2, 0), (1, 1), (-1, 0), (1, -1)):
        assert not table.add_page(level, number, above)
        assert table.page(level, number) is None
