"""Check that pages are verified one by one, and chunks by the hashes in them."""

import random

import pytest

from shoal.core.crypto.hashes import chunk_digest, page_digest
from shoal.core.manifest.manifest import HashTable
from shoal.core.manifest.pages import HASHES_PER_PAGE
from shoal.core.manifest.root import VERSION, Root
from tests.core.reference import blake3_derive

CHUNK = 16_384
DATA = random.Random(1).randbytes(2 * CHUNK + 7)
SLICES = [DATA[:CHUNK], DATA[CHUNK : 2 * CHUNK], DATA[2 * CHUNK :]]


def table_of(size: int, pages: list[bytes]) -> HashTable:
    root = Root(
        version=VERSION,
        name="x",
        size=size,
        chunk_size=CHUNK,
        hashes=b"".join(map(page_digest, pages)),
    )
    return HashTable(root)


def small() -> tuple[HashTable, bytes]:
    page = b"".join(map(chunk_digest, SLICES))
    return table_of(len(DATA), [page]), page


def large() -> tuple[HashTable, list[bytes]]:
    rng = random.Random(2)
    pages = [rng.randbytes(65_536), rng.randbytes(65_536), rng.randbytes(64)]
    return table_of((2 * HASHES_PER_PAGE + 2) * CHUNK, pages), pages


def test_a_page_verifies_its_chunks_and_no_others() -> None:
    table, page = small()
    assert table.add_page(0, memoryview(bytearray(page)))
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
            assert not table.add_page(0, changed)
    assert table.page(0) is None


@pytest.mark.parametrize("length", [0, 1, 31, 32, 64, 95, 97, 128, 65_536, 65_537])
def test_a_page_of_another_length_is_refused(length: int) -> None:
    table, page = small()
    assert not table.add_page(0, (page * 700)[:length])


def test_pages_may_arrive_in_any_order() -> None:
    table, pages = large()
    assert table.page_count == 3
    assert table.add_page(2, pages[2])
    assert table.has_digest(2 * HASHES_PER_PAGE + 1)
    assert not table.has_digest(2 * HASHES_PER_PAGE - 1)
    with pytest.raises(LookupError, match="page 1"):
        table.digest(HASHES_PER_PAGE)
    assert table.add_page(1, pages[1])
    assert table.digest(HASHES_PER_PAGE) == pages[1][:32]
    assert table.digest(2 * HASHES_PER_PAGE - 1) == pages[1][-32:]
    assert table.digest(2 * HASHES_PER_PAGE + 1) == pages[2][32:]
    assert [table.page(number) for number in range(4)] == [None, *pages[1:], None]


def test_a_page_is_refused_under_another_number() -> None:
    table, pages = large()
    for number in range(-1, 5):
        for page_number, page in enumerate(pages):
            assert table.add_page(number, page) == (number == page_number)


@pytest.mark.parametrize("length", [0, 32, 64, 128, 65_536])
def test_a_page_of_another_length_is_refused_even_if_its_hash_is_right(
    length: int,
) -> None:
    page = bytes(length)
    assert not table_of(len(DATA), [page]).add_page(0, page)


@pytest.mark.parametrize("length", [0, 6, 8, CHUNK, CHUNK + 1])
def test_a_chunk_of_another_length_is_refused_even_if_its_hash_is_right(
    length: int,
) -> None:
    chunks = [*SLICES[:2], bytes(length)]
    page = b"".join(map(chunk_digest, chunks))
    table = table_of(len(DATA), [page])
    assert table.add_page(0, page)
    assert table.verifies(0, chunks[0])
    assert not table.verifies(2, chunks[2])


def test_a_page_is_copied_when_it_is_verified() -> None:
    table, page = small()
    received = bytearray(page)
    assert table.add_page(0, received)
    received[:] = bytes(len(received))
    assert table.page(0) == page


def test_a_page_that_arrives_twice_is_kept_once() -> None:
    table, pages = large()
    assert table.add_page(0, pages[0])
    kept = table.page(0)
    assert table.add_page(0, bytearray(pages[0]))
    assert table.page(0) is kept


def test_an_empty_share_has_no_page() -> None:
    table = table_of(0, [])
    assert table.page_count == 0
    assert not table.add_page(0, b"")
    assert not table.has_digest(0)


def test_chunk_hashes_and_page_hashes_differ() -> None:
    page = bytes(32)
    assert len({page_digest(page), chunk_digest(page)}) == 2
