"""A liar behind one public address does not harm the other nodes behind it."""

import asyncio
from functools import partial

from shoal.core.bans import BAN_TIME, MAX_LIARS, TRIAL_TIME
from shoal.core.names.address import Address
from shoal.core.wire.sealed_messages import Have, Hello, Peers, SealedRequest
from tests.helpers.badholders import FlipsABit
from tests.helpers.holder import Holder, SlowHolder, Talk
from tests.helpers.memory_net import Member, MemoryNet, memory_net
from tests.helpers.memory_peers import (
    CONTENT,
    HOLDING,
    MANIFEST,
    fetch,
    left,
    source,
    talk_to,
)
from tests.helpers.memory_store import MemoryStore
from tests.helpers.virtual_time import virtual_time

NAT = "8.8.4.4"


def dial_in(net: MemoryNet, member: Member, holder: Holder, port: int = 0) -> Talk:
    """Let a peer behind the NAT dial a member; it claims to listen at `port`."""
    holder.address = Address(NAT, port)
    return net.call(holder, member, NAT)


async def lie(net: MemoryNet, member: Member, times: int = 1, port: int = 0) -> None:
    """Let a liar behind the NAT dial in, send a wrong chunk, and dial in again."""
    for _ in range(times):
        liar = dial_in(net, member, FlipsABit(HOLDING), port)
        await net.until(partial(getattr, liar, "is_lost"))
    await asyncio.sleep(1)


def downloading(net: MemoryNet) -> tuple[Member, "asyncio.Task[MemoryStore]"]:
    """Let a member begin to download, with no peer yet."""
    member = net.join(MANIFEST.id).begin()
    return member, asyncio.create_task(fetch(member))


@virtual_time
async def test_one_liar_bans_none_of_63_neighbours() -> None:
    async with memory_net() as net:
        member, fetching = downloading(net)
        await lie(net, member)
        honest = [dial_in(net, member, SlowHolder(HOLDING, 1.0)) for _ in range(63)]
        await fetching
        assert not any(each.is_lost for each in honest)
        assert all(each.requested for each in honest[:39])
        assert [event.is_banned for event in left(member)] == [True]


@virtual_time
async def test_a_liar_that_claims_the_port_of_its_neighbour_bans_it_not() -> None:
    async with memory_net() as net:
        member, fetching = downloading(net)
        await lie(net, member, port=5000)
        dial_in(net, member, Holder(HOLDING), 5000)
        assert (await fetching).get(7) == CONTENT.chunk(7)


@virtual_time
async def test_a_liar_on_a_private_host_bans_no_port_but_its_own() -> None:
    async with memory_net() as net:
        member, fetching = downloading(net)
        honest = net.host(SlowHolder(HOLDING, 1.0))
        for _ in range(MAX_LIARS + 1):
            liar = FlipsABit(HOLDING)
            liar.address = honest.address
            talk = net.call(liar, member)
            await net.until(partial(getattr, talk, "is_lost"), step=0.01)
            await asyncio.sleep(0.1)
        host, port = honest.address
        talk_to(net, member).send(Hello(0), Peers([(host, port)]))
        assert (await fetching).get(7) == CONTENT.chunk(7)
        assert honest.talks[0].requested


@virtual_time
async def test_a_liar_that_returns_wastes_few_chunks() -> None:
    async with memory_net() as net:
        member, fetching = downloading(net)
        await lie(net, member, MAX_LIARS)
        honest = dial_in(net, member, Holder(HOLDING))
        liars = [dial_in(net, member, FlipsABit(HOLDING)) for _ in range(20)]
        await asyncio.sleep(TRIAL_TIME / 2)
        assert not honest.requested
        assert not any(liar.requested for liar in liars)
        assert not any(liar.is_lost for liar in liars), "they may download"
        await fetching
        assert sum(len(liar.requested) for liar in liars) <= 1


@virtual_time
async def test_an_honest_peer_has_its_turn_behind_a_crowd_of_liars() -> None:
    async with memory_net() as net:
        member, fetching = downloading(net)
        await lie(net, member, MAX_LIARS)
        liars = [dial_in(net, member, FlipsABit(HOLDING)) for _ in range(20)]
        honest = dial_in(net, member, Holder(HOLDING))
        async with asyncio.timeout(90):
            assert (await fetching).get(7) == CONTENT.chunk(7)
        assert honest.requested
        assert all(len(liar.requested) <= 1 for liar in liars)


@virtual_time
async def test_of_a_distrusted_host_a_peer_that_was_dialled_is_tried_first() -> None:
    async with memory_net() as net:
        member, fetching = downloading(net)
        await lie(net, member, MAX_LIARS)
        liars = [dial_in(net, member, FlipsABit(HOLDING)) for _ in range(20)]
        honest = Holder(HOLDING)
        honest.address = Address(NAT, 5000)
        net.accepts[honest.address] = honest.accept
        talk_to(net, member).send(Hello(0), Peers([(NAT, 5000)]))
        await fetching
        assert honest.talks[0].requested
        assert not any(liar.requested for liar in liars)


@virtual_time
async def test_neighbours_that_have_proven_themselves_are_used_on() -> None:
    async with memory_net() as net:
        member, fetching = downloading(net)
        proven = dial_in(net, member, SlowHolder(HOLDING, 1.0))
        await net.until(lambda: bool(member.swarm.peers[0].verified))
        await lie(net, member, MAX_LIARS)
        before = len(proven.requested)
        await asyncio.sleep(5)
        assert len(proven.requested) > before
        await fetching


@virtual_time
async def test_peers_at_a_distrusted_host_are_served() -> None:
    async with memory_net() as net:
        seed = source(net)
        member, fetching = downloading(net)
        await lie(net, member, MAX_LIARS)
        seed.begin(member)
        await fetching

        class Asks(Holder):
            bitfield = bytes(5)

        talk = dial_in(net, member, Asks(HOLDING))
        talk.send(SealedRequest(7))
        await net.until(lambda: talk.chunks == [7])


@virtual_time
async def test_a_host_is_trusted_again_after_a_while() -> None:
    async with memory_net() as net:
        member, fetching = downloading(net)
        await lie(net, member, MAX_LIARS)
        await asyncio.sleep(BAN_TIME)
        honest = [dial_in(net, member, SlowHolder(HOLDING, 5.0)) for _ in range(9)]
        await fetching
        assert all(each.requested for each in honest)


@virtual_time
async def test_peers_that_were_connected_before_are_tried_one_after_another() -> None:
    """They had nothing to request when their host was still trusted."""

    class Waits(FlipsABit):
        bitfield = bytes(5)

    async with memory_net() as net:
        member, fetching = downloading(net)
        liars = [dial_in(net, member, Waits(HOLDING)) for _ in range(9)]
        await lie(net, member, MAX_LIARS)
        for liar in liars:
            liar.send(Have([(0, 40)]))
        await asyncio.sleep(TRIAL_TIME / 2)
        assert not any(liar.requested for liar in liars)
        await asyncio.sleep(TRIAL_TIME)
        assert [bool(liar.requested) for liar in liars].count(True) == 1
        fetching.cancel()
        await asyncio.wait([fetching])
