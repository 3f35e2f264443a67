"""A download completes although some peers with the link misbehave.

In each test, a node fetches from one or more bad holders and an honest one.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest

from shoal.core.crypto.hashes import DIGEST_SIZE
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.hash_table import HASHES_PER_PAGE
from shoal.core.manifest.manifest import Manifest
from shoal.core.report.events import PeerJoined
from shoal.core.wire.sealed_messages import Peers
from shoal.node.node import Node
from shoal.resources import Resources
from shoal.swarm.member import Member, Registry
from tests.helpers.badholders import (
    IDLE,
    LIARS,
    MANIFEST_LIARS,
    RUDE,
    GarbagePages,
    Poisons,
    Silent,
)
from tests.helpers.fetching import fetch_sealed, here, left_of
from tests.helpers.holder import (
    Holder,
    SlowHolder,
    Talk,
    holding_of,
    make_holding,
)
from tests.helpers.memory_net import MemoryNet, memory_net
from tests.helpers.memory_peers import fetch, left
from tests.helpers.pages import hash_page
from tests.helpers.requirements import require
from tests.helpers.virtual_time import virtual_time

CHUNK = 16_384
SLOW = 60.0  # chunks per second that a slow but honest holder sends
HOLDING = make_holding(60 * CHUNK + 777)
HONEST_TIME = HOLDING.chunks.count / SLOW  # seconds
DATA = b"".join(HOLDING.chunk(i) for i in range(HOLDING.chunks.count))


@pytest.mark.parametrize("kind", LIARS)
async def test_a_liar_is_banned(kind: type[Holder], tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with kind(HOLDING) as liar, Holder(HOLDING) as honest:
        peers = [liar.address, honest.address]
        events = await fetch_sealed(HOLDING.link, out, peers)
        assert liar.sent, "the liar got no request"
        assert len(liar.talks) == 1, "the liar was dialled again"
        assert [left.is_banned for left in left_of(events, liar.address)] == [True]
        assert not any(left.is_banned for left in left_of(events, honest.address))
    assert out.read_bytes() == DATA


async def test_nine_of_ten_peers_lie(tmp_path: Path) -> None:
    out = tmp_path / "out"
    liars = [LIARS[number % len(LIARS)](HOLDING) for number in range(9)]
    async with Holder(HOLDING) as honest:
        for liar in liars:
            await liar.__aenter__()
        peers = [liar.address for liar in liars] + [honest.address]
        events = await fetch_sealed(HOLDING.link, out, peers)
        for liar in liars:
            await liar.__aexit__()
    assert out.read_bytes() == DATA
    asked = [liar for liar in liars if liar.sent]
    assert asked
    for liar in asked:
        assert [left.is_banned for left in left_of(events, liar.address)] == [True]
        assert len(liar.sent) == 1, "a liar cost more than one chunk"
    wasted = sum(len(each.sent) for each in (*asked, honest)) - HOLDING.chunks.count
    assert wasted <= len(asked) + 0.02 * HOLDING.chunks.count


async def test_nine_liars_about_the_manifest_cost_a_page_each() -> None:
    count = 13 * HASHES_PER_PAGE
    large = build_manifest("x", count * CHUNK, CHUNK, b"\1" * DIGEST_SIZE * count)
    holding = holding_of(large, lambda index: b"")
    async with AsyncExitStack() as stack:
        liars = [
            await stack.enter_async_context(GarbagePages(holding)) for _ in range(9)
        ]
        honest = await stack.enter_async_context(Holder(holding))
        peers = [each.address for each in (*liars, honest)]
        resources = Resources(here(peers), rng=Random(1))
        stack.push_async_callback(resources.aclose)
        registry = Registry(resources)
        port = await registry.port()
        async with Member(registry, holding.link, port) as member:
            manifest = await member.swarm.load(Manifest.missing)
    assert manifest.is_complete
    assert any(liar.pages_requested for liar in liars)
    assert all(len(liar.pages_requested) <= 1 for liar in liars)
    assert sorted(honest.pages_requested) == [*map(hash_page, range(13))]


async def fetch_within(net: MemoryNet, seconds: float, *holders: Holder) -> None:
    """Fetch from these holders within this virtual time; check the bytes."""
    member = net.join(HOLDING.link.id, timeout=8).begin(*holders)
    async with asyncio.timeout(seconds):
        store = await fetch(member)
    assert b"".join(map(store.get, range(HOLDING.chunks.count))) == DATA


@pytest.mark.parametrize("kind", IDLE)
@virtual_time
async def test_an_idle_peer_does_not_delay_the_download(
    kind: type[Holder],
) -> None:
    async with memory_net() as net:
        idle, honest = net.host(kind(HOLDING)), net.host(SlowHolder(HOLDING, SLOW))
        # Requests to the idle peer are repeated at the other within three seconds.
        await fetch_within(net, 1.5 * HONEST_TIME + 4, idle, honest)
        # It got requests, but not endlessly.
        assert 0 < len(idle.requested) < 2 * HOLDING.chunks.count
        reports = left(net.members[0])
        assert not any(r.is_banned for r in reports if r.address == honest.address)


@pytest.mark.parametrize("kind", [IDLE[0], IDLE[-1]])
@virtual_time
async def test_nine_idle_peers_do_not_delay_the_download(
    kind: type[Holder],
) -> None:
    async with memory_net() as net:
        idle = [net.host(kind(HOLDING)) for _ in range(9)]
        honest = net.host(SlowHolder(HOLDING, SLOW))
        await fetch_within(net, 1.5 * HONEST_TIME + 12, *idle, honest)


async def test_a_copied_node_id_does_not_displace_the_honest_peer(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    same = bytes(range(16))
    async with Silent(HOLDING, same) as copy, Holder(HOLDING, same) as honest:
        link = HOLDING.link
        async with Node(here([copy.address]), rng=Random(1)) as node:
            fetching = asyncio.create_task(node.fetch(link, out, timeout=20))
            await copy.until(lambda: bool(copy.requested))
            for talk in copy.talks:
                listed = [(honest.address.host, honest.address.port)]
                talk.send(Peers(listed))
            await fetching
    assert out.read_bytes() == DATA


async def test_addresses_of_services_are_not_dialled(tmp_path: Path) -> None:
    require(None if os.geteuid() == 0 else "only root may listen at port 22")
    out = tmp_path / "out"
    dialled: list[object] = []

    def on_dialled(reader: object, writer: asyncio.StreamWriter) -> None:
        dialled.append(writer.get_extra_info("sockname"))
        writer.close()

    service = await asyncio.start_server(on_dialled, "127.9.9.9", 22)
    strange = [("127.9.9.9", 0), ("0.0.0.0", 5000), ("169.254.169.254", 8080)]
    stranger = [("224.0.0.1", 5000), ("", 5000), ("\0", 5000), ("localhost", 5000)]
    hosts = ("::", "ff02::1", "fe80::1%lo", "[::1]", "64:ff9b::7f09:909")
    mapped = [("::ffff:127.9.9.9", 22), ("::ffff:169.254.169.254", 8080)]
    ipv6 = [*mapped, *((host, 5000) for host in hosts)]
    victims = [("127.9.9.9", 22), *strange, *stranger, *ipv6]
    async with Poisons(HOLDING, victims) as liar, SlowHolder(HOLDING, SLOW) as honest:
        peers = [liar.address, honest.address]
        events = await fetch_sealed(HOLDING.link, out, peers)
        joined = [e for e in events if isinstance(e, PeerJoined)]
        assert len(joined) == 2, "the node connected with itself"
    service.close()
    assert not dialled
    assert out.read_bytes() == DATA


@pytest.mark.parametrize("kind", RUDE)
async def test_a_peer_that_violates_the_protocol_is_disconnected(
    kind: type[Holder], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    async with kind(HOLDING) as rude, Holder(HOLDING) as honest:
        peers = [rude.address, honest.address]
        await fetch_sealed(HOLDING.link, out, peers)
        assert rude.talks
        await rude.until(lambda: rude.talks[0].is_lost)
    assert out.read_bytes() == DATA


@pytest.mark.parametrize("kind", MANIFEST_LIARS)
async def test_a_liar_about_the_manifest_is_banned(
    kind: type[Holder], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    class Late(Holder):
        """Send the first message once the liar has left."""

        def greet(self, talk: Talk) -> None:
            liar.when_left(lambda: super(Late, self).greet(talk))

    async with kind(HOLDING) as liar, Late(HOLDING) as honest:
        peers = [liar.address, honest.address]
        events = await fetch_sealed(HOLDING.link, out, peers)
        assert [left.is_banned for left in left_of(events, liar.address)] == [True]
        assert len(liar.pages_requested) <= 1
    assert out.read_bytes() == DATA
