"""Two nodes hold one connection, whatever addresses they know of each other."""

import asyncio

import pytest

from shoal.core.dials import INTRODUCTION_PERIOD
from shoal.core.names.address import Address
from shoal.core.peerbook import MAX_UNPROVEN
from shoal.core.wire.sealed_messages import MAX_PEERS, Hello, Peers
from tests.helpers.holder import Holder, Talk
from tests.helpers.memory_net import Member, MemoryNet, memory_net
from tests.helpers.memory_peers import (
    HOLDING,
    MANIFEST,
    fetch,
    joined,
    left,
    source,
    talk_to,
)
from tests.helpers.virtual_time import virtual_time


def add_address(net: MemoryNet, member: Member, host: str) -> Address:
    """Give a member a second address, at which the same node answers."""
    address = Address(host, member.address.port)
    return net.add_address(member, address)


def named(peer: Talk) -> list[tuple[str, int]]:
    """Return the addresses that a peer was told."""
    said = [m.addresses for m in peer.received if isinstance(m, Peers)]
    return [address for addresses in said for address in addresses]


@pytest.mark.parametrize("swapped", [False, True])
@virtual_time
async def test_a_node_with_two_addresses_is_one_peer(swapped: bool) -> None:
    """Whichever of the two nodes has the larger id."""
    async with memory_net() as net:
        if swapped:
            getter, seed = net.join(MANIFEST.id), source(net)
        else:
            seed, getter = source(net), net.join(MANIFEST.id)
        second = add_address(net, seed, "10.0.7.7")
        getter_second = add_address(net, getter, "10.0.8.8")
        seed.begin(getter)
        getter.begin(seed)
        getter.swarm._connections._dialler.add(second, "lan")
        seed.swarm._connections._dialler.add(getter_second, "lan")
        await fetch(getter)
        await asyncio.sleep(5)
        assert len(getter.swarm.peers) == len(seed.swarm.peers) == 1
        net.dials.clear()
        await asyncio.sleep(120)
        assert len(getter.swarm.peers) == len(seed.swarm.peers) == 1
        assert not net.dials, "a connected pair dials again"
        # Once the connection is lost, every address is worth a try again.
        del net.accepts[seed.address]
        for peer in seed.swarm.peers:
            peer.close()
        await net.until(lambda: bool(getter.swarm.peers))


@virtual_time
async def test_a_peer_that_transfers_nothing_keeps_one_connection() -> None:
    """The two nodes wait for the same chunk, so neither is of use to the other."""
    async with memory_net() as net:
        one, other = net.join(MANIFEST.id), net.join(MANIFEST.id)
        second = add_address(net, other, "10.0.7.7")
        one.begin(other)
        other.begin()
        one.swarm._connections._dialler.add(second, "lan")
        await asyncio.sleep(5)
        assert len(one.swarm.peers) == 2, "the first may have a copied node id"
        await asyncio.sleep(30)
        assert len(one.swarm.peers) == len(other.swarm.peers) == 1


@pytest.mark.parametrize("is_newer", [False, True])
@virtual_time
async def test_of_two_connections_the_one_that_was_used_is_kept(
    is_newer: bool,
) -> None:
    """A chunk that comes too late to be written counts as use, as it does there."""
    async with memory_net() as net:
        seed, getter = source(net), net.join(MANIFEST.id)
        second = add_address(net, seed, "10.0.7.7")
        seed.begin()
        getter.begin(seed)
        getter.swarm._connections._dialler.add(second, "lan")
        await net.until(lambda: len(getter.swarm.peers) == 2)
        getter.swarm.peers[is_newer].request([0])
        kept = getter.swarm.peers[is_newer]
        await net.until(lambda: len(getter.swarm.peers) == 1)
        assert getter.swarm.peers == [kept]
        await asyncio.sleep(1)
        assert len(seed.swarm.peers) == 1


@virtual_time
async def test_a_source_with_two_addresses_chooses_from_the_start() -> None:
    """If it seemed to be two sources, each chunk would be requested by its index."""
    async with memory_net() as net:
        getter = net.join(MANIFEST.id)
        same = [net.host(Holder(HOLDING, b"s" * 16)) for _ in range(2)]
        getter.begin(*same)
        await net.until(lambda: len(getter.swarm.peers) == 2)
        await fetch(getter)
        used, unused = sorted(same, key=lambda each: not each.requested)
        assert set(used.requested) == {None}
        assert not unused.requested


@virtual_time
async def test_only_a_peer_that_has_joined_is_reported_as_left() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        silent, known = talk_to(net, seed), talk_to(net, seed, "10.0.9.8")
        known.send(Hello(5000))
        await asyncio.sleep(1)
        silent.transport.abort()
        known.transport.abort()
        await asyncio.sleep(1)
        assert len(joined(seed)) == len(left(seed)) == 1


@virtual_time
async def test_peers_are_told_the_address_that_was_connected_not_the_name() -> None:
    async with memory_net() as net:
        seed, member = source(net), net.join(MANIFEST.id)
        name = Address("pod-0.very-long-name.namespace.svc.cluster.local", 4000)
        net.add_address(seed, name)
        seed.begin()
        member.begin()
        member.swarm._connections._dialler.add(name, "peer")
        await net.until(lambda: bool(member.swarm.peers))
        connected = member.swarm.peers[0].connection.address.host
        peer = talk_to(net, member).send(Hello(5000))
        await asyncio.sleep(1)
        assert named(peer) == [(connected, 4000)]


@virtual_time
async def test_a_peer_on_the_internet_is_not_told_of_private_addresses() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        near, far, other = (
            talk_to(net, seed, host) for host in ("10.0.9.1", "8.8.4.4", "8.8.8.8")
        )
        for port, peer in enumerate((near, far, other), 5000):
            peer.send(Hello(port))
            await asyncio.sleep(1)
        assert named(far) == [("8.8.8.8", 5002)]
        assert named(other) == [("8.8.4.4", 5001)]
        assert named(near) == [("8.8.4.4", 5001), ("8.8.8.8", 5002)]


@virtual_time
async def test_a_link_local_address_is_told_without_zone_and_on_its_link_only() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        hosts = ("fe80::1%eth0", "fe80::2%eth1", "fe80::3%eth0", "fd00::4", "10.0.9.1")
        told = [talk_to(net, seed, host) for host in hosts]
        for port, peer in enumerate(told, 5001):
            peer.send(Hello(port))
            await asyncio.sleep(1)
        others = [("fd00::4", 5004), ("10.0.9.1", 5005)]
        assert named(told[0]) == [("fe80::3", 5003), *others]
        assert named(told[1]) == others
        assert named(told[2]) == [("fe80::1", 5001), *others]
        assert named(told[3]) == others[1:]


@virtual_time
async def test_addresses_of_either_family_are_dialled_as_they_are_believed() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        far, near = (talk_to(net, seed, host) for host in ("2a01::1", "fe80::1%eth0"))
        listed = ["FD00::0:9", "fe80::9", "2A02::9", "::ffff:8.8.8.8", "::1", "::"]
        listed += ["2002:a00:1::9", "64:ff9b::a00:1", "::ffff:10.0.0.9", "fe80::9%lo"]
        for peer in (far, near):
            peer.send(Hello(0), Peers([(host, 5000) for host in listed]))
            await asyncio.sleep(INTRODUCTION_PERIOD + 1)
            dialled, net.dials[:] = {str(address) for _, address in net.dials}, []
            expected = {"[2a02::9]:5000", "8.8.8.8:5000"}
            if peer is near:
                expected |= {"[fd00::9]:5000", "[fe80::9%eth0]:5000", "10.0.0.9:5000"}
            assert dialled == expected


@virtual_time
async def test_addresses_in_one_ipv6_prefix_are_dialled_with_restraint() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        liar = talk_to(net, seed, "2a01::1").send(Hello(0))
        for page in range(20):
            listed = [(f"2a02:0:0:1::{page:x}:{i:x}", 5000) for i in range(MAX_PEERS)]
            liar.send(Peers(listed))
        await asyncio.sleep(1.5)
        assert len(net.dials) == MAX_UNPROVEN


@virtual_time
async def test_a_hello_may_state_the_port_once() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        peer = talk_to(net, seed).send(Hello(5000), Hello(5000))
        await asyncio.sleep(1)
        assert not peer.is_lost
        peer.send(Hello(5001))
        await asyncio.sleep(1)
        assert peer.is_lost


@pytest.mark.parametrize("is_larger", [False, True])
@pytest.mark.parametrize("dialler", ["client", "server"])
@virtual_time
async def test_of_a_crossed_and_a_dialled_connection_one_is_left(
    dialler: str, is_larger: bool
) -> None:
    """Two nodes that dialled each other as one connection, and dial once more."""
    async with memory_net() as net:
        members = source(net), net.join(MANIFEST.id)
        client, server = sorted(
            members, key=lambda each: each.node_id, reverse=is_larger
        )
        client.begin()
        server.begin()
        await asyncio.sleep(0.1)
        net.cross(client, server)
        await asyncio.sleep(0.1)
        who, whom = (client, server) if dialler == "client" else (server, client)
        who.swarm._connections._dialler.add(whom.address, "dht")
        await fetch(members[1])
        assert len(client.swarm.peers) == len(server.swarm.peers) == 1
        await asyncio.sleep(40)
        assert len(client.swarm.peers) == len(server.swarm.peers) == 1
