"""Nodes that reach nobody meet at a relay; they use it only as long as they need it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from shoal.core.names.address import Address
from shoal.core.report.events import Notice, PeerJoined
from shoal.core.wire.sealed_messages import Hello, Meeting, Peers
from shoal.errors import PeerError, RelayError
from shoal.swarm.relays import REST, Meet, Relays
from shoal.transport.sealed.proven import Factory, ProvenPeer
from shoal.transport.sealed.relay import DIRECT_TIME
from tests.helpers.holder import Passive, Talk
from tests.helpers.memory_net import Member, MemoryTransport, memory_net
from tests.helpers.memory_peers import HOLDING, MANIFEST, fetch, source, talk_to
from tests.helpers.virtual_time import now, virtual_time

RELAY = Address("8.8.4.4", 4100)


class MemoryRelay:
    """A relay that joins members as the real one does."""

    def __init__(self) -> None:
        self.is_down = False
        self.arrivals: list[tuple[float, bytes]] = []
        """When nodes came, and their ids."""
        self._waiting: dict[bytes, tuple[Factory, asyncio.Future[None]]] = {}

    def meet_of(self, node_id: bytes) -> Meet:
        """Return how a node waits here."""

        async def meet(
            relay: Address, factory: Factory, on_met: Callable[[], None]
        ) -> None:
            self.arrivals.append((now(), node_id))
            if self.is_down:
                raise RelayError("it is down")
            for other in list(self._waiting):
                if other != node_id:
                    theirs, joined = self._waiting.pop(other)
                    on_met()
                    self._join((node_id, factory), (other, theirs), joined)
                    return
            mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[node_id] = factory, mine
            try:
                await mine
            finally:
                self._waiting.pop(node_id, None)

        return meet

    def _join(
        self,
        one: tuple[bytes, Factory],
        other: tuple[bytes, Factory],
        joined: asyncio.Future[None],
    ) -> None:
        ends = [MemoryTransport(asyncio.BufferedProtocol(), RELAY) for _ in range(2)]
        ends[0].other, ends[1].other = ends[1], ends[0]
        try:
            for end, (_, factory), (their_id, _) in zip(
                ends, (one, other), (other, one), strict=True
            ):
                proven = ProvenPeer(RELAY, their_id, 2, is_relayed=True)
                end.protocol = factory(proven)
        except PeerError as error:
            ends[0].abort()
            joined.set_exception(PeerError("the other end hung up"))
            raise error
        for end in ends:
            end.protocol.connection_made(end)
        joined.set_result(None)

    @property
    def waiting(self) -> set[bytes]:
        """Return the ids of the nodes that wait."""
        return set(self._waiting)


@asynccontextmanager
async def at_relay(
    relay: MemoryRelay, *members: Member, notices: list[Notice] | None = None
) -> AsyncIterator[None]:
    """Let members use a relay."""

    async def named() -> AsyncIterator[tuple[Address, str]]:
        yield RELAY, "peer"

    noted: list[Notice] = [] if notices is None else notices
    tasks = [
        asyncio.create_task(
            Relays(
                member.swarm, relay.meet_of(member.node_id), Random(1), noted.append
            ).run(named())
        )
        for member in members
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            assert task.cancelled(), task.exception()


def relayed(member: Member) -> int:
    """Return how many peers a member has met at the relay."""
    return sum(peer.is_relayed for peer in member.swarm.peers)


@virtual_time
async def test_downloads_that_met_each_other_still_meet_a_source() -> None:
    relay = MemoryRelay()
    async with memory_net() as net:
        first, second = (net.join(MANIFEST.id).begin() for _ in range(2))
        async with at_relay(relay, first, second):
            await net.until(lambda: relayed(first) == 1)
            seed = source(net).begin()
            async with at_relay(relay, seed):
                await asyncio.gather(fetch(first), fetch(second))
        events = [e for e in first.events if isinstance(e, PeerJoined)]
        assert {(e.address, e.source) for e in events} == {(RELAY, "relayed")}
        assert net.dials == []


@virtual_time
async def test_a_download_that_gets_chunks_does_without_the_relay() -> None:
    relay = MemoryRelay()
    async with memory_net() as net:
        seed = source(net, limit_up=30_000.0).begin()
        getter = net.join(MANIFEST.id).begin(seed)
        async with at_relay(relay, seed, getter):
            started = now()
            await fetch(getter)
            assert now() - started > 2 * DIRECT_TIME
            assert {node_id for _, node_id in relay.arrivals} == {seed.node_id}


@virtual_time
async def test_a_download_waits_at_the_relay_only_while_it_stalls() -> None:
    relay = MemoryRelay()
    async with memory_net() as net:
        getter = net.join(MANIFEST.id).begin()
        async with at_relay(relay, getter):
            await net.until(lambda: getter.node_id in relay.waiting)
            assert relay.arrivals[0][0] >= DIRECT_TIME
            seed = source(net).begin(getter)
            await fetch(getter)
            await net.until(lambda: relayed(getter) == 0)
            assert [peer.address for peer in getter.swarm.peers] == [seed.address]


@virtual_time
async def test_two_complete_nodes_connect_once_and_come_rarely_after_that() -> None:
    relay = MemoryRelay()
    async with memory_net() as net:
        seeds = [source(net).begin() for _ in range(2)]
        async with at_relay(relay, *seeds):
            await asyncio.sleep(240.0)
            assert [relayed(seed) for seed in seeds] == [1, 1]
            before = len(relay.arrivals)
            await asyncio.sleep(240.0)
            # Each comes back after half of the longest pause, on average.
            assert len(relay.arrivals) - before < 2 * 240.0 / (REST[1] / 4)
            getter = net.join(MANIFEST.id).begin()
            async with at_relay(relay, getter):
                await fetch(getter)


@virtual_time
async def test_a_relay_that_is_down_is_reported_and_tried_again() -> None:
    relay, notices = MemoryRelay(), list[Notice]()
    relay.is_down = True
    async with memory_net() as net:
        seed = source(net).begin()
        async with at_relay(relay, seed, notices=notices):
            await asyncio.sleep(300.0)
            assert 300.0 / REST[1] <= len(relay.arrivals) < 40
            relay.is_down = False
            await net.until(lambda: seed.node_id in relay.waiting)
    assert {note.text for note in notices} == {
        f"The relay {RELAY} cannot be used: it is down. Trying again."
    }


def relayed_talk(member: Member, node_id: bytes = b"r" * 16) -> Talk:
    """Connect a peer that a relay has joined, and that says only what the test says."""
    holder = Passive(HOLDING, node_id)
    ends = [MemoryTransport(asyncio.BufferedProtocol(), RELAY) for _ in range(2)]
    ends[0].other, ends[1].other = ends[1], ends[0]
    proven = ProvenPeer(RELAY, node_id, 2, is_relayed=True)
    ends[0].protocol = member.swarm.accept(proven)
    ends[1].protocol = holder.accept(proven)
    for end in ends:
        end.protocol.connection_made(end)
    return holder.talks[-1]


@virtual_time
async def test_no_address_leads_to_or_from_a_peer_at_a_relay() -> None:
    async with memory_net() as net:
        seed = source(net).begin()
        near, far = talk_to(net, seed), relayed_talk(seed)
        near.send(Hello(4004))
        far.send(Hello(4005))
        # An address that only a peer on the same network could know.
        far.send(Peers([("10.0.3.3", 4006)]))
        await net.until(lambda: len(joined_sources(seed)) == 2)
        await asyncio.sleep(1.0)
        (told,) = (m for m in far.received if isinstance(m, Hello))
        assert (told.port, told.seen) == (0, None)
        assert [m.port for m in near.received if isinstance(m, Hello)] == [4000]
        for talk in (near, far):
            assert not [m for m in talk.received if isinstance(m, Peers)]
        assert net.dials == []


def joined_sources(member: Member) -> list[str]:
    """Return the sources of the peers that joined, in order."""
    return [each.source for each in member.events if isinstance(each, PeerJoined)]


@virtual_time
async def test_a_relay_is_left_once_the_same_node_sends_chunks_directly() -> None:
    relay = MemoryRelay()
    async with memory_net() as net:
        seed = source(net, limit_up=40_000.0).begin()
        getter = net.join(MANIFEST.id).begin()
        async with at_relay(relay, seed, getter):
            fetching = asyncio.create_task(fetch(getter))
            await net.until(lambda: relayed(getter) == 1)
            getter.swarm._connections._dialler.add(seed.address, "dht")
            await net.until(lambda: relayed(getter) == 0)
            assert not fetching.done()
            assert [peer.address for peer in getter.swarm.peers] == [seed.address]
            await fetching


@virtual_time
async def test_two_at_a_relay_leave_it_when_a_common_peer_has_them_meet() -> None:
    relay, outside = MemoryRelay(), Address("8.8.2.2", 5000)
    async with memory_net() as net:
        seed = source(net, limit_up=40_000.0).begin()
        getter = net.join(MANIFEST.id).begin()
        async with at_relay(relay, seed, getter):
            fetching = asyncio.create_task(fetch(getter))
            await net.until(lambda: relayed(getter) == 1)
            net.accepts[outside] = seed.swarm.accept
            net._node_ids[outside] = seed.node_id
            common = talk_to(net, getter, "8.8.1.1", b"c" * 16).send(Hello(0))
            common.send(Meeting(outside.host, [outside.port], 0))
            await net.until(lambda: relayed(getter) == 0)
            assert not fetching.done()
            assert outside in {peer.dialled for peer in getter.swarm.peers}
            await fetching
