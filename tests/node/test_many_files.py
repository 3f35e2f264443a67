"""A node requests few pages of a manifest with many files."""

from pathlib import Path

import pytest

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.blocks import BLOCK_SIZE
from shoal.core.manifest.build import build_files, build_manifest
from shoal.core.manifest.chunk_sizes import choose_chunk_size
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_pages import FileEntry
from shoal.errors import NotFoundError
from shoal.node.node import Node
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, Holding, holding_of, make_holding

FOLDERS, EACH = 100, 300
FILES: list[FileEntry] = [
    (f"{folder:03}/{number:04}-of-many.txt", 3, False)
    for folder in range(FOLDERS)
    for number in range(EACH)
]
DATA = b"".join(b"%3d" % (i % 1000) for i in range(FOLDERS * EACH))
HOLDING = make_holding(DATA, files=FILES, name="many")
ALL = sum(key.table == "files" for key in HOLDING.pages)
PATH, _, _ = FILES[12_345]


def of_files(holder: Holder) -> list[int]:
    """Return the levels of the file pages that were requested."""
    return [key.level for key in holder.pages_requested if key.table == "files"]


async def test_one_file_of_many_costs_one_page_of_each_level() -> None:
    assert ALL > 10
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        async with node.open(HOLDING.link, PATH, timeout=10) as file:
            assert await file.read() == DATA[3 * 12_345 : 3 * 12_346]
        assert of_files(holder) == [1, 0]
        with pytest.raises(NotFoundError):
            async with node.open(HOLDING.link, PATH + "x", timeout=10):
                pass
        assert of_files(holder) == [1, 0]


async def test_a_folder_costs_the_pages_that_list_it() -> None:
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        files = await node.list(HOLDING.link, "042/", timeout=10)
        expected = [path for path, _, _ in FILES[42 * EACH : 43 * EACH]]
        assert [file.path for file in files] == expected
        described = await node.stat(HOLDING.link, "042", timeout=10)
        assert (described.files, described.size) == (EACH, 3 * EACH)
        assert 2 <= len(of_files(holder)) <= 3


async def test_the_share_is_described_without_any_page() -> None:
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        described = await node.stat(HOLDING.link, timeout=10)
        assert (described.files, described.size) == (len(FILES), len(DATA))
        assert holder.pages_requested == []


async def test_one_chosen_file_costs_one_page_of_each_level(tmp_path: Path) -> None:
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        out = tmp_path / "out"
        await node.fetch(HOLDING.link, out, include=PATH, timeout=10)
        assert [p for p in out.rglob("*") if p.is_file()] == [out / PATH]
        assert (out / PATH).read_bytes() == DATA[3 * 12_345 : 3 * 12_346]
        assert of_files(holder) == [1, 0]
        assert len(holder.sent) == 1


async def test_all_files_but_some_are_fetched_from_all_pages(tmp_path: Path) -> None:
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        out = tmp_path / "out"
        await node.fetch(HOLDING.link, out, exclude="0[1-9]?", timeout=30)
        assert len(of_files(holder)) == ALL
        found = sorted(str(path.relative_to(out)) for path in out.rglob("*.txt"))
        assert found == [path for path, _, _ in FILES if path.startswith("00")]


def many(count: int) -> Holding:
    """Return a share of files of 100 zero bytes, 1,000 in a folder."""
    entries = ((f"{i // 1000:04}/file-{i:08}.txt", 100, False) for i in range(count))
    chunks = Chunks(100 * count, choose_chunk_size(100 * count))

    def chunk(index: int) -> bytes:
        return bytes(chunks.length(index))

    digests = chunk_digest(chunk(0)) * (chunks.count - 1)
    digests += chunk_digest(chunk(chunks.count - 1))
    files = build_files(entries)
    size, chunk_size = chunks.size, chunks.chunk_size
    return holding_of(build_manifest("x", size, chunk_size, digests, files), chunk)


def sent_by(holder: Holder) -> int:
    """Return the bytes of all pages, blocks and chunks that were sent."""
    holding = holder.holding
    pages = sum(len(holding.pages[key]) for key in holder.pages_requested)
    chunks = sum(map(holding.chunks.length, holder.sent))
    return pages + chunks + BLOCK_SIZE * sum(run.count for run in holder.sent_blocks)


FULL = pytest.param(2_000_000, marks=[pytest.mark.long, pytest.mark.timeout(300)])


@pytest.mark.parametrize("count", [20_000, FULL])
async def test_a_file_or_folder_of_many_costs_less_than_a_mebibyte(count: int) -> None:
    folder, number = f"{count // 2000:04}", count // 2 + 333
    path = f"{folder}/file-{number:08}.txt"
    holding = many(count)
    async with Holder(holding) as holder, Node(here([holder.address])) as node:
        async with node.open(holding.link, path, timeout=30) as file:
            assert await file.read() == bytes(100)
        assert BLOCK_SIZE <= sent_by(holder) < 1 << 20
    async with Holder(holding) as holder, Node(here([holder.address])) as node:
        found = await node.list(holding.link, folder, timeout=30)
        assert [file.path for file in found][333] == path
        assert len(found) == 1000
        assert 0 < sent_by(holder) < 1 << 20
