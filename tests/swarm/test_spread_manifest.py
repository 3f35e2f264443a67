"""Nodes without a chunk that know parts of a manifest complete it for each other."""

import asyncio
from collections.abc import Iterable

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.manifest import Manifest
from shoal.core.wire.sealed_messages import Have, Hello, Refuse, SealedRequest
from tests.helpers.holder import Passive
from tests.helpers.memory_net import Member, MemoryNet, memory_net
from tests.helpers.memory_peers import CONTENT, HOLDING, MANIFEST, talk_to
from tests.helpers.memory_store import MemoryStore
from tests.helpers.pages import hash_page
from tests.helpers.virtual_time import virtual_time

PAGES = 4
COUNT = PAGES * 2048 - 7
CHUNK = 16_384
WHOLE = build_manifest("x", COUNT * CHUNK, CHUNK, chunk_digest(b"") * COUNT)


def knowing(net: MemoryNet, numbers: Iterable[int]) -> Member:
    """Return a member that knows the root record and some pages, and has no store."""
    member = net.join(WHOLE.id)
    manifest = Manifest(WHOLE.id, WHOLE.root_record)
    for number in numbers:
        manifest.add_page(hash_page(number), WHOLE.page(hash_page(number)) or b"")
    member.swarm.know(manifest)
    return member


@virtual_time
async def test_pages_are_exchanged_before_there_is_a_store() -> None:
    async with memory_net() as net:
        one, other = knowing(net, [0, 3]), knowing(net, [1, 2])
        fresh = net.join(WHOLE.id)
        one.begin()
        other.begin(one)
        fresh.begin(one)
        async with asyncio.timeout(30):
            for manifest in await asyncio.gather(
                *(each.swarm.load(Manifest.missing) for each in net.members)
            ):
                assert manifest.is_complete


@virtual_time
async def test_a_node_that_learns_the_root_record_tells_its_peers() -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id)
        member.begin()
        before = talk_to(net, member)
        before.send(Hello(0))
        await asyncio.sleep(1)
        root, none = MANIFEST.root_record, bytes(5)
        talk_to(net, member, node_id=b"k" * 16).send(Hello(0, root, none))
        await asyncio.sleep(1)
        hellos = [each for each in before.received if isinstance(each, Hello)]
        assert hellos == [Hello(4000), Hello(4000, root, none)]


@virtual_time
async def test_chunks_of_an_earlier_run_are_announced_once_the_store_is_open() -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id)
        member.swarm.know(MANIFEST)
        member.begin()
        peer = net.call(Passive(HOLDING), member)
        peer.send(Hello(0, MANIFEST.root_record, bytes(5)), SealedRequest(1))
        await net.until(lambda: Refuse(1, "missing") in peer.received)
        store = MemoryStore(MANIFEST.chunks)
        for index in (1, 2, 5):
            store.put(index, CONTENT.chunk(index))
        member.swarm.begin(store)
        await asyncio.sleep(1)
        assert Have([(1, 2), (5, 1)]) in peer.received
        peer.send(SealedRequest(1))
        await net.until(lambda: peer.chunks == [1])
        await member.swarm.stop()
        late = net.call(Passive(HOLDING, b"l" * 16), member)
        await net.until(lambda: bool(late.received))
        assert late.received[0] == Hello(
            4000, MANIFEST.root_record, HOLDING.some([1, 2, 5])
        )
