"""A node sends to a few peers at a time, and lets no reader wait for these."""

import asyncio

from shoal.core.crypto.hashes import BLOCK_SIZE
from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.turns import FIRST_LIMIT, HELD_TIME
from shoal.core.wire.sealed_messages import BlockRequest, Blocks, Hello, SealedRequest
from shoal.transfer.receiver import LONE_SIZE
from tests.helpers.holder import Talk
from tests.helpers.memory_net import Member, MemoryNet, memory_net
from tests.helpers.memory_peers import source, talk_to
from tests.helpers.virtual_time import virtual_time
from tests.helpers.wire import Content

MOMENT = HELD_TIME / 4  # virtual seconds


async def share_with_greedy_peers(net: MemoryNet, content: Content) -> Member:
    """Share with as many peers that read nothing as are sent to at a time."""
    member = source(net, content).begin()
    for _ in range(FIRST_LIMIT):
        peer = join(net, member)
        peer.transport.pause_reading()
        peer.send(*map(SealedRequest, range(content.count)))
    await asyncio.sleep(MOMENT)
    return member


def join(net: MemoryNet, member: Member) -> Talk:
    """Connect a peer that has no chunk."""
    manifest = member.swarm.manifest
    assert manifest is not None
    have = bytes(Bitfield(manifest.chunks.count))
    return talk_to(net, member).send(Hello(5000, manifest.root_record, have))


@virtual_time
async def test_requests_for_blocks_do_not_wait_for_other_peers() -> None:
    content = Content.make(8 * 4 * BLOCK_SIZE, 4 * BLOCK_SIZE)
    async with memory_net() as net:
        member = await share_with_greedy_peers(net, content)
        bulk = join(net, member).send(SealedRequest(1), SealedRequest(2))
        reader = join(net, member)
        reader.send(*[BlockRequest(read, 1, read, 1) for read in range(3)])
        await asyncio.sleep(MOMENT)
        answers = [each for each in reader.received if isinstance(each, Blocks)]
        assert [each.read for each in answers] == [0, 1, 2]
        assert not bulk.chunks
        reader.send(BlockRequest(7, 2, 0, 2))
        await net.until(lambda: isinstance(reader.received[-1], Blocks))
        await net.until(lambda: bulk.chunks == [1, 2])


@virtual_time
async def test_a_small_lone_request_does_not_wait_for_other_peers() -> None:
    content = Content.make(40 * LONE_SIZE, LONE_SIZE)
    async with memory_net() as net:
        member = await share_with_greedy_peers(net, content)
        bulk = join(net, member).send(*map(SealedRequest, range(9)))
        lone = join(net, member).send(SealedRequest(None))
        await asyncio.sleep(MOMENT)
        assert len(lone.chunks) == 1
        assert not bulk.chunks
