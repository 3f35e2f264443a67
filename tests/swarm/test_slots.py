"""Places in a swarm are for who is of use: nobody keeps others out by holding them."""

import asyncio

import pytest

from shoal.core import host_limits, places
from shoal.core.host_limits import ARRIVAL_BURST
from shoal.core.places import MAX_CONNECTIONS, places_of
from shoal.core.send_budget import SLOW_TIME, WATCH_PERIOD
from shoal.core.wire.sealed_messages import Hello, SealedRequest
from shoal.errors import PeerError
from shoal.swarm.connections import MAX_IDLE_PER_ADDRESS, USE_TIME
from tests.helpers.holder import Chunk, Talk
from tests.helpers.memory_net import Member, MemoryNet, MemoryTransport, memory_net
from tests.helpers.memory_peers import (
    CONTENT,
    MANIFEST,
    fetch,
    manifest_of,
    source,
    talk_to,
)
from tests.helpers.virtual_time import virtual_time
from tests.helpers.wire import Content

EMPTY = bytes(5)


def hello(peer: Talk) -> None:
    peer.send(Hello(0, MANIFEST.root_record, EMPTY))


async def fill(net: MemoryNet, seed: Member, content: Content = CONTENT) -> None:
    """Fill every place but one with peers that are in use."""
    root = manifest_of(content).root_record
    for _ in range(MAX_CONNECTIONS - 1):
        peer = talk_to(net, seed).send(Hello(0, root, bytes(-(-content.count // 8))))
        await take_one(net, peer, content.count - 1)


def taken(peer: Talk) -> int:
    return sum(isinstance(each, Chunk) for each in peer.received)


async def take_one(net: MemoryNet, peer: Talk, index: int = 0) -> None:
    before = taken(peer)
    peer.send(SealedRequest(index))
    await net.until(lambda: taken(peer) > before)


@virtual_time
async def test_who_only_holds_a_place_makes_room_for_who_comes() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        crowd = [talk_to(net, seed) for _ in range(MAX_CONNECTIONS)]
        for each in crowd:
            hello(each)
        await asyncio.sleep(1)
        late = net.join(MANIFEST.id).begin(seed)
        async with asyncio.timeout(5):
            store = await fetch(late)
        assert store.get(7) == CONTENT.chunk(7)
        # The one that was here longest, and nobody else.
        assert [each.is_lost for each in crowd] == [True] + [False] * (len(crowd) - 1)


@virtual_time
async def test_nobody_who_takes_something_is_sent_away() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        user = talk_to(net, seed)
        hello(user)
        await take_one(net, user)
        crowd = [talk_to(net, seed) for _ in range(2 * MAX_CONNECTIONS - 1)]
        await asyncio.sleep(1)
        assert not user.is_lost
        assert len(seed.swarm.peers) == MAX_CONNECTIONS
        assert sum(not each.is_lost for each in crowd) == MAX_CONNECTIONS - 1
        # Once it has taken nothing for long it is still the last of them to go.
        await asyncio.sleep(USE_TIME)
        await fill(net, seed)
        talk_to(net, seed)
        await asyncio.sleep(1)
        assert user.is_lost


@virtual_time
async def test_where_all_are_of_use_who_comes_has_to_wait() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        crowd = [talk_to(net, seed) for _ in range(MAX_CONNECTIONS)]
        for each in crowd:
            hello(each)
            await take_one(net, each)
        with pytest.raises(PeerError, match="too many"):
            talk_to(net, seed)
        await asyncio.sleep(1)
        assert not any(each.is_lost for each in crowd)
        for each in crowd[1:]:
            await take_one(net, each)
        await asyncio.sleep(USE_TIME - 1)
        for each in crowd[1:]:
            await take_one(net, each)
        newcomer = talk_to(net, seed)
        await asyncio.sleep(1)
        assert (crowd[0].is_lost, newcomer.is_lost) == (True, False)


@virtual_time
async def test_who_takes_a_large_chunk_slowly_keeps_its_place() -> None:
    content = Content.make((4 << 20) + 9, 4 << 20)
    async with memory_net() as net:
        seed = source(net, content).begin()
        slow = talk_to(net, seed).send(
            Hello(0, manifest_of(content).root_record, bytes(1)), SealedRequest(0)
        )
        await asyncio.sleep(1)
        assert isinstance(slow.transport, MemoryTransport)
        slow.transport.pause_reading()
        slow.send(SealedRequest(0))
        for _ in range(8):  # for longer than USE_TIME
            await asyncio.sleep(5)
            slow.transport.take(128 << 10)
        assert (taken(slow), slow.is_lost) == (1, False)
        await fill(net, seed, content)
        with pytest.raises(PeerError, match="too many"):
            talk_to(net, seed)
        # By taking nothing more it does not keep it.
        await asyncio.sleep(SLOW_TIME + 2 * WATCH_PERIOD)
        assert slow.is_lost


@virtual_time
async def test_who_was_dialled_makes_no_room() -> None:
    async with memory_net() as net:
        one, seed = net.join(MANIFEST.id), source(net)
        one.begin()
        seed.begin(one)
        await net.until(lambda: bool(seed.swarm.peers))
        for _ in range(2 * MAX_CONNECTIONS):
            talk_to(net, seed)
        await asyncio.sleep(1)
        assert one.address in seed.peers
        assert len(seed.swarm.peers) == MAX_CONNECTIONS


@virtual_time
async def test_a_share_of_very_many_chunks_has_fewer_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "MAX_BITFIELDS", 20 * -(-CONTENT.count // 8))
    async with memory_net() as net:
        late = net.join(MANIFEST.id).begin()
        early = [talk_to(net, late) for _ in range(MAX_CONNECTIONS)]
        await asyncio.sleep(1)
        assert not any(each.is_lost for each in early)
        # With the root record it learns how many chunks there are.
        hello(early[30])
        await asyncio.sleep(1)
        expected = places_of(CONTENT.count)
        assert sum(not each.is_lost for each in early) == expected < MAX_CONNECTIONS
        assert not early[30].is_lost
        talk_to(net, late)
        await asyncio.sleep(1)
        assert len(late.swarm.peers) == expected


@virtual_time
async def test_peers_with_large_bitfields_arrive_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_limits, "ARRIVAL_CHUNKS", CONTENT.count / 128)
    async with memory_net() as net:
        seed = source(net).begin()
        for _ in range(int(ARRIVAL_BURST) // 128):
            talk_to(net, seed)
        with pytest.raises(PeerError, match="too often"):
            talk_to(net, seed)
        talk_to(net, seed, "10.0.9.8")


@virtual_time
async def test_sixty_four_downloaders_behind_one_address_are_all_served() -> None:
    async with memory_net() as net:
        first = source(net).begin()
        peers = [talk_to(net, first, "8.8.4.4") for _ in range(64)]
        for peer in peers:
            peer.send(Hello(0))
        await asyncio.sleep(1)
        assert not any(peer.is_lost for peer in peers)
        assert len(first.swarm.peers) == 64


@pytest.mark.parametrize(
    ("host", "other"),
    [("8.8.4.4", "8.8.4.4"), ("2a01::1", "2a01::ffff:ffff:ffff:ffff")],
)
@virtual_time
async def test_idle_connections_of_one_address_make_room_for_new_ones(
    host: str, other: str
) -> None:
    async with memory_net() as net:
        first = source(net).begin()
        idle = [talk_to(net, first, host) for _ in range(MAX_IDLE_PER_ADDRESS)]
        for peer in idle:
            peer.send(Hello(0))
        await asyncio.sleep(USE_TIME + 1)
        talk_to(net, first, other).send(Hello(0))
        await asyncio.sleep(1)
        assert [peer.is_lost for peer in idle].count(True) == 1
        assert idle[0].is_lost


@virtual_time
async def test_one_holder_with_every_place_keeps_no_other_host_out() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        for _ in range(MAX_CONNECTIONS):
            greedy = talk_to(net, seed, "10.0.0.9")
            hello(greedy)
            await take_one(net, greedy)
        late = talk_to(net, seed, "10.0.0.8")
        hello(late)
        await take_one(net, late)
        assert not late.is_lost
        assert len(seed.swarm.peers) == MAX_CONNECTIONS


@virtual_time
async def test_one_node_id_with_every_place_keeps_no_other_out() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        for _ in range(MAX_CONNECTIONS):
            greedy = talk_to(net, seed, node_id=bytes(16))
            hello(greedy)
            await take_one(net, greedy)
        late = talk_to(net, seed)
        hello(late)
        await take_one(net, late)
        assert not late.is_lost


@virtual_time
async def test_a_host_that_reconnects_without_end_is_refused_for_a_while() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        for _ in range(int(ARRIVAL_BURST)):
            talk_to(net, seed, "10.0.0.9").close()
        with pytest.raises(PeerError, match="too often"):
            talk_to(net, seed, "10.0.0.9")
        talk_to(net, seed, "10.0.0.8")
        await asyncio.sleep(1)
        talk_to(net, seed, "10.0.0.9")
