"""A chunk that changed on a peer's disk costs that chunk, not the download."""

import asyncio
import os
from functools import partial
from pathlib import Path

import pytest

import shoal
from shoal.core.report.events import Notice
from shoal.core.wire.sealed_messages import Hello, WrongChunk
from shoal.errors import StoreError
from tests.helpers.fetching import here
from tests.helpers.holder import Chunk, Talk
from tests.helpers.memory_net import Member, MemoryNet, memory_net
from tests.helpers.memory_peers import (
    CONTENT,
    HOLDING,
    MANIFEST,
    fetch,
    left,
    source,
    talk_to,
    until_verified,
)
from tests.helpers.memory_store import MemoryStore, TransientStore
from tests.helpers.pages import hash_page
from tests.helpers.virtual_time import virtual_time

# A peer without the last chunk does not choose: each chunk is requested by its index.
MOST = HOLDING.some(range(CONTENT.count - 1))
SIZE = 16_384


async def begin(net: MemoryNet, *wrong: int) -> tuple[Member, Talk]:
    """Start a download from a peer that sends these chunks wrong."""
    member = net.join(MANIFEST.id).begin()
    peer = talk_to(net, member).send(Hello(5000, MANIFEST.root_record, MOST))
    await net.until(lambda: member.swarm.manifest is not None)
    manifest = member.swarm.manifest
    assert manifest is not None
    page = MANIFEST.page(hash_page(0))
    assert page is not None
    manifest.add_page(hash_page(0), page)
    download = member.swarm.begin(TransientStore(manifest.chunks), [0, 1, *wrong])
    for index in (0, 1):
        await net.until(partial(is_requested, peer, index))
        peer.send(Chunk(index, CONTENT.chunk(index)))
    await net.until(lambda: download.done == 2 * SIZE)
    for index in wrong:
        await net.until(partial(is_requested, peer, index))
        peer.send(Chunk(index, bytes(SIZE)))
    await asyncio.sleep(1)
    return member, peer


def is_requested(peer: Talk, index: int) -> bool:
    return index in peer.requested


@virtual_time
async def test_a_peer_is_told_of_its_first_wrong_chunk_and_stays() -> None:
    async with memory_net() as net:
        member, peer = await begin(net, 7)
        assert WrongChunk(7) in peer.received
        assert not peer.is_lost
        await asyncio.sleep(60)
        assert peer.requested.count(7) == 1, "it is requested elsewhere only"
        source(net).begin(member)
        await until_verified(member, 7)
        await member.swarm.stop()


@virtual_time
async def test_a_second_wrong_chunk_bans_the_peer() -> None:
    async with memory_net() as net:
        member, peer = await begin(net, 7, 9)
        assert peer.is_lost
        assert [event.is_banned for event in left(member)] == [True]
        await member.swarm.stop()


@virtual_time
async def test_a_peer_whose_copy_changed_withholds_that_chunk_and_says_so() -> None:
    async with memory_net() as net:
        seed, member = source(net), net.join(MANIFEST.id)
        notices: list[str] = []
        seed.swarm._resources.on_notice = lambda notice: notices.append(notice.text)
        store = MemoryStore(MANIFEST.chunks)
        for index in range(CONTENT.count):
            store.put(index, CONTENT.chunk(index) if index != 7 else bytes(SIZE))
        seed.swarm.serve(MANIFEST, store)
        seed.begin(member)
        member.begin(seed)
        fetching = asyncio.create_task(fetch(member))
        await net.until(lambda: bool(notices))
        await asyncio.sleep(30)
        assert not left(member)
        (notice,) = notices
        assert "changed on the disk since it was shared" in notice
        source(net).begin(member)
        assert (await fetching).get(7) == CONTENT.chunk(7)


class Faulty(MemoryStore):
    """Fails to read chunk 7, with `error`."""

    error: Exception = StoreError("Could not read it.")

    def get(self, index: int) -> bytes:
        if index == 7:
            raise self.error
        return super().get(index)


async def report(net: MemoryNet, error: Exception) -> Member:
    """Report a chunk as wrong to a peer whose store fails to read it; return it."""
    seed, store = source(net), Faulty(MANIFEST.chunks)
    for index in range(CONTENT.count):
        store.put(index, CONTENT.chunk(index))
    store.error = error
    seed.swarm.serve(MANIFEST, store)
    seed.begin()
    peer = talk_to(net, seed).send(Hello(5000, MANIFEST.root_record, bytes(5)))
    peer.send(WrongChunk(7))
    await asyncio.sleep(1)
    return seed


@virtual_time
async def test_a_reported_chunk_that_cannot_be_read_does_not_end_the_swarm() -> None:
    async with memory_net() as net:
        for error in (StoreError("Could not read it."), KeyError(7)):
            seed = await report(net, error)
            assert seed.swarm.status().peers, "the swarm goes on"


@virtual_time
async def test_an_unexpected_error_in_the_check_of_a_chunk_ends_the_swarm() -> None:
    with pytest.raises(ZeroDivisionError):
        await check_and_wait()


async def check_and_wait() -> None:
    async with memory_net() as net:
        seed = await report(net, ZeroDivisionError())
        async with asyncio.timeout(60):
            await seed.swarm.completed.until(1)


async def test_a_file_changed_in_place_is_not_sent_though_its_time_is_the_same(
    tmp_path: Path,
) -> None:
    file, notices = tmp_path / "disk.img", asyncio.Queue[Notice]()
    file.write_bytes(os.urandom(40 * 65_536))
    async with shoal.Node(here(), on_notice=notices.put_nowait) as node:
        share = await node.share(file, chunk_size=65_536)
        change_in_place(file, 20 * 65_536)
        async with shoal.Node(here([shoal.Address("127.0.0.1", share.port)])) as other:
            fetching = asyncio.ensure_future(other.fetch(share.link, tmp_path / "out"))
            async with asyncio.timeout(20):
                assert "disk.img" in (await notices.get()).text
            fetching.cancel()
            await asyncio.wait([fetching])


def change_in_place(path: Path, offset: int) -> None:
    """Flip a byte and keep the file's time, as programs do with virtual disks."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
