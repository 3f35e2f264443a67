"""Downloads from honest and misbehaving servers, over real sockets."""

import asyncio
from pathlib import Path

import pytest

from shoal.core.report.events import DownloadEvent, PeerLeft, Progress, Started
from shoal.errors import (
    NotFoundError,
    ShoalError,
    UnfinishedError,
    VerificationError,
)
from tests.helpers.badpeers import (
    ClosesAfterHandshake,
    ClosesAtOnce,
    Drips,
    EndlessLength,
    FlipsABit,
    NeverAnswers,
    NeverGreets,
    SendsAnother,
    SendsShort,
    SendsUnsolicited,
    SendsZeroes,
    SizesDisagree,
    StopsHalfway,
    WrongHashes,
)
from tests.helpers.fakeserver import FakeServer, GreetsLate
from tests.helpers.fetching import banned, fetch
from tests.helpers.wire import Content

CONTENT = Content.make(100_100)
LIARS = [FlipsABit, SendsAnother, SendsShort, SendsZeroes]
BROKEN = [
    *(ClosesAfterHandshake, ClosesAtOnce, EndlessLength, NeverAnswers, NeverGreets),
    *(SendsUnsolicited, Drips),
]
LIES_AT_ONCE = [SizesDisagree, WrongHashes]


async def fetch_all(folder: Path, *servers: FakeServer) -> list[DownloadEvent]:
    """Download from these servers, check the bytes, and return the events."""
    addresses = [server.address for server in servers]
    events = await fetch(CONTENT.id, folder / "out", addresses)
    assert (folder / "out").read_bytes() == CONTENT.data
    return events


@pytest.mark.parametrize("kind", LIARS)
async def test_a_liar_is_banned_and_its_chunks_are_requested_from_another_server(
    kind: type[FakeServer], tmp_path: Path
) -> None:
    async with kind(CONTENT) as liar, FakeServer(CONTENT) as honest:
        events = await fetch_all(tmp_path, liar, honest)
    assert banned(events) == {liar.address}
    assert liar.connections == 1
    verified = [each.chunks for each in events if isinstance(each, PeerLeft)]
    assert 0 in verified


@pytest.mark.parametrize("kind", LIES_AT_ONCE)
async def test_a_false_handshake_is_reported_as_a_ban(
    kind: type[FakeServer], tmp_path: Path
) -> None:
    async with kind(CONTENT) as liar, GreetsLate(CONTENT) as honest:
        events = await fetch(
            CONTENT.id,
            tmp_path / "out",
            [liar.address, honest.address],
            on_event=lambda each: honest.released.set() if banned([each]) else None,
        )
    assert (tmp_path / "out").read_bytes() == CONTENT.data
    assert banned(events) == {liar.address}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_server_does_not_stop_the_download(
    kind: type[FakeServer], tmp_path: Path
) -> None:
    async with kind(CONTENT) as broken, FakeServer(CONTENT) as honest:
        events = await fetch_all(tmp_path, broken, honest)
    assert broken.connections >= 1
    assert not banned(events)


async def test_one_honest_server_among_nine_liars_is_enough(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        servers = [LIARS[i % len(LIARS)](CONTENT) for i in range(9)]
        servers.append(FakeServer(CONTENT))
        for server in servers:
            tasks.create_task(server.start())
    events = await fetch_all(tmp_path, *servers)
    for server in servers:
        await server.aclose()
    assert banned(events) <= {server.address for server in servers[:9]}


async def test_two_servers_share_the_work(tmp_path: Path) -> None:
    content = Content.make(2 << 20, 4096)
    async with FakeServer(content) as one, FakeServer(content) as two:
        await fetch(content.id, tmp_path / "out", [one.address, two.address])
    assert one.requests
    assert two.requests
    assert set(one.requests) | set(two.requests) == set(range(content.count))
    assert len(one.requests) + len(two.requests) <= content.count + 256


async def test_a_server_found_later_finishes_the_download(tmp_path: Path) -> None:
    async with StopsHalfway(CONTENT, 10) as first, GreetsLate(CONTENT) as late:
        download = asyncio.create_task(
            fetch(CONTENT.id, tmp_path / "out", [first.address, late.address])
        )
        await first.wait_until(lambda: len(first.requests) > 10)
        late.released.set()
        await download
    assert (tmp_path / "out").read_bytes() == CONTENT.data


async def test_two_dripping_servers_do_not_delay_an_honest_one(
    tmp_path: Path,
) -> None:
    content = Content.make(3 * 1024)
    async with Drips(content) as one, Drips(content) as two:
        async with GreetsLate(content) as honest:
            servers = [one, two, honest]
            download = asyncio.create_task(
                fetch(content.id, tmp_path / "out", [s.address for s in servers])
            )
            # Each chunk is requested from both, so not from a third until one fails.
            for each in (one, two):
                await each.wait_until(lambda each=each: bool(each.requests))  # type: ignore[misc]
            honest.released.set()
            await download
    assert (tmp_path / "out").read_bytes() == content.data


async def test_only_liars_raise_a_verification_error(tmp_path: Path) -> None:
    async with FlipsABit(CONTENT) as one, WrongHashes(CONTENT) as two:
        with pytest.raises(VerificationError, match="All 2 peers found"):
            await fetch(
                CONTENT.id, tmp_path / "out", [one.address, two.address], timeout=2
            )
    assert _is_empty(tmp_path)


async def test_no_server_in_time_is_a_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="found no peer"):
        await fetch(CONTENT.id, tmp_path / "out", [], timeout=0.5)
    assert _is_empty(tmp_path)


async def test_chunks_of_different_sizes_are_no_file(tmp_path: Path) -> None:
    class Sizeless(FakeServer):
        async def greet(self, writer: asyncio.StreamWriter) -> None:
            from tests.helpers.wire import frame

            handshake = self.content.handshake(fileSize=None, chunkSize=None)
            writer.write(frame(handshake))

    class Uneven(Content):
        """Move the last byte of the first chunk into the last."""

        def chunk(self, index: int) -> bytes:
            short = self.data[: self.chunk_size - 900]
            if index == 0:
                return short
            return self.data[len(short) :]

    async with Sizeless(Uneven.make(1500)) as server:
        with pytest.raises(ShoalError, match=r"fetch_chunk\(\)") as caught:
            await fetch(server.content.id, tmp_path / "out", [server.address])
    assert caught.value.exit_code == 1


async def test_a_resumed_download_requests_only_missing_chunks(tmp_path: Path) -> None:
    target = tmp_path / "out"
    async with StopsHalfway(CONTENT, 40) as server:
        with pytest.raises(UnfinishedError, match="call it again to resume"):
            await fetch(CONTENT.id, target, [server.address], timeout=1)
        answered = set(server.requests[:40])
    async with FakeServer(CONTENT) as other:
        events = await fetch(CONTENT.id, target, [other.address])
    assert set(other.requests) == set(range(CONTENT.count)) - answered
    assert len(other.requests) == CONTENT.count - len(answered)
    started = next(each for each in events if isinstance(each, Started))
    assert started.resumed == 40
    assert target.read_bytes() == CONTENT.data


async def test_progress_grows_and_ends_at_the_size(tmp_path: Path) -> None:
    async with FakeServer(CONTENT) as server:
        events = await fetch(CONTENT.id, tmp_path / "out", [server.address])
    done = [each.done for each in events if isinstance(each, Progress)]
    assert done == sorted(done)
    assert done[-1] == len(CONTENT.data)


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025])
async def test_small_files_arrive(size: int, tmp_path: Path) -> None:
    content = Content.make(size)
    async with FakeServer(content) as server:
        await fetch(content.id, tmp_path / "out", [server.address])
    assert (tmp_path / "out").read_bytes() == content.data


def _is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())
