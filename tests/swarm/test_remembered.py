"""What is in the catalogue is described, verified and shared again without a peer."""

import os
import shutil
from pathlib import Path

import pytest

from shoal.core.names.address import Address
from shoal.core.names.link import Link
from shoal.core.report.events import Notice
from shoal.errors import (
    NotFoundError,
    TargetExistsError,
    UnfinishedError,
    UsageError,
    VerificationError,
)
from shoal.node.node import Node
from shoal.storage.catalogue import Catalogue
from shoal.storage.catalogue_entry import Made
from shoal.storage.disk.disk import Disk
from tests.helpers.fetching import here
from tests.helpers.folders import list_folder, make_folder

CHUNK = 16_384


@pytest.fixture(autouse=True)
def home(own_home: Path) -> Path:
    return own_home


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = make_folder(tmp_path / "source", 30, sizes=(90_000, 200_000))
    (folder / "part-000/file-00003").chmod(0o755)
    return folder


def catalogue(home: Path) -> Catalogue:
    return Catalogue.of_home(home, Disk())


def change_home(monkeypatch: pytest.MonkeyPatch, path: Path) -> Path:
    """Be another user from now on."""
    monkeypatch.setenv("XDG_DATA_HOME", str(path))
    return path / "shoal"


async def fetch(source: Path, out: Path, include: tuple[str, ...] = ()) -> Link:
    """Share a folder with a link of its own, and fetch it."""
    async with Node(here()) as node:
        share = await node.share(source, new_link=True)
        peer = Address("127.0.0.1", share.port)
        async with Node(here([peer])) as other:
            await other.fetch(share.link, out, timeout=10, include=include)
    return share.link


async def test_a_fetched_copy_that_is_shared_has_the_same_link(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_home(monkeypatch, tmp_path / "other")
    copy = tmp_path / "copy"
    link = await fetch(source, copy)
    assert not os.access(copy / "part-000/file-00003", os.X_OK)
    async with Node(here()) as node:
        assert (await node.share(copy)).link == link
    async with Node(here()) as node:
        assert (await node.share(copy, new_link=True)).link != link
    (copy / "part-000/file-00003").write_bytes(b"edited")
    async with Node(here()) as node:
        assert (await node.share(copy)).link != link


async def test_a_copy_is_shared_although_no_share_could_have_the_name_it_has_here(
    source: Path, tmp_path: Path
) -> None:
    copy = tmp_path / os.fsdecode(b"no Unicode: \xff")
    link = await fetch(source, copy)
    async with Node(here()) as node:
        assert (await node.share(copy)).link == link
        (copy / "part-000/file-00003").write_bytes(b"edited")
        with pytest.raises(
            UsageError, match="choose another one with the argument name"
        ):
            await node.share(copy)


async def test_a_copy_of_other_bytes_of_the_same_sizes_has_another_link(
    source: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    link = await fetch(source, copy)
    path = max(copy.rglob("file-*"), key=lambda path: path.stat().st_size)
    path.write_bytes(bytes(path.stat().st_size))
    async with Node(here()) as node:
        share = await node.share(copy)
        assert share.link != link
        assert share.manifest.root.name == "copy"


async def test_what_is_known_is_described_and_verified_without_a_peer(
    source: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    link = await fetch(source, copy)
    async with Node(here()) as node:
        manifest = await node.manifest(link, timeout=0.1)
        assert len(await node.list(link, timeout=0.1)) == 30
        assert (await node.stat(link, timeout=0.1)).size == manifest.root.size
        await node.verify(link, copy, timeout=0.1)
        (copy / "part-000/file-00003").write_bytes(b"edited")
        with pytest.raises(VerificationError):
            await node.verify(link, copy, timeout=0.1)
        with pytest.raises(NotFoundError):
            await node.manifest(Link(bytes(32)), timeout=0.1)


@pytest.mark.reads_local_copies
async def test_a_complete_copy_is_read_without_a_peer(
    source: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    link = await fetch(source, copy)
    shutil.rmtree(source)
    name = "part-000/file-00003"
    async with Node(here()) as node:
        async with node.open(link, name, timeout=0.1) as file:
            assert await file.read() == (copy / name).read_bytes()
        assert await node.fetch_chunk(link, 0, timeout=0.1)
        status = node.status(link)
        assert status.have is not None
        assert status.have.is_complete


@pytest.mark.reads_local_copies
async def test_the_changed_bytes_of_a_copy_are_read_from_peers(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    change_home(monkeypatch, tmp_path / "other")
    async with Node(here()) as sharer:
        share = await sharer.share(source)
        change_home(monkeypatch, tmp_path / "mine")
        peer = Address("127.0.0.1", share.port)
        async with Node(here([peer])) as node:
            await node.fetch(share.link, copy, timeout=10)
        path = max(copy.rglob("file-*"), key=lambda path: path.stat().st_size)
        right = path.read_bytes()
        path.write_bytes(bytes(len(right)))
        name = path.relative_to(copy).as_posix()
        async with Node(here([peer])) as node:
            async with node.open(share.link, name, timeout=10) as file:
                assert await file.read() == right
    async with Node(here()) as node:
        async with node.open(share.link, name, timeout=0.1) as file:
            with pytest.raises(NotFoundError):
                await file.read()


@pytest.mark.reads_local_copies
async def test_of_selected_files_those_are_read_without_a_peer(
    source: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    link = await fetch(source, copy, include=("part-000/file-0000?",))
    shutil.rmtree(source)
    name = "part-000/file-00005"  # between others, so that all of its chunks are here
    async with Node(here()) as node:
        async with node.open(link, name, timeout=0.1) as file:
            assert await file.read() == (copy / name).read_bytes()
        with pytest.raises(NotFoundError):
            async with node.open(link, "part-000/file-00025", timeout=0.1) as file:
                await file.read()


async def test_every_complete_copy_is_served_again(
    source: Path, tmp_path: Path, home: Path
) -> None:
    copy, third = tmp_path / "copy", tmp_path / "third"
    link = await fetch(source, copy)
    shutil.rmtree(source)
    (entry,) = (e for e in catalogue(home).entries() if not e.made.is_shared)
    assert entry.link == link
    async with Node(here()) as node:
        share = await node.seed(entry)
        peer = Address("127.0.0.1", share.port)
        async with Node(here([peer])) as other:
            await other.fetch(link, third, timeout=10)
    assert list_folder(third) == list_folder(copy)


async def test_a_copy_whose_process_was_killed_when_it_had_its_name_is_served(
    source: Path, tmp_path: Path, home: Path
) -> None:
    copy = tmp_path / "copy"
    link = await fetch(source, copy)
    (entry,) = catalogue(home).at(copy)
    unfinished = Made(is_shared=False, is_complete=False)
    catalogue(home).add(link, copy, entry.manifest, unfinished, flush=True)
    (entry,) = catalogue(home).at(copy)
    async with Node(here()) as node:
        await node.seed(entry)
    shutil.rmtree(copy)
    async with Node(here()) as node:
        with pytest.raises(UnfinishedError):
            await node.seed(entry)


async def test_of_chosen_files_the_whole_chunks_are_served_again(
    source: Path, tmp_path: Path, home: Path
) -> None:
    link = await fetch(source, tmp_path / "copy", include=("part-000/file-0000?",))
    (entry,) = (e for e in catalogue(home).entries() if not e.made.is_shared)
    async with Node(here()) as node:
        share = await node.seed(entry)
        have = node.status(link).have
        assert have is not None
        assert 0 < have.count < 11 * 200_000 // 65_536
        peer = Address("127.0.0.1", share.port)
        async with Node(here([peer])) as other:
            await other.fetch_chunk(link, next(iter(have)), timeout=10)


CHOSEN = ("part-000/file-0000?",)


async def test_chosen_files_are_verified_and_served_when_they_are_fetched_again(
    source: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    link = await fetch(source, copy, include=CHOSEN)
    before = list_folder(copy)
    async with Node(here()) as node:
        fetched = await node.fetch(link, copy, seed=True, include=CHOSEN, timeout=5)
        assert fetched.share is not None
        have = node.status(link).have
        assert have is not None
        assert 0 < len(have) < have.size
        peer = Address("127.0.0.1", fetched.share.port)
        async with Node(here([peer])) as other:
            await other.fetch_chunk(link, next(iter(have)), timeout=10)
    assert list_folder(copy) == before


@pytest.mark.parametrize("change", ["edit", "shorten", "remove", "other"])
async def test_chosen_files_that_changed_are_not_served_when_fetched_again(
    change: str, source: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    link = await fetch(source, copy, include=CHOSEN)
    path = max(copy.rglob("file-*"), key=lambda path: path.stat().st_size)
    include = CHOSEN
    match change:
        case "edit":
            path.write_bytes(bytes(path.stat().st_size))
        case "shorten":
            os.truncate(path, 1)
        case "remove":
            path.unlink()
        case "other":
            include = ("part-000/file-0001?",)
    before = list_folder(copy)
    async with Node(here()) as node:
        with pytest.raises((TargetExistsError, NotFoundError)):
            await node.fetch(link, copy, seed=True, include=include, timeout=2)
    assert list_folder(copy) == before


async def test_a_copy_that_has_changed_is_not_served(
    source: Path, tmp_path: Path, home: Path
) -> None:
    copy = tmp_path / "copy"
    await fetch(source, copy)
    path = max(copy.rglob("file-*"), key=lambda path: path.stat().st_size)
    path.write_bytes(bytes(path.stat().st_size))
    shutil.rmtree(source)
    async with Node(here()) as node:
        for entry in catalogue(home).entries():
            with pytest.raises(VerificationError) as raised:
                await node.seed(entry)
            assert str(entry.path) in str(raised.value)


async def test_an_edited_source_is_remembered_with_its_last_link_only(
    tmp_path: Path, home: Path
) -> None:
    source = tmp_path / "file"
    for content in (b"one", b"two"):
        source.write_bytes(content)
        async with Node(here()) as node:
            link = (await node.share(source)).link
    (entry,) = catalogue(home).entries()
    assert (entry.link, entry.path, entry.made) == (link, source, Made(is_shared=True))


async def test_a_home_that_cannot_be_written_is_told_once_with_the_cause(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no-folder").write_bytes(b"")
    change_home(monkeypatch, tmp_path / "no-folder")
    said: list[Notice] = []
    links = set()
    for _ in range(2):
        async with Node(here(), on_notice=said.append) as node:
            links.add((await node.share(source)).link)
        (notice,) = said
        assert "a different link at the next start" in notice.text
        assert str(tmp_path / "no-folder") in notice.text
        assert "XDG_DATA_HOME" in notice.text
        said.clear()
    assert len(links) == 2
    async with Node(here(), on_notice=said.append) as node:
        await node.share(source, public=True)
    assert not said


async def test_a_new_link_stays_that_of_the_same_files(source: Path) -> None:
    selected = ("part-000/*",)
    async with Node(here()) as node:
        old = (await node.share(source)).link
        old_part = (await node.share(source, include=selected)).link
    async with Node(here()) as node:
        new = (await node.share(source, new_link=True)).link
    async with Node(here()) as node:
        assert (await node.share(source)).link == new != old
        # What is selected is another share, with a link of its own.
        assert (await node.share(source, include=selected)).link == old_part
        newest = (await node.share(source, include=selected, new_link=True)).link
    async with Node(here()) as node:
        assert (await node.share(source, include=selected)).link == newest != old_part
        assert (await node.share(source)).link in (new, old)
