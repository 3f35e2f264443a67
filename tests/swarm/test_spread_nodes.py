"""Nodes that know some pages each, and lost their source, complete the manifest."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey
from shoal.core.names.address import Address
from shoal.core.wire.sealed_messages import Page, Peers, Refuse
from shoal.node.node import Node
from shoal.storage.disk.disk import Disk
from shoal.storage.download.manifest_file import read_manifest
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, Holding, Talk, holding_of

CHUNK = 16_384
COUNT = 3 * 2048 + 5  # chunks, whose hashes have four leaves
FILES = 3000  # empty files, whose names have several leaves

MANY_HASHES = build_manifest("x", COUNT * CHUNK, CHUNK, chunk_digest(b"") * COUNT)
MORE = 17 * 2048  # chunks; of so many missing leaves, several are awaited at once
FULL_OF_HASHES = build_manifest("x", MORE * CHUNK, CHUNK, chunk_digest(b"") * MORE)
MANY_FILES = build_manifest(
    "x", 0, CHUNK, b"", [(f"{n:04} {'n' * 60}", 0, False) for n in range(FILES)]
)


def holding(manifest: Manifest) -> Holding:
    """Return a share of which no test fetches a chunk."""
    return holding_of(manifest, lambda index: b"")


class HasHalf(Holder):
    """Have every inner page of the manifest, and every second leaf; no chunk."""

    def __init__(self, holding: Holding, first: int) -> None:
        super().__init__(holding)
        leaves = sorted(key for key in holding.pages if not key.level)
        self.leaves = set(leaves[first::2])
        self.missing = set(leaves) - self.leaves
        self.told: set[PageKey] = set()

    @property
    def bitfield(self) -> bytes:
        return self.holding.some([])

    def on_page(self, talk: Talk, key: PageKey) -> None:
        if key in self.missing:
            talk.send(Page(*key, b""))
        else:
            self.told.add(key)
            super().on_page(talk, key)

    def on_request(self, talk: Talk, index: int) -> None:
        talk.send(Refuse(index, "missing"))


def is_known(node: Node, holding: Holding) -> bool:
    """Return True if a node has the whole manifest."""
    manifest = node.status(holding.link).manifest
    return manifest is not None and manifest.is_complete


async def until_known(node: Node, holding: Holding) -> None:
    """Wait until a node has the whole manifest."""
    async with asyncio.timeout(30):
        while not is_known(node, holding):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def fetching(node: Node, holding: Holding, out: Path) -> AsyncIterator[None]:
    """Fetch a share, which may not end, until the block is left."""
    task = asyncio.create_task(node.fetch(holding.link, out, seed=True))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("manifest", [MANY_HASHES, MANY_FILES])
async def test_running_nodes_complete_the_manifest_for_each_other(
    manifest: Manifest, tmp_path: Path
) -> None:
    share = holding(manifest)
    async with AsyncExitStack() as source:
        first = await source.enter_async_context(HasHalf(share, 0))
        second = await source.enter_async_context(HasHalf(share, 1))
        async with (
            Node(here([first.address])) as one,
            Node(here([second.address])) as other,
            fetching(one, share, tmp_path / "one"),
            fetching(other, share, tmp_path / "other"),
        ):
            for half, node in ((first, one), (second, other)):
                await half.until(partial(half.leaves.issubset, half.told))
                assert not is_known(node, share)
            port = (await one._registry.port()).port
            second.talks[-1].send(Peers([("127.0.0.1", port)]))
            await source.aclose()
            await until_known(one, share)
            await until_known(other, share)


async def until_kept(folder: Path, half: HasHalf) -> None:
    """Wait until a download has written these pages to its staging folder."""
    async with asyncio.timeout(30):
        while not has_kept(folder, half):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def has_kept(folder: Path, half: HasHalf) -> bool:
    """Return True if the staging folder of a download has these pages."""
    for staging in folder.glob(".out.shoal-*"):
        kept = read_manifest(staging, half.holding.link.id, Disk())
        if kept is not None and all(map(kept.page, half.leaves)):
            return True
    return False


async def fetch_and_kill(half: HasHalf, folder: Path) -> None:
    """Fetch in a process of its own, which is killed once it has kept these pages."""
    words = ["fetch", str(half.holding.link), str(folder / "out"), str(half.address)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.helpers.member", *words
    )
    try:
        await until_kept(folder, half)
    finally:
        process.kill()
        await process.wait()


def make_folders(folder: Path) -> list[Path]:
    """Return a new folder for each of two nodes."""
    folders = [folder / "one", folder / "other"]
    for each in folders:
        each.mkdir()
    return folders


async def test_a_page_is_kept_while_no_other_arrives(tmp_path: Path) -> None:
    share = holding(FULL_OF_HASHES)
    async with HasHalf(share, 0) as peer, Node(here([peer.address])) as node:
        peer.missing |= peer.leaves
        kept = peer.leaves = {min(peer.leaves)}
        peer.missing -= kept
        async with fetching(node, share, tmp_path / "out"):
            await until_kept(tmp_path, peer)


async def test_killed_nodes_complete_the_manifest_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    share = holding(MANY_HASHES)
    folders = make_folders(tmp_path)
    async with HasHalf(share, 0) as first, HasHalf(share, 1) as second:
        for half, folder in zip((first, second), folders, strict=True):
            await fetch_and_kill(half, folder)
    async with Node(here()) as one, fetching(one, share, folders[0] / "out"):
        port = (await one._registry.port()).port
        async with (
            Node(here([Address("127.0.0.1", port)])) as other,
            fetching(other, share, folders[1] / "out"),
        ):
            await until_known(one, share)
            await until_known(other, share)
