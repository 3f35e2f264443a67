"""The Python API as a program uses it: share, fetch, list, read, cancel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

import shoal
from shoal.core.report.events import DownloadEvent, ShareEvent
from shoal.errors import NotFoundError, TargetExistsError, UsageError
from shoal.swarm.fetch import FetchResult
from shoal.swarm.share import SealedShare
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, SlowHolder, make_holding

CHUNK = 16_384
FILES = {
    "a.txt": b"first\nsecond\n",
    "deep/er/b.bin": bytes(range(256)) * 300,
    "deep/c.sh": b"#!/bin/sh\n",
    "empty": b"",
}
BIG = make_holding(200 * CHUNK, chunk_size=CHUNK)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder named `model`."""
    top = tmp_path / "model"
    for path, data in FILES.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(data)
    (top / "deep/c.sh").chmod(0o755)
    return top


@asynccontextmanager
async def both(path: Path) -> AsyncIterator[tuple[SealedShare, shoal.Node]]:
    """Share a path; yield the share and a node that knows its address."""
    async with shoal.Node(here()) as node:
        share = await node.share(path, chunk_size=CHUNK)
        address = shoal.Address("127.0.0.1", share.port)
        async with shoal.Node(here([address])) as other:
            yield share, other


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def test_a_folder_is_fetched_to_the_given_path(folder: Path) -> None:
    async with both(folder) as (share, node):
        out = folder.parent / "out"
        result = await node.fetch(str(share.link), f"{out}/", keep_exec=True)
    assert result.path == out
    assert contents(out) == FILES
    assert (out / "deep/c.sh").stat().st_mode & 0o100
    assert result.manifest.root.name == "model"
    assert result.share is None


async def test_a_file_is_fetched_into_a_folder_or_to_a_path(folder: Path) -> None:
    async with both(folder / "a.txt") as (share, node):
        (folder / "in").mkdir()
        inside = await node.fetch(share.link, f"{folder}/in/")
        named = await node.fetch(share.link, folder / "copy")
        below = await node.fetch(share.link, folder=folder / "deep")
    assert inside.path == folder / "in/a.txt"
    assert named.path == folder / "copy"
    assert below.path == folder / "deep/a.txt"
    assert {each.path.read_bytes() for each in (inside, named, below)} == {
        FILES["a.txt"]
    }


async def test_options_select_the_files_to_share_and_to_fetch(folder: Path) -> None:
    async with shoal.Node(here()) as node:
        share = await node.share(
            folder, exclude="empty", name="other", public=True, chunk_size=CHUNK
        )
        assert share.manifest.root.name == "other"
        assert share.manifest.root.salt is None
        address = shoal.Address("127.0.0.1", share.port)
        async with shoal.Node(here([address])) as reader:
            out = folder.parent / "out"
            await reader.fetch(share.link, out, include=["deep"], exclude="**/*.sh")
    assert set(contents(out)) == {"deep/er/b.bin"}


async def test_an_unknown_option_is_a_type_error(folder: Path) -> None:
    async with shoal.Node(here()) as node:
        with pytest.raises(TypeError, match="colour"):
            await node.share(folder, colour="red")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="timout"):
            shoal.Node(timout=3)  # type: ignore[call-arg]


async def test_share_reports_hashing_and_joining_peers(folder: Path) -> None:
    events: list[ShareEvent] = []
    async with shoal.Node(here()) as node:
        share = await node.share(folder, on_progress=events.append)
        size = share.manifest.root.size
        assert events[-1] == shoal.Hashing(size, size)
        address = shoal.Address("127.0.0.1", share.port)
        async with shoal.Node(here([address])) as other:
            await other.fetch(share.link, folder.parent / "out")
            await asyncio.wait_for(share.shared(), 10)
    assert any(isinstance(event, shoal.PeerJoined) for event in events)


async def test_fetching_yields_events_and_last_the_result(folder: Path) -> None:
    async with both(folder) as (share, node):
        out = folder.parent / "out"
        events = [event async for event in node.fetching(share.link, out)]
    assert isinstance(events[-1], FetchResult)
    assert events[-1].path == out
    assert any(isinstance(event, shoal.Started) for event in events)
    done = [event for event in events if isinstance(event, shoal.Progress)]
    assert done[-1].done == share.manifest.root.size


async def test_an_error_of_on_progress_ends_the_fetch(tmp_path: Path) -> None:
    async with Holder(BIG) as holder, shoal.Node(here([holder.address])) as node:

        def refuse(event: DownloadEvent) -> None:
            if isinstance(event, shoal.Started):
                raise RuntimeError("no more of this")

        with pytest.raises(RuntimeError, match="no more"):
            await node.fetch(BIG.link, tmp_path / "out", on_progress=refuse)
        assert not (tmp_path / "out").exists()
        events: list[DownloadEvent] = []
        await node.fetch(BIG.link, tmp_path / "out", on_progress=events.append)
    assert any(isinstance(event, shoal.Progress) for event in events)


@pytest.mark.parametrize("way", ["cancel", "close"])
async def test_verified_chunks_of_a_cancelled_fetch_are_not_fetched_again(
    tmp_path: Path, way: str
) -> None:
    out = tmp_path / "out"
    async with SlowHolder(BIG, 100) as slow, shoal.Node(here([slow.address])) as node:
        if way == "cancel":
            task = asyncio.create_task(node.fetch(BIG.link, out))
            await slow.until(lambda: len(slow.sent) > 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            async with aclosing(node.fetching(BIG.link, out)) as events:
                async for event in events:
                    if isinstance(event, shoal.Progress) and event.done > 20 * CHUNK:
                        break
        sent = set(slow.sent)
    async with Holder(BIG) as holder, shoal.Node(here([holder.address])) as node:
        reported: list[DownloadEvent] = []
        await node.fetch(BIG.link, out, on_progress=reported.append)
        (started,) = [event for event in reported if isinstance(event, shoal.Started)]
    # Chunks in flight, and chunks that arrived while it stopped, are not kept.
    assert started.resumed > 10
    assert started.resumed <= len(sent)
    assert len(holder.sent) <= 200 - started.resumed + 2
    assert out.read_bytes() == b"".join(BIG.chunk(i) for i in range(200))


async def test_cancelling_a_share_ends_its_hashing(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(8 << 30)
    async with shoal.Node(here()) as node:
        hashing = asyncio.Event()
        task = asyncio.create_task(
            node.share(path, on_progress=lambda event: hashing.set())
        )
        async with asyncio.timeout(30):
            await hashing.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        # The hashing thread has ended too, so the next share can use it.
        assert (await node.share(Path(__file__))).port


async def test_fetch_raises_a_typed_error(folder: Path) -> None:
    async with both(folder) as (share, node):
        with pytest.raises(TargetExistsError):
            await node.fetch(share.link, folder)
        with pytest.raises(UsageError, match="mistyped"):
            await node.fetch(str(share.link)[:-1], folder)
        absent = make_holding(7).link
        with pytest.raises(NotFoundError):
            await node.fetch(absent, folder.parent / "x", timeout=0.3)


async def test_a_seeded_share_is_served_until_the_node_is_closed(folder: Path) -> None:
    async with both(folder) as (share, node):
        fetched = await node.fetch(share.link, folder.parent / "out", seed=True)
        assert fetched.share is not None
        await share.leave()
        address = shoal.Address("127.0.0.1", fetched.share.port)
        async with shoal.Node(here([address])) as third:
            await third.fetch(share.link, folder.parent / "again")
    assert contents(folder.parent / "again") == FILES


async def test_stat_and_list_describe_a_share_its_folders_and_files(
    folder: Path,
) -> None:
    async with both(folder) as (share, node):
        link = share.link
        whole = await node.stat(link)
        assert (whole.name, whole.path, whole.is_folder) == ("model", "", True)
        assert (whole.size, whole.files) == (sum(map(len, FILES.values())), 4)
        deep = await node.stat(link, "deep/")
        assert (deep.name, deep.size, deep.files) == ("deep", 76_810, 2)
        script = await node.stat(link, "deep/c.sh")
        assert (script.is_folder, script.executable, script.size) == (False, True, 10)
        assert [file.path for file in await node.list(link)] == sorted(FILES)
        below = [file.path for file in await node.list(link, "deep")]
        assert below == ["deep/c.sh", "deep/er/b.bin"]
        assert [f.path for f in await node.list(link, "a.txt")] == ["a.txt"]
        for look in (node.stat, node.list):
            with pytest.raises(NotFoundError, match="no 'dee'"):
                await look(link, "dee")
        manifest = await node.manifest(link, with_files=False)
        assert manifest.root.is_folder


async def test_stat_of_a_single_file_needs_no_path(folder: Path) -> None:
    async with both(folder / "a.txt") as (share, node):
        assert (await node.stat(share.link)).name == "a.txt"
        assert (await node.stat(share.link, "a.txt")).size == 13
        assert len(await node.list(share.link)) == 1
        with pytest.raises(NotFoundError):
            await node.stat(share.link, "b.txt")


async def test_a_file_of_a_folder_is_read_by_its_path(folder: Path) -> None:
    async with both(folder) as (share, node):
        for path, data in FILES.items():
            async with node.open(str(share.link), path) as file:
                assert file.size == len(data)
                assert await file.read() == data
        with pytest.raises(UsageError, match="name one"):
            await node.open(share.link)
        with pytest.raises(NotFoundError, match="no .x. in"):
            await node.open(share.link, "x")


async def test_a_node_reads_its_own_share_from_the_disk(folder: Path) -> None:
    async with shoal.Node(here()) as node:
        share = await node.share(folder)
        assert (await node.stat(share.link)).files == 4
        async with node.open(share.link, "deep/er/b.bin") as file:
            assert await file.read() == FILES["deep/er/b.bin"]


async def test_one_node_can_stat_read_and_fetch_the_same_share(folder: Path) -> None:
    async with both(folder) as (share, node):
        await node.stat(share.link)
        async with node.open(share.link, "a.txt") as file:
            out = folder.parent / "out"
            fetched = await node.fetch(share.link, out, seed=True)
            assert await file.read() == FILES["a.txt"]
        assert fetched.share is not None
        # No other peer has it any more.
        await share.leave()
        for path, data in FILES.items():
            async with node.open(share.link, path, timeout=5) as file:
                assert await file.read() == data
    assert contents(out) == FILES


async def test_a_share_can_be_read_while_it_is_fetched(tmp_path: Path) -> None:
    async with SlowHolder(BIG, 100) as slow, shoal.Node(here([slow.address])) as node:
        task = asyncio.create_task(node.fetch(BIG.link, tmp_path / "out"))
        await slow.until(lambda: len(slow.sent) > 5)
        async with node.open(BIG.link) as file:
            file.seek(-CHUNK, 2)
            assert await file.read() == BIG.chunk(199)
            assert not task.done()
        task.cancel()
        await asyncio.wait([task])


async def test_verify_compares_local_files_with_the_link(folder: Path) -> None:
    async with both(folder) as (share, node):
        assert await node.verify(share.link, str(folder))
        (folder / "a.txt").write_bytes(b"First\nsecond\n")
        with pytest.raises(shoal.VerificationError):
            await node.verify(share.link, folder)


async def test_an_open_channel_is_fetched_by_the_text_of_its_id(tmp_path: Path) -> None:
    source = tmp_path / "notes.txt"
    source.write_bytes(b"n" * 3000)
    async with shoal.Node(here()) as node:
        named = await node.share_open(source, "team-notes")
        hashed = await node.share_open(str(source))
        for share in (named, hashed):
            address = shoal.Address("127.0.0.1", share.port)
            async with shoal.Node(here([address])) as other:
                out = tmp_path / share.channel.id
                await other.fetch_open(share.channel.id, out)
                assert out.read_bytes() == source.read_bytes()
                assert await other.fetch_chunk(share.channel.id, 2) == b"n" * 952


async def test_arguments_override_environment_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOAL_LAN_ONLY", "1")
    monkeypatch.setenv("SHOAL_LIMIT_UP", "10M")
    monkeypatch.setenv("SHOAL_TIMEOUT", "2m")
    async with shoal.Node(limit_up="1K", peers="127.0.0.1:1") as node:
        assert node.settings.lan_only
        assert node.settings.limit_up == 1024
        assert node.settings.timeout == 120
        assert node.settings.peers == (shoal.Address("127.0.0.1", 1),)
    with pytest.raises(TypeError, match="not both"):
        shoal.Node(here(), port=1)


async def test_the_timeout_setting_applies_to_every_call() -> None:
    async with shoal.Node(
        lan_only=True, no_lan=True, interfaces="127.0.0.1", timeout=0.2
    ) as node:
        with pytest.raises(NotFoundError, match=r"within 0\.2 s"):
            await node.stat(BIG.link)
