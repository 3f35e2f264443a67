"""A node requests few pages of a manifest with many files."""

from pathlib import Path

import pytest

from shoal.core.manifest.file_pages import FileEntry
from shoal.errors import NotFoundError
from shoal.node.node import Node
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, make_holding

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
