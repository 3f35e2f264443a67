"""A crowd that leaves files out takes little more than one copy from the source."""

import asyncio

import pytest

from tests.helpers.memory_net import Member, memory_net
from tests.helpers.memory_peers import SIZE, manifest_of, source
from tests.helpers.memory_store import TransientStore
from tests.helpers.virtual_time import virtual_time
from tests.helpers.wire import Content

COUNT = 400
WANTED = [index for index in range(COUNT) if index % 10 != 3]
RATE = 20 * SIZE  # bytes per second that each node uploads


@pytest.mark.parametrize("downloaders", [4, 8])
@virtual_time
async def test_chosen_chunks_are_fetched_rarest_first(downloaders: int) -> None:
    content = Content.make(COUNT * SIZE, SIZE)
    async with memory_net() as net:
        seed = source(net, content, limit_up=RATE).begin()
        crowd = [
            net.join(manifest_of(content).id, limit_up=RATE) for _ in range(downloaders)
        ]

        async def fetch(member: Member) -> None:
            member.begin(seed)
            manifest = await member.swarm.load(lambda m: range(m.page_count))
            await member.swarm.fetch(TransientStore(manifest.chunks), WANTED)
            await asyncio.sleep(1)

        await asyncio.gather(*map(fetch, crowd))
        assert seed.swarm.uploaded <= 1.25 * len(WANTED) * SIZE
