"""A node that knew the manifest before needs no peer that has it again."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from shoal.core.names.address import Address
from shoal.errors import NotFoundError
from shoal.node.node import Node
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, Talk, make_holding
from tests.helpers.web_origin import web_origin

CHUNK = 16_384
COUNT = 24
pytestmark = pytest.mark.usefixtures("own_home")

HOLDING = make_holding(COUNT * CHUNK)
DATA = b"".join(HOLDING.chunk(index) for index in range(COUNT))


class HasSome(Holder):
    """Have only some of the chunks."""

    def __init__(self, some: range) -> None:
        super().__init__(HOLDING)
        self._some = some

    @property
    def bitfield(self) -> bytes:
        return HOLDING.some(self._some)


def entries(folder: Path) -> list[Path]:
    """Return the files of the catalogue."""
    return list((folder / "home/shoal/catalogue").glob("*/*"))


def left(folder: Path, pattern: str) -> list[Path]:
    """Return what a download to `out` has left beside it."""
    return list(folder.glob(pattern))


async def until_stored(node: Node, number: int) -> None:
    """Wait until a node has that many chunks."""
    while len(node.status(HOLDING.link).have or ()) < number:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def fetch_some(out: Path, some: range) -> None:
    """Fetch some chunks to `out`, then be cancelled."""
    async with HasSome(some) as holder, Node(here([holder.address])) as node:
        fetching = asyncio.create_task(node.fetch(HOLDING.link, out))
        await until_stored(node, len(some))
        fetching.cancel()
        await asyncio.wait([fetching])
    assert not left(out.parent, out.name)


async def fetch_rest(out: Path) -> None:
    """Fetch to `out` from an origin alone, which has no manifest."""
    async with web_origin({"data": DATA}) as web:
        settings = replace(here(), origins=(web.url + "data",))
        async with Node(settings) as node:
            await node.fetch(HOLDING.link, out, timeout=10)


@pytest.mark.parametrize("kept_in", ["staging folder", "catalogue"])
async def test_an_unfinished_download_resumes_from_an_origin_alone(
    kept_in: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    await fetch_some(out, range(5))
    if kept_in == "staging folder":
        for entry in entries(tmp_path):
            entry.unlink()
    else:
        (kept,) = left(tmp_path, ".out.shoal-*/manifest")
        kept.unlink()
    await fetch_rest(out)
    assert out.read_bytes() == DATA


async def test_a_damaged_copy_of_the_manifest_is_not_believed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    await fetch_some(out, range(5))
    for entry in entries(tmp_path):
        entry.write_bytes(entry.read_bytes().replace(b"data", b"DATA"))
    (kept,) = left(tmp_path, ".out.shoal-*/manifest")
    kept.write_bytes(kept.read_bytes().replace(b"data", b"DATA"))
    async with Node(here()) as node:
        with pytest.raises(NotFoundError):
            await node.fetch(HOLDING.link, out, timeout=0.5)
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        await node.fetch(HOLDING.link, out, timeout=10)
    assert out.read_bytes() == DATA


async def test_unfinished_copies_complete_each_other(tmp_path: Path) -> None:
    outs = [tmp_path / "one/out", tmp_path / "two/out"]
    for out, some in zip(outs, (range(15), range(10, COUNT)), strict=True):
        out.parent.mkdir()
        await fetch_some(out, some)
    async with Node(here()) as first:
        fetching = asyncio.create_task(first.fetch(HOLDING.link, outs[0], seed=True))
        await until_stored(first, 1)
        port = (await first._registry.port()).port
        async with Node(here([Address("127.0.0.1", port)])) as second:
            await second.fetch(HOLDING.link, outs[1], timeout=10, seed=True)
            await asyncio.wait_for(fetching, 10)
    assert [out.read_bytes() for out in outs] == [DATA, DATA]


async def test_a_download_without_a_chunk_keeps_the_manifest(tmp_path: Path) -> None:
    out = tmp_path / "out"

    class SendsNothing(Holder):
        def on_request(self, talk: Talk, index: int) -> None:
            pass

    async with SendsNothing(HOLDING) as holder, Node(here([holder.address])) as node:
        fetching = asyncio.create_task(node.fetch(HOLDING.link, out))
        await holder.until(lambda: bool(holder.requested))
        fetching.cancel()
        await asyncio.wait([fetching])
    assert not left(tmp_path, ".out*")
    await fetch_rest(out)
    assert out.read_bytes() == DATA


async def test_a_complete_copy_is_served_again_without_any_peer(tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with Holder(HOLDING) as holder, Node(here([holder.address])) as node:
        await node.fetch(HOLDING.link, out, timeout=10)
    async with Node(here()) as node:
        again = await node.fetch(HOLDING.link, out, seed=True, timeout=10)
        assert again.share is not None
        peer = Address("127.0.0.1", again.share.port)
        async with Node(here([peer])) as other:
            await other.fetch(HOLDING.link, tmp_path / "copy", timeout=10)
    assert (tmp_path / "copy").read_bytes() == DATA
