"""A peer that two others are connected with has them dial each other."""

import asyncio

import pytest

from shoal.core.dials import INTRODUCTION_PERIOD
from shoal.core.names.address import Address
from shoal.core.wire.sealed_messages import Hello, Meeting, Peers
from shoal.swarm.introductions import MAX_MEETINGS, arrange_meeting
from tests.helpers.holder import Talk
from tests.helpers.memory_net import Member, MemoryNet, MemoryTransport, memory_net
from tests.helpers.memory_peers import MANIFEST, source, talk_to
from tests.helpers.virtual_time import virtual_time

ONE, OTHER, PRIVATE = "8.8.1.1", "8.8.2.2", "10.0.9.9"
VICTIM = Address("9.9.9.9", 5000)


def node_id(host: str) -> bytes:
    return host.encode().ljust(16, b".")


def call(net: MemoryNet, member: Member, host: str, port: int = 5000) -> Talk:
    """Connect a peer that sends only hello."""
    return talk_to(net, member, host, node_id(host)).send(Hello(port))


def meetings(peer: Talk) -> list[Meeting]:
    return [each for each in peer.received if isinstance(each, Meeting)]


def dials_of(net: MemoryNet, address: Address) -> int:
    return sum(dialled == address for _, dialled in net.dials)


@virtual_time
async def test_two_on_the_internet_are_told_to_dial_each_other() -> None:
    async with memory_net() as net:
        hub = source(net).begin()
        one = call(net, hub, ONE)
        await asyncio.sleep(0.1)
        other = call(net, hub, OTHER)
        await asyncio.sleep(0.1)
        (at_one,), (at_other,) = meetings(one), meetings(other)
        assert (at_one.host, at_other.host) == (OTHER, ONE)
        # The port of its hello, and the one that the hub sees.
        assert at_one.ports[0] == at_other.ports[0] == 5000
        assert len(at_one.ports) == 2
        assert at_one.wait == at_other.wait == 0


@virtual_time
async def test_the_nearer_one_waits_for_half_of_the_difference() -> None:
    async with memory_net() as net:
        hub = source(net).begin()
        near, far = call(net, hub, ONE), call(net, hub, OTHER, port=0)
        await asyncio.sleep(0.1)
        for peer in hub.swarm.peers:
            is_near = peer.connection.address.host == ONE
            transport = peer.connection._transport
            assert isinstance(transport, MemoryTransport)
            transport._socket.round_trip = 0.02 if is_near else 0.3
        first, second = hub.swarm.peers
        arrange_meeting(first, second)
        arrange_meeting(second, first)
        await asyncio.sleep(0.1)
        assert meetings(near)[-1].wait == 140
        assert meetings(far)[-1].wait == 0


@pytest.mark.parametrize(
    ("host", "port"),
    [(PRIVATE, 5000), (ONE, 5000), (OTHER, 0)],
    ids=["private", "same host", "no port"],
)
@virtual_time
async def test_others_are_not_told_to_meet(host: str, port: int) -> None:
    async with memory_net() as net:
        hub = source(net).begin()
        one = call(net, hub, ONE)
        await asyncio.sleep(0.1)
        other = talk_to(net, hub, host, b"2" * 16).send(Hello(port))
        await asyncio.sleep(0.1)
        assert not meetings(one)
        assert not meetings(other)


@virtual_time
async def test_a_newcomer_meets_only_so_many_at_once() -> None:
    async with memory_net() as net:
        hub = source(net).begin()
        for number in range(2 * MAX_MEETINGS):
            call(net, hub, f"8.8.3.{number + 1}")
        await asyncio.sleep(0.1)
        newcomer = call(net, hub, ONE)
        await asyncio.sleep(0.1)
        assert len(meetings(newcomer)) == MAX_MEETINGS


@virtual_time
async def test_one_that_is_told_dials_after_the_wait() -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id).begin()
        hub = call(net, member, ONE)
        hub.send(Meeting(VICTIM.host, [VICTIM.port, 6000], 1500))
        await asyncio.sleep(1.4)
        assert not net.dials
        await asyncio.sleep(0.2)
        assert {dialled for _, dialled in net.dials} == {
            VICTIM,
            Address(VICTIM.host, 6000),
        }


@virtual_time
async def test_an_address_that_has_failed_is_dialled_when_it_dials_us() -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id).begin()
        hub = call(net, member, ONE)
        member.swarm._connections._dialler.add(VICTIM, "dht")
        await asyncio.sleep(200)
        before = dials_of(net, VICTIM)
        hub.send(Meeting(VICTIM.host, [VICTIM.port], 0))
        await asyncio.sleep(0.1)
        assert dials_of(net, VICTIM) == before + 1


@pytest.mark.parametrize(
    "host",
    [PRIVATE, "127.0.0.1", "169.254.169.254", "224.0.0.1", "", "\0", "localhost"],
)
@virtual_time
async def test_a_claimed_address_that_its_author_cannot_have_met_is_not_dialled(
    host: str,
) -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id).begin()
        call(net, member, ONE).send(Meeting(host, [5000, 22], 0))
        call(net, member, OTHER).send(Meeting(VICTIM.host, [22, 0], 0))
        await asyncio.sleep(5)
        assert not net.dials
        assert len(member.swarm.peers) == 2, "no address ends a connection"


@virtual_time
async def test_a_victim_is_dialled_once_a_minute_whoever_claims_it() -> None:
    """From all introductions together: of many peers, in any message, at any time."""
    async with memory_net() as net:
        member = net.join(MANIFEST.id).begin()
        liars = [call(net, member, f"8.8.3.{number + 1}") for number in range(5)]
        minutes = 10
        for _ in range(int(minutes * INTRODUCTION_PERIOD)):
            for liar in liars:
                liar.send(Meeting(VICTIM.host, [VICTIM.port], 0))
            await asyncio.sleep(1)
        assert 1 <= dials_of(net, VICTIM) <= minutes + 1


@virtual_time
async def test_a_node_meets_no_one_that_it_is_connected_with() -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id).begin()
        hub, known = call(net, member, ONE), call(net, member, OTHER)
        await asyncio.sleep(0.1)
        hub.send(Meeting(OTHER, [5000], 0))
        await asyncio.sleep(5)
        assert not net.dials
        assert not known.is_lost


ONE_V6, OTHER_V6 = "2a00:1::1", "2a00:2::2"


def call_by(net: MemoryNet, member: Member, node: str, host: str) -> Talk:
    """Connect a node from one of its addresses."""
    return talk_to(net, member, host, node_id(node)).send(Hello(5000))


@virtual_time
async def test_both_addresses_of_a_node_are_named() -> None:
    async with memory_net() as net:
        hub = source(net).begin()
        by_v6 = call_by(net, hub, ONE, ONE_V6)
        await asyncio.sleep(0.1)
        call_by(net, hub, ONE, ONE)
        await asyncio.sleep(0.1)
        by_v6.close()  # one of its two connections is kept
        await net.until(lambda: len(hub.swarm.peers) == 1)
        other = call(net, hub, OTHER)
        await asyncio.sleep(0.1)
        assert [each.host for each in meetings(other)] == [ONE, ONE_V6]
        (named,) = (each for each in other.received if isinstance(each, Peers))
        assert named.addresses == [(ONE, 5000), (ONE_V6, 5000)]


@virtual_time
async def test_two_that_are_connected_by_ipv4_are_told_of_ipv6() -> None:
    async with memory_net() as net:
        hub = source(net).begin()
        peers = []
        for node, host in ((ONE, ONE_V6), (OTHER, OTHER_V6)):
            former = call_by(net, hub, node, host)
            await asyncio.sleep(0.1)
            peers.append(call_by(net, hub, node, node))
            await asyncio.sleep(0.1)
            former.close()
        await net.until(lambda: len(hub.swarm.peers) == 2)
        heard = [{each.host for each in meetings(peer)} for peer in peers]
        assert heard[0] >= {OTHER, OTHER_V6}
        assert heard[1] >= {ONE, ONE_V6}


@virtual_time
async def test_the_former_address_of_a_node_that_has_left_is_forgotten() -> None:
    async with memory_net() as net:
        hub = source(net).begin()
        gone = call_by(net, hub, ONE, ONE_V6)
        await asyncio.sleep(0.1)
        gone.close()
        await net.until(lambda: not hub.swarm.peers)
        call(net, hub, OTHER)
        await asyncio.sleep(0.1)
        call(net, hub, ONE)
        third = call(net, hub, "8.8.3.3")
        await asyncio.sleep(0.1)
        assert sorted(each.host for each in meetings(third)) == [ONE, OTHER]
