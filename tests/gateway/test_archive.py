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

from shoal.core.manifest.file_tree import File
from shoal.core.manifest.manifest import Manifest
from shoal.errors import ManifestError
from shoal.gateway import archive, shares
from shoal.gateway.archive import Contents, archive_blocks, archive_size
from tests.helpers.badholders import SendsZeroes, Silent
from tests.helpers.gateway import get, serving
from tests.helpers.holder import Holder, Holding, Talk, make_holding

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


class Stuck(Holder):
    """Answer no request for a chunk before `release`."""

    def __init__(self, holding: Holding) -> None:
        super().__init__(holding)
        self._waiting: list[tuple[Talk, int]] | None = []

    def on_request(self, talk: Talk, index: int) -> None:
        if self._waiting is None:
            super().on_request(talk, index)
        else:
            self._waiting.append((talk, index))

    def release(self) -> None:
        """Answer the requests, those before and those after."""
        waiting, self._waiting = self._waiting or [], None
        for talk, index in waiting:
            talk.send_chunk(index)


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


@pytest.mark.parametrize(
    ("limit", "most", "reason"),
    [
        ("MAX_ARCHIVED", 2, b"shoal get"),
        ("MAX_MEMORY", archive.FILE_MEMORY * len(FILES), b"too long"),
    ],
)
async def test_too_many_files_and_too_long_names_are_refused_before_pages_are_fetched(
    limit: str, most: int, reason: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, limit, most)
    async with Holder(FOLDER) as holder, serving(holder) as gateway:
        answer = await get(gateway, "zip/0/")
        assert (await get(gateway, "zip/0/a/c/")).status == 200
    assert (answer.status, reason in answer.body) == (403, True)


async def test_pages_of_a_large_table_are_not_loaded_for_an_archive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deep = "/".join(["d" * 250] * 15)
    files = [(f"{deep}/{number:03}", 1, False) for number in range(40)]
    holding = make_holding(bytes(40), name="deep", files=files)
    monkeypatch.setattr(archive, "MAX_PAGES_SIZE", 1)
    monkeypatch.setattr(shares, "FEW_FILES", 1)
    monkeypatch.setattr(shares, "FIRST_CHILDREN", 1)
    async with Holder(holding) as holder, serving(holder) as gateway:
        answer = await get(gateway, "zip/0/")
    assert (answer.status, b"too long" in answer.body) == (403, True)
    assert len(set(holder.pages_requested)) < len(holding.pages)


async def test_archives_at_a_time_share_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive, "MAX_MEMORY", archive.FILE_MEMORY * 5)
    async with Stuck(FOLDER) as holder, serving(holder) as gateway:
        first = asyncio.create_task(get(gateway, "zip/0/"))
        await holder.until(lambda: bool(holder.requested))
        refused = await get(gateway, "zip/0/")
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        holder.release()
        assert (await first).status == 200
        assert (await get(gateway, "zip/0/")).status == 200


async def test_a_name_that_hides_is_not_that_of_an_archive() -> None:
    holding = make_holding(b"key", name=".ssh", files=[("authorized_keys", 3, False)])
    async with Holder(holding) as holder, serving(holder) as gateway:
        answer = await get(gateway, "zip/0/")
    assert answer.headers["content-disposition"].endswith("''_.ssh.zip")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as opened:
        assert opened.namelist() == ["_.ssh/authorized_keys"]


def test_paths_of_a_folder_that_collide_are_refused() -> None:
    for paths in (["d/a", "d/A"], ["d/a", "d/a/b"]):
        files = [File(path, 0) for path in paths]
        table = SimpleNamespace(under=lambda folder, files=files: files)
        root = SimpleNamespace(name="share", is_folder=True)
        manifest = cast(Manifest, SimpleNamespace(root=root, file_table=table))
        with pytest.raises(ManifestError, match="side by side"):
            Contents(manifest, "d")


async def test_an_archive_that_is_not_sent_has_no_end() -> None:
    contents = _contents([(f"{number}", 700) for number in range(9)])
    blocks = archive_blocks(contents, 0, _open)
    sent = await anext(blocks)
    with pytest.MonkeyPatch.context() as patch:
        written: list[bytes] = []

        def write(_: object, data: bytes) -> int:
            written.append(bytes(data))
            return len(data)

        patch.setattr(archive._Pipe, "write", write)
        await blocks.aclose()
    assert sent.startswith(b"PK\3\4")
    assert not any(data.startswith(b"PK\1\2") for data in written)


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
