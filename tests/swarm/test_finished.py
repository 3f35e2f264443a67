"""A peer has finished once its whole copy survives a power loss, and says so then."""

import asyncio
from errno import EIO
from pathlib import Path

import pytest

from shoal.core.wire.sealed_messages import Finished, Goodbye, Have, Hello
from shoal.errors import StoreError
from shoal.node.node import Node
from tests.helpers.faulty.disk import FaultyDisk
from tests.helpers.fetching import here
from tests.helpers.holder import Heard, Holder, Holding, Talk, make_holding
from tests.helpers.memory_net import memory_net
from tests.helpers.memory_peers import MANIFEST, source, talk_to
from tests.helpers.virtual_time import virtual_time

CHUNK = 16_384
FILE = make_holding(3 * CHUNK)
EMPTY_FILE = make_holding(b"")
EMPTY_FOLDER = make_holding(b"", files=[("a", 0, False), ("b.tmp", 0, False)])
FOLDER = make_holding(CHUNK + 5, files=[("a", CHUNK + 5, False), ("b.tmp", 0, False)])


class Waits(Holder):
    """Note what would survive a power loss when a node says that it has finished."""

    def __init__(self, holding: Holding, disk: FaultyDisk, out: Path) -> None:
        super().__init__(holding)
        self.survived: list[bool] = []
        self._disk, self._out = disk, out

    def on_message(self, talk: Talk, message: Heard) -> None:
        if isinstance(message, Finished):
            self.survived.append(self._disk.is_safe(self._out))
        super().on_message(talk, message)


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/home")


async def fetch_on(
    disk: FaultyDisk, holding: Holding, *, seed: bool = False, exclude: str = ""
) -> Waits:
    """Fetch a share to a disk that can lose power; return its source."""
    out = Path("/out")
    async with (
        Waits(holding, disk, out) as holder,
        Node(here([holder.address]), disk=disk) as node,
    ):
        await node.fetch(holding.link, out, seed=seed, exclude=exclude or ())
        if seed:
            await holder.until(lambda: bool(holder.survived))
    return holder


@pytest.mark.parametrize("seed", [False, True])
@pytest.mark.parametrize("holding", [FILE, EMPTY_FILE, FOLDER, EMPTY_FOLDER])
async def test_a_node_says_once_that_it_has_finished_when_its_copy_is_safe(
    holding: Holding, seed: bool
) -> None:
    disk = FaultyDisk(Path("/"))
    holder = await fetch_on(disk, holding, seed=seed)
    assert holder.survived == [True]
    received = [type(m) for talk in holder.talks for m in talk.received]
    assert received.index(Finished) < received.index(Goodbye)


@pytest.mark.parametrize("holding", [FILE, EMPTY_FILE, FOLDER, EMPTY_FOLDER])
async def test_a_node_that_cannot_flush_its_copy_does_not_say_that_it_has_finished(
    holding: Holding,
) -> None:
    disk, out = FaultyDisk(Path("/")), Path("/out")

    def fail_to_flush_the_name(number: int, method: str) -> int:
        is_named = disk.contents(out) is not None
        return EIO if is_named and method == "fsync_directory" else 0

    disk.fault = fail_to_flush_the_name
    async with (
        Waits(holding, disk, out) as holder,
        Node(here([holder.address]), disk=disk) as node,
    ):
        with pytest.raises(StoreError):
            await node.fetch(holding.link, out)
        await holder.until(lambda: holder.talks[-1].is_lost)
    assert not holder.survived


@pytest.mark.parametrize("holding", [FOLDER, EMPTY_FOLDER])
async def test_a_node_that_left_files_out_never_says_that_it_has_finished(
    holding: Holding,
) -> None:
    holder = await fetch_on(FaultyDisk(Path("/")), holding, exclude="*.tmp")
    assert not holder.survived
    holder = await fetch_on(FaultyDisk(Path("/")), holding, exclude="*.none")
    assert holder.survived == [True]


@virtual_time
async def test_only_a_peer_that_has_finished_ends_the_wait_for_one() -> None:
    full = bytes([255] * 5)
    async with memory_net() as net:
        member = source(net).begin()
        waiting = asyncio.ensure_future(member.swarm.completed.until(1))
        one, other = talk_to(net, member), talk_to(net, member)
        one.send(Hello(5000, MANIFEST.root_record, full))
        other.send(Hello(5001, MANIFEST.root_record, bytes(5)), Have([(0, 40)]))
        await asyncio.sleep(60)
        assert not waiting.done()
        other.send(Finished())
        await waiting


@virtual_time
async def test_a_source_has_finished_from_the_start() -> None:
    async with memory_net() as net:
        member = source(net).begin()
        member.swarm.finish()
        early = talk_to(net, member)
        await net.until(lambda: Finished() in early.received)
        late = talk_to(net, member)
        await net.until(lambda: Finished() in late.received)
        assert [type(m) for m in late.received][:2] == [Hello, Finished]
