"""Every member of a swarm may be killed at any moment and resumes after a restart.

A source and two downloaders exchange a folder with limited rates. `kill -9` ends any of
them again and again, and the same command starts it again.
"""

import asyncio
import json
import random
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import free_port, link_of, peer_of, run, share
from tests.helpers.folders import list_folder, make_folder
from tests.helpers.holder import Holder, SlowHolder, make_holding

CHUNK = 65_536
PATIENCE = 60.0  # seconds


class Participant:
    """A member of the swarm that is restarted after a kill."""

    def __init__(self, *args: object) -> None:
        self.args = (*args, "--json")
        self.program = run(*self.args)
        self._said = 0  # verified bytes that it has reported, in any run

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return its events of one kind in this run."""
        lines = self.program.find(rf'"event": ?"{kind}"')
        return [json.loads(match.string) for match in lines]

    @property
    def is_complete(self) -> bool:
        """Return True if the download is complete."""
        return bool(self.events("complete"))

    def kill(self) -> None:
        """Kill and restart the member."""
        self.program.kill()
        self.check()
        self.program = run(*self.args)

    def check(self) -> None:
        """Check that verified chunks of earlier runs were not fetched again."""
        assert "Traceback" not in self.program.stderr
        for start in self.events("start"):
            if "resumed" in start:
                assert start["resumed"] * CHUNK >= self._said, "chunks were lost"
        for progress in self.events("progress"):
            self._said = max(self._said, progress.get("done", 0))


class Swarm:
    """A source and two downloaders."""

    def __init__(self, source: Path, outs: list[Path], limit: str) -> None:
        ports = [free_port() for _ in range(1 + len(outs))]
        options = ("--limit-up", limit)
        sharing = ("--chunk-size", CHUNK, "--port", ports[0])
        self.source = Participant("share", source, *sharing, *options)
        link = json.loads(self.source.program.wait_line('"link"').string)["link"]
        peers = [word for port in ports for word in ("--peer", f"127.0.0.1:{port}")]
        self.fetching = [
            Participant(
                "get", link, "-o", out, "--seed", "--port", port, *peers, *options
            )
            for out, port in zip(outs, ports[1:], strict=True)
        ]

    @property
    def all(self) -> list[Participant]:
        return [self.source, *self.fetching]

    @property
    def is_complete(self) -> bool:
        return all(each.is_complete for each in self.fetching)

    def __enter__(self) -> "Swarm":
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.all:
            each.program.kill()


def fetch_while_killing(folder: Path, kills: int, seed: int) -> int:
    """Fetch once with at most this many kills; return the number of kills."""
    rng = random.Random(seed)
    source = folder / "source"
    outs = [folder / f"out-{number}" for number in range(2)]
    killed = 0
    with Swarm(source, outs, "1200K") as swarm:
        while killed < kills and not swarm.is_complete:
            # At a random moment, even right after the start.
            time.sleep(rng.uniform(0.1, 1.2))
            rng.choice(swarm.all).kill()
            killed += 1
        for each in swarm.fetching:
            each.program.wait_line('"event":"complete"', PATIENCE)
            each.check()
    content = list_folder(source)
    for out in outs:
        assert list_folder(out) == content
        shutil.rmtree(out)
    assert [path.name for path in folder.iterdir()] == ["source"]
    return killed


def kill_often(folder: Path, kills: int) -> None:
    make_folder(folder / "source", 200, sizes=(0, 160_000))
    left, seed = kills, 1
    while left > 0:
        left -= fetch_while_killing(folder, left, seed)
        seed += 1


def test_ten_kills(tmp_path: Path) -> None:
    kill_often(tmp_path, 10)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_two_hundred_kills(tmp_path: Path) -> None:
    kill_often(tmp_path, 200)


async def test_no_verified_chunk_is_requested_again(tmp_path: Path) -> None:
    holding = make_holding(400 * 16_384 + 5)
    out = tmp_path / "out"
    rng = random.Random(3)
    known: set[int] = set()
    async with SlowHolder(holding, 200) as holder:
        args = ("get", holding.link, "-o", out, "--peer", holder.address)
        for _ in range(6):
            holder.talks.clear()
            with run(*args):
                enough = len(known) + rng.randint(1, 50)
                await holder.until(partial(has_chunks, holder, enough))
            (talk,) = holder.talks
            assert known <= talk.announced, "it lost chunks"
            assert len(talk.announced) <= 380, "it was killed too late"
            assert known.isdisjoint(talk.requested), "it requested stored chunks"
            known |= talk.announced
        holder.talks.clear()
        with run(*args) as program:
            ended = await asyncio.to_thread(program.finish)
        assert known.isdisjoint(holder.requested)
    assert ended.code == 0
    assert out.read_bytes() == b"".join(map(holding.chunk, range(401)))


async def test_chunks_edited_between_runs_are_fetched_again(
    tmp_path: Path,
) -> None:
    """Nothing else is removed."""
    holding = make_holding(300 * 16_384 + 5)
    out = tmp_path / "out"
    async with SlowHolder(holding, 200) as holder:
        args = ("get", holding.link, "-o", out, "--peer", holder.address)
        with run(*args):
            await holder.until(partial(has_chunks, holder, 60))
        known = set(holder.talks[0].announced)
        edited = set(random.Random(4).sample(sorted(known), 5))
        edit_chunks(tmp_path, edited)
        holder.sent.clear()
        with run(*args) as program:
            ended = await asyncio.to_thread(program.finish)
        assert ended.code == 0, ended.stderr
        assert edited <= set(holder.sent)
        assert (known - edited).isdisjoint(holder.sent)
    assert out.read_bytes() == b"".join(map(holding.chunk, range(301)))


def edit_chunks(folder: Path, indexes: set[int]) -> None:
    """Change a few bytes of each chunk without changing the size of the file."""
    (data,) = folder.glob(".out.*/data")
    with data.open("r+b") as file:
        for index in indexes:
            file.seek(index * 16_384 + 9)
            file.write(b"edited")


def has_chunks(holder: Holder, number: int) -> bool:
    """Return True if a peer has announced this many chunks."""
    return any(len(talk.announced) >= number for talk in holder.talks)


def test_a_download_can_be_resumed_after_all_peers_left(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "source", 40, sizes=(50_000, 100_000))
    port = free_port()
    sharing = (source, "--chunk-size", CHUNK, "--port", port, "--limit-up", "800K")
    out = tmp_path / "my out"
    with share(*sharing) as sharer:
        link = link_of(sharer)
        args = ("get", link, "-o", out, "--peer", peer_of(sharer), "--timeout", 2)
        with run(*args, "--json") as program:
            program.wait_line('"progress","done":[1-9]')
            sharer.kill()
            ended = program.finish()
    assert ended.code == 7
    assert f"shoal get {link} -o '{out}' --peer" in ended.stderr
    assert not out.exists()
    resumes(args, out, sharing)


def resumes(args: tuple[object, ...], out: Path, sharing: tuple[object, ...]) -> None:
    """Check that the same command resumes the download from a new sharer."""
    with share(*sharing), run(*args, "--json") as program:
        start = json.loads(program.wait_line('"resumed"').string)
        assert start["resumed"] > 0
        assert program.finish().code == 0
    source = sharing[0]
    assert isinstance(source, Path)
    assert list_folder(out) == list_folder(source)
