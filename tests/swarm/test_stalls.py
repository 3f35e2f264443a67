"""A download that stands still says why, as it finds out for itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shoal.core.manifest.manifest import Manifest
from shoal.core.report.events import Stalled
from shoal.core.wire.sealed_messages import Hello
from shoal.errors import ShoalError
from tests.helpers.memory_net import Member, MemoryNet, memory_net
from tests.helpers.memory_peers import CONTENT, MANIFEST, fetch, source, talk_to
from tests.helpers.memory_store import MemoryStore, TransientStore
from tests.helpers.virtual_time import virtual_time


@asynccontextmanager
async def stalled(net: MemoryNet, member: Member) -> AsyncIterator[Stalled]:
    """Fetch until it is said why nothing comes, and give that."""
    task = asyncio.create_task(fetch(member))
    try:
        await net.until(lambda: bool(_stalls(member)))
        yield _stalls(member)[0]
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ShoalError):
            await task


def _stalls(member: Member) -> list[Stalled]:
    return [event for event in member.events if isinstance(event, Stalled)]


@virtual_time
async def test_nobody_is_found() -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id).begin()
        async with stalled(net, member) as event:
            assert event.cause == "nobody-found"


@virtual_time
async def test_nobody_is_there_any_more() -> None:
    async with memory_net() as net:
        gone, member = source(net), net.join(MANIFEST.id)
        del net.accepts[gone.address]
        member.begin(gone)
        async with stalled(net, member) as event:
            assert event.cause == "unreachable"
            assert event.reason.startswith("found 1 peer but could not connect to it")


@virtual_time
async def test_a_peer_says_nothing_but_hello() -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id).begin()
        talk_to(net, member).send(Hello(0, MANIFEST.root_record, bytes([255] * 5)))
        async with stalled(net, member) as event:
            assert event.cause == "silent"
            assert event.reason == "the connected peer has not answered for 20 s."


@virtual_time
async def test_no_peer_has_what_is_missing() -> None:
    async with memory_net() as net:
        some, others = MemoryStore(MANIFEST.chunks), MemoryStore(MANIFEST.chunks)
        for index in range(30):
            some.put(index, CONTENT.chunk(index))
            others.put(index + 8, CONTENT.chunk(index + 8))
        givers = [net.join(MANIFEST.id), net.join(MANIFEST.id)]
        for giver, store in zip(givers, (some, others), strict=True):
            giver.swarm.serve(MANIFEST, store)
            giver.begin()
        member = net.join(MANIFEST.id).begin(*givers)
        async with stalled(net, member) as event:
            assert event.cause == "nobody-has"
            assert "none of the 2 connected peers has chunk" in event.reason
            assert "and 1 more" in event.reason


@virtual_time
async def test_the_disk_does_not_keep_up() -> None:
    async with memory_net() as net:
        giver, member = source(net), net.join(MANIFEST.id)
        giver.begin()
        member.begin(giver)
        manifest = await member.swarm.load(Manifest.missing)
        store = TransientStore(manifest.chunks)
        store.is_behind = True
        task = asyncio.create_task(member.swarm.fetch(store))
        await net.until(lambda: bool(_stalls(member)))
        (event,) = _stalls(member)
        assert event.cause == "disk"
        assert "MiB are waiting to be written" in event.reason
        task.cancel()
        await asyncio.wait([task])
