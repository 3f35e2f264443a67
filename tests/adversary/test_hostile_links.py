"""Fetching a hostile link writes nothing.

A holder serves each manifest of the corpus of `tests.adversary.paths`. This process
fetches a fifth of them, or all with `--long`, and the command a sample.
"""

import asyncio
import os
from pathlib import Path
from random import Random

import msgspec
import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.pages import MALFORMED
from shoal.core.names.link import Link
from shoal.errors import ManifestError, UsageError
from shoal.node.node import Node
from tests.adversary.paths import Hostile, folder, hostile_manifests, share
from tests.helpers.commands import run
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, Holding

# Some differ only in their labels. A tree has 256 pages: to send a part of them is
# enough, as `test_manifests` opens all of them.
EVERY = list({hostile.id: hostile for hostile in hostile_manifests()}.values())
TREES = [hostile for hostile in EVERY if len(hostile.pages) > 9]
CORPUS = [hostile for hostile in EVERY if len(hostile.pages) <= 9] + TREES[::12]
BATCH = 40  # links that one node fetches at the same time
SAMPLE = 10  # links that the command fetches


def holding_of(hostile: Hostile) -> Holding:
    """Return the holding of a peer that serves a hostile manifest."""
    chunks = sizes_of(hostile.root)
    link = Link(hostile.id)
    return Holding(link, hostile.root, hostile.pages, chunks, lambda index: b"")


def sizes_of(root: bytes) -> Chunks:
    """Return the chunks of a share, or none if its root record is nonsense."""
    try:
        values = msgspec.msgpack.decode(root)
        chunks = Chunks(int(values["size"]), int(values["chunk"]))
        if 0 <= chunks.count <= 1 << 20:
            return chunks
    except (*MALFORMED, LookupError, ArithmeticError):
        pass
    return Chunks(0, 1)


def snapshot(top: Path) -> list[tuple[str, int, int]]:
    """Return every path in `top` with its size and modification time."""
    found = []
    for path in sorted([top, *top.rglob("*")]):
        status = path.lstat()
        found.append((str(path), status.st_size, status.st_mtime_ns))
    return found


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return a target folder inside a folder in which a write outside would show."""
    for name in ("above/target", "above/beside", "etc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "above" / "victim").write_bytes(b"keep")
    return tmp_path / "above" / "target"


async def refuses(hostile: Hostile, target: Path, node: Node) -> str:
    """Fetch a hostile link in this process; return why it is refused."""
    async with Holder(holding_of(hostile)) as holder:
        link = Link(hostile.id, (holder.address,))
        with pytest.raises(ManifestError) as caught:
            await node.fetch(link, folder=target, timeout=10)
    return str(caught.value)


@pytest.mark.parametrize(
    "corpus",
    [
        pytest.param(CORPUS[::5], id="a fifth"),
        pytest.param(CORPUS, id="all", marks=pytest.mark.long),
    ],
)
@pytest.mark.timeout(120)
async def test_a_hostile_link_writes_nothing(
    corpus: list[Hostile], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(target)
    before = snapshot(target.parent.parent)
    for start in range(0, len(corpus), BATCH):
        async with Node(here(), rng=Random(1)) as node:
            batch = corpus[start : start + BATCH]
            works = [refuses(hostile, target, node) for hostile in batch]
            reasons = await asyncio.gather(*works)
        assert all(reason.isprintable() for reason in reasons)
        assert snapshot(target.parent.parent) == before


async def test_a_valid_link_from_the_same_encoder_is_fetched(target: Path) -> None:
    """The links above are refused only for their faults."""
    fine = folder("fine", [("a", 0, False), ("b/c", 0, True)])
    async with Holder(holding_of(fine)) as holder:
        async with Node(here(), rng=Random(1)) as node:
            link = Link(fine.id, (holder.address,))
            await node.fetch(link, folder=target, timeout=10)
    assert (target / "share" / "b" / "c").exists()
    empty = share("empty", name="x")
    async with Holder(holding_of(empty)) as holder:
        async with Node(here(), rng=Random(1)) as node:
            link = Link(empty.id, (holder.address,))
            await node.fetch(link, folder=target, timeout=10)
    assert (target / "x").read_bytes() == b""


@pytest.mark.parametrize("name", [".git", ".ssh", "-rf", ".hidden.txt"])
async def test_a_name_that_hides_or_is_like_an_option_arrives_only_with_o(
    name: str, target: Path
) -> None:
    async with Holder(holding_of(folder("x", [("a", 0, False)], name=name))) as holder:
        link = Link(holder.holding.link.id, (holder.address,))
        for more in ((), ("-C", target), ("-o", f"{target}/")):
            with run("get", link, *more, "--timeout", 10, cwd=target) as program:
                ended = await asyncio.to_thread(program.finish)
            assert ended.code == 2, ended
            assert f"named {name}, and" in ended.stderr
            assert "-o OUT" in ended.stderr
            assert os.listdir(target) == []
        async with Node(here()) as node:
            with pytest.raises(UsageError, match="the argument out"):
                await node.fetch(link, folder=target, timeout=10)
        args = ("get", link, "-o", "chosen", "--timeout", 10)
        with run(*args, cwd=target) as program:
            ended = await asyncio.to_thread(program.finish)
        assert ended.code == 0, ended
        assert os.listdir(target) == ["chosen"]


@pytest.mark.parametrize(
    "hostile", Random(5).sample(CORPUS, SAMPLE), ids=lambda hostile: hostile.label
)
async def test_the_command_refuses_a_hostile_link(
    hostile: Hostile, target: Path
) -> None:
    before = snapshot(target.parent.parent)
    async with Holder(holding_of(hostile)) as holder:
        args = (Link(hostile.id), "--peer", holder.address, "--timeout", 10)
        with run("get", *args, cwd=target) as program:
            ended = await asyncio.to_thread(program.finish)
    assert ended.code == 5, ended.stderr
    assert "nothing was written" in ended.stderr or "newer shoal" in ended.stderr
    assert ended.stdout == b""
    assert not any(ord(letter) < 32 and letter != os.linesep for letter in ended.stderr)
    assert snapshot(target.parent.parent) == before
