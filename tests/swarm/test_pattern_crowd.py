"""A crowd that leaves files out takes little more than one copy from the source."""

import asyncio

import pytest

from shoal.core.manifest.manifest import Manifest
from shoal.core.wire.sealed_messages import (
    Hello,
    Refuse,
    SealedMessage,
    SealedRequest,
    Want,
)
from tests.helpers.holder import Holder
from tests.helpers.memory_net import Member, memory_net
from tests.helpers.memory_peers import (
    HOLDING,
    MANIFEST,
    SIZE,
    manifest_of,
    source,
    talk_to,
)
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
            manifest = await member.swarm.load(Manifest.missing)
            await member.swarm.fetch(TransientStore(manifest.chunks), WANTED)
            await asyncio.sleep(1)

        await asyncio.gather(*map(fetch, crowd))
        assert seed.swarm.uploaded <= 1.25 * len(WANTED) * SIZE


@virtual_time
async def test_the_source_is_told_once_which_chunks_are_wanted() -> None:
    async with memory_net() as net:
        member, holder = net.join(MANIFEST.id), net.host(Holder(HOLDING))
        member.begin(holder)
        manifest = await member.swarm.load(Manifest.missing)
        await member.swarm.fetch(TransientStore(manifest.chunks), [3, 4, 9])
        (talk,) = holder.talks
        wants = [each for each in talk.received if isinstance(each, Want)]
        assert wants == [Want([(3, 2), (9, 1)])]
        assert set(talk.requested) == {None}
        assert sorted(holder.sent) == [3, 4, 9]


@pytest.mark.parametrize("number", [2, 3])
@virtual_time
async def test_only_wanted_chunks_are_chosen(number: int) -> None:
    async with memory_net() as net:
        seed = source(net)
        seed.begin()
        peer = talk_to(net, seed)
        peer.send(
            Hello(0, MANIFEST.root_record, bytes(5)),
            Want([(7, 1), (9, 1)]),
            *number * [SealedRequest()],
        )
        await asyncio.sleep(1)
        assert sorted(peer.chunks) == [7, 9]
        refused = [each for each in peer.received if isinstance(each, Refuse)]
        assert len(refused) == number - 2


NOBODY = Hello(0)
NOTHING = Hello(0, MANIFEST.root_record, bytes(5))


@pytest.mark.parametrize(
    "messages",
    [
        (NOBODY, Want([(0, 1)])),
        (NOTHING, Want([(0, 1)]), Want([(0, 1)])),
        (NOTHING, Want([(39, 2)])),
        (NOTHING, Want([(0, 1 << 31)])),
        (NOTHING, Want([(5, 1), (5, 1)])),
        (NOTHING, Want([(5, 0)])),
    ],
)
@virtual_time
async def test_a_list_that_cannot_be_ends_the_connection(
    messages: tuple[SealedMessage, ...],
) -> None:
    async with memory_net() as net:
        seed = source(net)
        seed.begin()
        peer = talk_to(net, seed)
        peer.send(*messages)
        await net.until(lambda: peer.is_lost)
