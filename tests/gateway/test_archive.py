"""All files of a share or folder are sent as one archive that programs can unpack."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.manifest.file_table import File
from shoal.core.manifest.manifest import Manifest
from shoal.gateway import archive
from shoal.gateway.archive import Contents, archive_blocks, archive_size
from tests.helpers.badholders import SendsZeroes, Silent
from tests.helpers.gateway import get, serving
from tests.helpers.holder import Holder, make_holding

FILES = {
    "a/empty": b"",
    "a/ü b.txt": b"hello",
    "a/c/run": b"#!",
    "z.bin": bytes(50_000),
}
FOLDER = make_holding(
    b"".join(FILES[name] for name in sorted(FILES)),
    name="things",
    files=[(name, len(FILES[name]), name == "a/c/run") for name in sorted(FILES)],
    chunk_size=16_384,
)


async def test_a_share_is_sent_as_an_archive_of_its_length() -> None:
    async with Holder(FOLDER) as holder, serving(holder) as gateway:
        head = await get(gateway, "zip/0/", "-I")
        assert not holder.requested
        answer = await get(gateway, "zip/0/")
    assert (head.status, answer.status) == (200, 200)
    assert int(head.headers["content-length"]) == len(answer.body)
    assert answer.headers["content-disposition"].endswith("''things.zip")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as opened:
        assert {each: opened.read(each) for each in opened.namelist()} == {
            f"things/{name}": data for name, data in FILES.items()
        }
        modes = {each.filename: each.external_attr >> 16 for each in opened.filelist}
    assert modes["things/a/c/run"] == 0o100755
    assert modes["things/z.bin"] == 0o100644


async def test_a_folder_of_a_share_is_sent_under_its_own_name() -> None:
    async with Holder(FOLDER) as holder, serving(holder) as gateway:
        answer = await get(gateway, "zip/0/a/")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as opened:
        found = {each: opened.read(each) for each in opened.namelist()}
    assert found == {name: data for name, data in FILES.items() if name[:2] == "a/"}


@pytest.mark.parametrize("path", ["zip/0/nothing/", "zip/0/z.bin", "zip/1/", "zip/0/b"])
async def test_without_such_a_folder_the_status_is_404(path: str) -> None:
    async with Holder(FOLDER) as holder, serving(holder) as gateway:
        assert (await get(gateway, path)).status == 404


async def test_too_many_files_are_refused_before_their_pages_are_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive, "MAX_ARCHIVED", 2)
    async with Holder(FOLDER) as holder, serving(holder) as gateway:
        answer = await get(gateway, "zip/0/")
        assert (await get(gateway, "zip/0/a/c/")).status == 200
    assert (answer.status, b"shoal get" in answer.body) == (403, True)


async def test_a_source_that_sends_nothing_is_told_in_the_status() -> None:
    async with Silent(FOLDER) as holder, serving(holder, timeout=0.5) as gateway:
        answer = await get(gateway, "zip/0/")
    assert answer.status == 504
    assert b"zip" not in answer.body


async def test_bytes_that_do_not_verify_are_not_in_an_archive() -> None:
    async with SendsZeroes(make_holding(40_000)) as holder:
        async with serving(holder, timeout=0.5) as gateway:
            assert (await get(gateway, "zip/0/")).status in (502, 504)


# The length, without gigabytes: where the 64-bit fields begin is set lower.


def _contents(files: list[tuple[str, int]]) -> Contents:
    root = SimpleNamespace(name="share", is_folder=True)
    listed = [File(name, size) for name, size in files]
    manifest = SimpleNamespace(root=root, file_table=None, files=listed)
    return Contents(cast(Manifest, manifest), "")


class _Zeroes:
    """A file of zeroes, as `AsyncFile` is read by the gateway."""

    def __init__(self) -> None:
        self.reader = self

    async def piece(self, start: int, end: int, until: int | None) -> memoryview:
        return memoryview(bytes(min(end - start, 700)))


@asynccontextmanager
async def _open(path: str) -> AsyncIterator[Any]:
    yield _Zeroes()


_SIZES = st.lists(st.integers(0, 3000), max_size=12)


@given(sizes=_SIZES, limit=st.integers(1, 4000), many=st.integers(0, 12))
def test_the_length_is_that_of_the_archive(
    sizes: list[int], limit: int, many: int
) -> None:
    contents = _contents([(f"ü{n}", size) for n, size in enumerate(sizes)])

    async def pack() -> bytes:
        blocks = archive_blocks(contents, 0, _open)
        return b"".join([block async for block in blocks])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", limit)
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", many)
        patch.setattr(archive, "ZIP64_LIMIT", limit)
        patch.setattr(archive, "_MANY", many)
        packed = asyncio.run(pack())
        assert len(packed) == archive_size(contents)
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        assert opened.testzip() is None
        assert [each.file_size for each in opened.filelist] == sizes
