"""The events that a program gets: who has everything, and what a download waits for."""

import asyncio
from pathlib import Path

import pytest

import shoal
from shoal.core.report.events import DownloadEvent, ShareEvent
from tests.helpers.fetching import here

CHUNK = 16_384
WAIT = 20.0  # seconds
FILES = {"a.json": b"{}", "b.bin": bytes(10 * CHUNK), "c.json": bytes(CHUNK)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "model"
    top.mkdir()
    for path, data in FILES.items():
        (top / path).write_bytes(data)
    return top


def at(share: shoal.SealedShare) -> shoal.Settings:
    """Return the settings of a node that knows where a share is served."""
    return here([shoal.Address("127.0.0.1", share.port)])


def only_complete(events: list[ShareEvent]) -> list[shoal.PeerComplete]:
    return [event for event in events if isinstance(event, shoal.PeerComplete)]


async def test_each_peer_that_has_everything_is_reported_and_counted_once(
    folder: Path, tmp_path: Path
) -> None:
    events: list[ShareEvent] = []
    async with shoal.Node(here()) as node, asyncio.timeout(WAIT):
        share = await node.share(folder, chunk_size=CHUNK, on_progress=events.append)
        size = share.manifest.root.size
        assert (share.completed, share.peers) == (0, ())
        async with shoal.Node(at(share)) as first:
            result = await first.fetch(share.link, tmp_path / "1", seed=True)
            assert result.share is not None
            await share.shared()
            (peer,) = share.peers
            assert (peer.has, peer.sent) == (share.manifest.chunks.count, size)
            assert (share.completed, share.peer_count) == (1, 1)
            assert result.share.completed == 1, "the peer that we downloaded from"
        waiting = asyncio.create_task(share.shared(2))
        async with shoal.Node(at(share)) as second:
            await second.fetch(share.link, tmp_path / "2", include="*.json")
            await second.manifest(share.link)
            assert not waiting.done()
            await second.fetch(share.link, tmp_path / "3")
            await waiting
            await second.fetch(share.link, tmp_path / "4")  # the same node once more
    complete = only_complete(events)
    assert [each.number for each in complete] == [1, 2]
    assert [each.has for each in complete] == [size, size]
    assert complete[0].uploaded == size


async def test_a_node_that_seeds_reports_who_completes_after_it(
    folder: Path, tmp_path: Path
) -> None:
    events: list[DownloadEvent] = []
    async with shoal.Node(here()) as node, asyncio.timeout(WAIT):
        source = await node.share(folder)
        async with shoal.Node(at(source)) as middle:
            result = await middle.fetch(
                source.link, tmp_path / "1", seed=True, on_progress=events.append
            )
            assert result.share is not None
            count = len(events)
            async with shoal.Node(at(result.share)) as last:
                await last.fetch(source.link, tmp_path / "2")
                await result.share.shared(2)
    later = events[count:]
    assert [type(event) for event in later][:2] == [
        shoal.PeerJoined,
        shoal.PeerComplete,
    ]


async def test_the_size_of_a_selection_is_that_of_the_chosen_files(
    folder: Path, tmp_path: Path
) -> None:
    events: list[DownloadEvent] = []
    async with shoal.Node(here()) as node, asyncio.timeout(WAIT):
        share = await node.share(folder, chunk_size=CHUNK)
        async with shoal.Node(at(share)) as other:
            await other.fetch(
                share.link,
                tmp_path / "out",
                include="*.json",
                on_progress=events.append,
            )
    size = len(FILES["a.json"]) + len(FILES["c.json"])
    (started,) = (event for event in events if isinstance(event, shoal.Started))
    assert (started.name, started.size, started.done) == ("model", size, 0)
    last = [event for event in events if isinstance(event, shoal.Progress)][-1]
    assert (last.done, last.size, last.sources) == (size, size, 1)
    assert all(e.done <= e.size for e in events if isinstance(e, shoal.Progress))


async def test_a_download_says_what_it_waits_for(folder: Path, tmp_path: Path) -> None:
    steps: list[shoal.Preparing] = []

    def note(event: DownloadEvent) -> None:
        if isinstance(event, shoal.Preparing):
            steps.append(event)

    async with shoal.Node(here()) as node, asyncio.timeout(WAIT):
        share = await node.share(folder)
        async with shoal.Node(at(share)) as other:
            await other.fetch(share.link, tmp_path / "out", on_progress=note)
    assert [(each.step, each.name) for each in steps][-1] == ("checking", "model")
    for port, step in ((None, "searching"), (9, "connecting")):
        steps.clear()
        peers = [] if port is None else [shoal.Address("127.0.0.1", port)]
        async with shoal.Node(here(peers)) as other:
            target = tmp_path / "none"
            with pytest.raises(shoal.NotFoundError):
                await other.fetch(share.link, target, timeout=1, on_progress=note)
        assert (steps[-1].step, steps[-1].name) == (step, None)
        assert steps[-1].found == (port is not None)
