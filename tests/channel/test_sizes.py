"""Servers that claim wrong sizes, to which the id does not commit."""

import asyncio
from pathlib import Path

import pytest

from shoal.channel import downloader
from shoal.core.report import stall_timer
from shoal.errors import ShoalError, TargetExistsError, UnfinishedError
from shoal.node.node import Node
from tests.helpers.badpeers import (
    AgreesWithCountOnly,
    ClosesAfterHandshake,
    Drips,
    FlipsABit,
    NeverAnswers,
    StopsHalfway,
)
from tests.helpers.fakeserver import FakeServer, GreetsLate, NodeServer
from tests.helpers.fetching import PATIENCE, banned, fetch, here
from tests.helpers.wire import Content, frame

CONTENT = Content.make(100_100)
WRONG_SIZES = {
    "longer last chunk": {"fileSize": 98 * 1024},
    "shorter last chunk": {"fileSize": 98 * 1024 - 1023},
    "larger chunks": {"chunkSize": 1025, "fileSize": 98 * 1025},
    "chunks of 16 MiB": {"chunkSize": 1 << 24, "fileSize": 98 << 24},
}
ANSWERS = [FakeServer, FlipsABit, NeverAnswers, ClosesAfterHandshake, Drips]


async def test_wrong_sizes_that_fit_the_number_of_hashes_do_not_stop_a_download(
    tmp_path: Path,
) -> None:
    """Each liar then answers in its own way; the slow cases run concurrently."""
    async with asyncio.TaskGroup() as tasks:
        cases = {
            (name, answers.__name__): tasks.create_task(
                _fetch_despite(changes, answers, tmp_path / f"{name}{i}")
            )
            for name, changes in WRONG_SIZES.items()
            for i, answers in enumerate(ANSWERS)
        }
    assert {key: task.result() for key, task in cases.items()} == dict.fromkeys(
        cases, "arrived"
    )


@pytest.mark.parametrize("changes", WRONG_SIZES.values(), ids=WRONG_SIZES)
async def test_an_existing_target_is_compared_with_the_sizes_of_every_server(
    changes: dict[str, int], tmp_path: Path
) -> None:
    out = Path(tmp_path, "out")
    await asyncio.to_thread(out.write_bytes, CONTENT.data)
    async with (
        AgreesWithCountOnly(CONTENT, changes, FakeServer) as liar,
        GreetsLate(CONTENT) as honest,
        Node(here([liar.address, honest.address])) as node,
    ):
        share = await node.fetch_open(
            CONTENT.id,
            out,
            seed=True,
            timeout=PATIENCE,
            on_progress=lambda event: honest.released.set(),  # the liar has joined
        )
    assert share is not None
    assert share.channel.id == CONTENT.id


async def test_another_file_at_the_target_is_reported_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloader, "PROOF_TIME", 0.2)
    out = Path(tmp_path, "out")
    await asyncio.to_thread(out.write_bytes, CONTENT.data[:-1] + b"?")
    async with FakeServer(CONTENT) as server, Node(here([server.address])) as node:
        with pytest.raises(TargetExistsError, match="is not this share"):
            await node.fetch_open(CONTENT.id, out, seed=True, timeout=PATIENCE)
    assert await asyncio.to_thread(out.read_bytes) == CONTENT.data[:-1] + b"?"


class NeverReads(NodeServer):
    """Accept connections as the kernel does for a process that is stopped."""

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("server", "cause"),
    [(NeverReads, "has not answered"), (NodeServer, "do not send the size")],
)
async def test_a_stopped_server_is_not_said_to_send_no_sizes(
    server: type[NodeServer],
    cause: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stall_timer, "SIZES_TIME", 0.1)
    monkeypatch.setattr(downloader, "PROBE_TIME", 0.1)
    async with server(CONTENT) as only:
        with pytest.raises(ShoalError, match=cause):
            await fetch("a-name", tmp_path / "out", [only.address], timeout=3)


class ClaimsNothing(FakeServer):
    """Send a handshake with hashes only, as exercise 9 of the workshop does."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        handshake = dict(self.content.handshake())
        del handshake["fileSize"], handshake["chunkSize"]
        writer.write(frame(handshake))


class ClaimsNothingAndLies(ClaimsNothing, FlipsABit):
    """Claim no sizes and change one bit of every chunk."""


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 100_100, 300_000])
@pytest.mark.parametrize("chunk_size", [1000, 1024, 65_536])
async def test_a_hash_channel_without_sizes_is_fetched_whole(
    size: int, chunk_size: int, tmp_path: Path
) -> None:
    content = Content.make(size, chunk_size)
    async with ClaimsNothing(content) as one, FakeServer(content) as two:
        for name, peers in (("one", [one]), ("both", [one, two])):
            out = tmp_path / name
            await fetch(content.id, out, [each.address for each in peers])
            assert out.read_bytes() == content.data


async def test_sizes_are_measured_in_verified_chunks_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with ClaimsNothingAndLies(CONTENT) as liar, ClaimsNothing(CONTENT) as honest:
        peers = [liar.address, honest.address]
        events = await fetch(CONTENT.id, out, peers)
    assert banned(events) <= {liar.address}
    assert out.read_bytes() == CONTENT.data


def _liar(changes: dict[str, int], answers: type[FakeServer]) -> FakeServer:
    """Return a server that claims `changes` and answers as `answers` does."""

    class Liar(AgreesWithCountOnly):
        async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
            if answers is ClosesAfterHandshake:
                writer.close()
            elif answers is not NeverAnswers:
                await answers.answer(self, index, writer)

    return Liar(CONTENT, changes)


async def _fetch_despite(
    changes: dict[str, int], answers: type[FakeServer], target: Path
) -> str:
    """Download with a liar that is found first; return the outcome as text."""
    async with GreetsLate(CONTENT) as honest, _liar(changes, answers) as liar:
        peers = [liar.address, honest.address]
        download = asyncio.create_task(fetch(CONTENT.id, target, peers, timeout=None))
        await liar.wait_until(lambda: bool(liar.requests))
        honest.released.set()
        try:
            async with asyncio.timeout(30):
                events = await download
        except (TimeoutError, ShoalError) as error:
            return repr(error)
    if answers is FakeServer and banned(events) != {liar.address}:
        return "not banned"
    return "arrived" if _has_arrived(target) else "wrong"


def _has_arrived(target: Path) -> bool:
    return target.read_bytes() == CONTENT.data


async def test_wrong_sizes_do_not_discard_chunks_of_an_earlier_run(
    tmp_path: Path,
) -> None:
    target = tmp_path / "out"
    async with StopsHalfway(CONTENT, 40) as server:
        with pytest.raises(UnfinishedError):
            await fetch(CONTENT.id, target, [server.address], timeout=1)
        answered = set(server.requests[:40])
    changes = {"fileSize": 98 * 1024}
    async with AgreesWithCountOnly(CONTENT, changes) as liar:
        with pytest.raises(ShoalError):
            await fetch(CONTENT.id, target, [liar.address], timeout=1)
        assert liar.requests
    async with FakeServer(CONTENT) as honest:
        await fetch(CONTENT.id, target, [honest.address])
    assert answered.isdisjoint(honest.requests)
