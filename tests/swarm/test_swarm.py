"""A sealed share's swarm from hello to goodbye, with nodes joined in memory."""

import asyncio
from functools import partial
from operator import contains
from typing import Any

import pytest

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address import Address
from shoal.core.wire.sealed_messages import (
    Have,
    Hello,
    Page,
    Peers,
    SealedRequest,
)
from shoal.errors import LyingPeerError
from shoal.swarm.dispatcher import COMPLETE_WAIT
from shoal.swarm.manifest_fetcher import PAGE_TIME
from shoal.swarm.receiver import FIRST_PART, MAX_SPLIT
from shoal.transfer.dialler import MAX_PEERS
from shoal.transport.sealed.proven import ProvenPeer
from tests.helpers.holder import Chunk, Heard, Passive, Talk
from tests.helpers.memory_net import MemoryNet, memory_net
from tests.helpers.memory_peers import (
    CONTENT,
    HOLDING,
    MANIFEST,
    SIZE,
    fetch,
    joined,
    left,
    manifest_of,
    source,
    talk_to,
    until_verified,
)
from tests.helpers.memory_store import MemoryStore, TransientStore
from tests.helpers.pages import hash_page
from tests.helpers.virtual_time import virtual_time
from tests.helpers.wire import Content

PAGES = 9
LARGE = build_manifest(
    "large",
    PAGES * 2048 * SIZE,
    SIZE,
    chunk_digest(b"") * (PAGES * 2048),
    salt=b"s" * 16,
)


def count_dials(net: MemoryNet, address: Address) -> list[ProvenPeer]:
    """Return a list that will have everyone who dials an address."""
    dials: list[ProvenPeer] = []
    accept = net.accepts.get(address)

    def note(proven: ProvenPeer) -> Any:
        dials.append(proven)
        return Talk(Passive(HOLDING)) if accept is None else accept(proven)

    net.accepts[address] = note
    return dials


@virtual_time
async def test_one_that_leeches_gets_everything_and_gives_it_on() -> None:
    async with memory_net() as net:
        first, second, third = source(net), net.join(MANIFEST.id), net.join(MANIFEST.id)
        first.begin()
        second.begin(first)
        stores = [await fetch(second)]
        second.swarm.finish()
        await first.swarm.completed.until(1)
        await first.leave()
        third.begin(second)
        stores.append(await fetch(third))
        for store in stores:
            chunks = [store.get(index) for index in range(CONTENT.count)]
            assert b"".join(chunks) == CONTENT.data
        assert first.swarm.uploaded == second.swarm.uploaded == len(CONTENT.data)
        assert joined(second)[0] == first.address
        assert joined(third) == [second.address]


@virtual_time
async def test_what_was_verified_is_announced_while_the_rest_is_fetched() -> None:
    async with memory_net() as net:
        first, second = source(net), net.join(MANIFEST.id)
        first.begin()
        second.begin(first)
        manifest = await second.swarm.load(Manifest.missing)
        second.swarm.begin(TransientStore(manifest.chunks), [3, 4, 9])
        peer = talk_to(net, second).send(Hello(5000))
        await until_verified(second, 9)
        await net.until(lambda: any(isinstance(m, Have) for m in peer.received))
        hellos = [m for m in peer.received if isinstance(m, Hello)]
        assert hellos[-1].root == MANIFEST.root_record
        await second.swarm.stop()


@pytest.mark.parametrize("size", [SIZE, FIRST_PART, 2 * FIRST_PART, 2 * MAX_SPLIT])
@virtual_time
async def test_a_lone_chunk_arrives_whole_in_however_many_parts(size: int) -> None:
    content = Content.make(3 * size, size)
    async with memory_net() as net:
        giver = source(net, content).begin()
        peer = talk_to(net, giver)
        peer.send(Hello(0, manifest_of(content).root_record, bytes(1)))
        for index in (2, 0):
            peer.send(SealedRequest(index))
            wanted = Chunk(index, content.chunk(index))
            await net.until(partial(contains, peer.received, wanted))
        assert giver.swarm.uploaded == 2 * size


@pytest.mark.parametrize("order", [1, -1])
@virtual_time
async def test_two_connections_that_cross_end_up_as_one(order: int) -> None:
    async with memory_net() as net:
        one, two = source(net), source(net)
        for member, other in [(one, two), (two, one)][::order]:
            member.begin(other)
        await asyncio.sleep(1)
        # One that is closed is dialled again, later and later: it stays at one.
        for _ in range(300):
            await asyncio.sleep(1)
            assert (len(one.swarm.peers), len(two.swarm.peers)) == (1, 1)
        assert one.peers == [two.address]
        assert two.peers == [one.address]


@virtual_time
async def test_a_node_id_that_is_copied_costs_nobody_a_connection() -> None:
    async with memory_net() as net:
        # Its id is the larger one, so that it would be its to close the connection.
        other, member = net.join(MANIFEST.id), source(net)
        member.begin(other)
        other.begin()
        await net.until(lambda: len(member.swarm.peers) == 1)
        # A node at another host claims to be it.
        talk_to(net, member, "10.0.66.6", other.node_id).send(Hello(5000))
        await asyncio.sleep(10)
        assert not left(member)
        assert other.address in member.peers


@virtual_time
async def test_who_knows_only_one_hears_of_the_others() -> None:
    async with memory_net() as net:
        first = source(net)
        second, third = net.join(MANIFEST.id), net.join(MANIFEST.id)
        first.begin()
        second.begin(first)
        await net.until(lambda: second.address in first.peers)
        third.begin(first)
        everybody = {first.address, second.address, third.address}
        await net.until(
            lambda: all(
                set(m.peers) == everybody - {m.address} for m in (first, second, third)
            )
        )


@virtual_time
async def test_an_address_that_has_dialled_us_is_not_dialled_in_vain() -> None:
    async with memory_net() as net:
        one, two, member = source(net), source(net), net.join(MANIFEST.id)
        one.begin()
        two.begin(one)
        member.begin(one, two)
        dials = count_dials(net, member.address)
        await asyncio.sleep(300)
        assert set(member.peers) == {one.address, two.address}
        assert not dials


@virtual_time
async def test_who_has_everything_leaves_dialling_to_others_for_a_while() -> None:
    async with memory_net() as net:
        address = Address("10.0.9.9", 5000)
        dials = count_dials(net, address)
        for member in (net.join(MANIFEST.id), source(net)):
            member.begin()
            peer = talk_to(net, member, "10.0.9.8")
            peer.send(Hello(0), Peers([(address.host, address.port)]))
            await asyncio.sleep(COMPLETE_WAIT / 2)
        assert len(dials) == 1, "one who lacks something dials at once"
        await asyncio.sleep(COMPLETE_WAIT)
        assert len(dials) == 2


@virtual_time
async def test_a_newcomer_and_the_others_hear_of_each_other() -> None:
    async with memory_net() as net:
        member = source(net).begin()
        old, silent, new = (talk_to(net, member, f"10.0.9.{n}") for n in range(1, 4))
        old.send(Hello(5001))
        silent.send(Hello(0))  # listens nowhere
        await asyncio.sleep(1)
        new.send(Hello(5003))
        await asyncio.sleep(1)

        def named(peer: Talk) -> list[tuple[str, int]]:
            said = [m.addresses for m in peer.received if isinstance(m, Peers)]
            return [address for addresses in said for address in addresses]

        assert named(old) == [("10.0.9.3", 5003)]
        assert named(new) == [("10.0.9.1", 5001)]
        assert ("10.0.9.2", 0) not in named(old) + named(new)


@virtual_time
async def test_hello_said_twice_is_one_peer() -> None:
    async with memory_net() as net:
        member = source(net).begin()
        peer = talk_to(net, member)
        full = bytes([255] * 5)
        peer.send(Hello(0), Hello(0), Hello(0, MANIFEST.root_record, full))
        await asyncio.sleep(1)
        assert len(joined(member)) == 1
        assert not left(member)
        peer.send(Hello(0, MANIFEST.root_record, full))
        await net.until(lambda: peer.is_lost)
        assert [event.is_banned for event in left(member)] == [False]


@pytest.mark.parametrize("knows", [False, True])
@virtual_time
async def test_a_root_record_that_does_not_give_the_id_is_a_lie(knows: bool) -> None:
    other = manifest_of(CONTENT, b"x" * 16)
    async with memory_net() as net:
        member = source(net) if knows else net.join(MANIFEST.id)
        member.begin()
        peer = talk_to(net, member).send(Hello(5000, other.root_record, bytes(5)))
        await asyncio.sleep(1)
        assert peer.is_lost
        (event,) = left(member)
        assert event.is_banned
        assert event.address.host == "10.0.9.9"
        assert event.address.port not in (0, 5000), "that is only a claim"
        # Another peer may have the port that it claimed.
        honest = talk_to(net, member).send(Hello(5000))
        await asyncio.sleep(1)
        assert not honest.is_lost
        if not knows:
            assert member.swarm.manifest is None


class HalfOfThePages(Passive):
    """Send some pages of a large manifest."""

    def on_message(self, talk: Talk, message: Heard) -> None:
        if isinstance(message, Page) and message.index < PAGES // 2:
            talk.send(Page(*message.key, LARGE.page(message.key)))


def large_hello() -> Hello:
    chunks = LARGE.chunks.count
    return Hello(5000, LARGE.root_record, bytes(chunks // 8))


@virtual_time
async def test_a_manifest_goes_on_when_the_first_to_give_it_leaves() -> None:
    async with memory_net() as net:
        member = net.join(LARGE.id).begin()
        first = net.call(HalfOfThePages(HOLDING), member, "10.0.9.1")
        first.send(large_hello())
        begun = asyncio.get_running_loop().time()
        loading = asyncio.create_task(member.swarm.load(Manifest.missing))
        await net.until(
            lambda: (
                (m := member.swarm.manifest) is not None
                and all(m.page(hash_page(n)) is not None for n in range(PAGES // 2))
            )
        )
        assert not loading.done()
        first.transport.abort()
        other = net.join(LARGE.id)
        other.swarm.serve(LARGE, MemoryStore(LARGE.chunks))
        other.begin(member)
        manifest = await loading
        assert manifest.is_complete
        # What was asked of who left is asked again at once, not when it is late.
        assert asyncio.get_running_loop().time() - begun < PAGE_TIME


@pytest.mark.parametrize("asked", [1, 8])
@virtual_time
async def test_what_is_asked_for_is_given_before_leaving(asked: int) -> None:
    content = Content.make(8 << 20, 1 << 20)
    async with memory_net() as net:
        member = source(net, content).begin()
        peer = talk_to(net, member).send(Hello(5000))
        peer.transport.pause_reading()
        peer.send(*[SealedRequest(index) for index in range(asked)])
        await asyncio.sleep(1)
        draining = asyncio.create_task(member.swarm.drain(60))
        await asyncio.sleep(5)
        assert not draining.done()
        peer.transport.resume_reading()
        await draining
        await member.leave()
        given = [m.index for m in peer.received if isinstance(m, Chunk)]
        assert given == list(range(asked))


@virtual_time
async def test_one_that_never_reads_does_not_hold_up_leaving_for_ever() -> None:
    content = Content.make(8 << 20, 1 << 20)
    async with memory_net() as net:
        member = source(net, content).begin()
        peer = talk_to(net, member).send(Hello(5000))
        peer.transport.pause_reading()
        peer.send(*[SealedRequest(index) for index in range(content.count)])
        await asyncio.sleep(1)
        begun = asyncio.get_running_loop().time()
        await member.swarm.drain(10)
        assert asyncio.get_running_loop().time() - begun == pytest.approx(10, abs=1)


@virtual_time
async def test_who_asks_without_end_and_never_reads_is_not_read_from() -> None:
    async with memory_net() as net:
        member = source(net).begin()
        peer = talk_to(net, member).send(Hello(5000))
        peer.transport.pause_reading()
        for _ in range(200):
            peer.send(*[SealedRequest(index % 40) for index in range(500)])
            await asyncio.sleep(0.01)
        (connection,) = (p.connection for p in member.swarm.peers)
        # What waits for it is bounded, however much it asks for.
        assert connection.sent < 4 << 20
        assert peer.transport.get_write_buffer_size() > 0


@virtual_time
async def test_a_liar_of_a_dialled_address_is_dialled_no_more() -> None:
    async with memory_net() as net:
        member, dials = net.join(MANIFEST.id), 0
        address = Address("10.0.7.7", 4000)
        liar = manifest_of(CONTENT, b"y" * 16)

        def accept(proven: ProvenPeer) -> Talk:
            nonlocal dials
            dials += 1
            peer = Talk(Passive(HOLDING))
            hello = Hello(4000, liar.root_record, bytes(5))
            asyncio.get_running_loop().call_later(0.1, peer.send, hello)
            return peer

        net.accepts[address] = accept
        member.swarm._connections._dialler.add(address, "test")
        member.begin()
        await asyncio.sleep(500)
        assert dials == 1
        assert [event.is_banned for event in left(member)] == [True]
        with pytest.raises(LyingPeerError):
            Manifest(MANIFEST.id, liar.root_record)


@virtual_time
async def test_many_who_dial_in_do_not_keep_a_downloader_from_dialling() -> None:
    async with memory_net() as net:
        honest, member = source(net), net.join(MANIFEST.id)
        honest.begin()
        for _ in range(MAX_PEERS):
            talk_to(net, member).send(Hello(0))
        member.begin(honest)
        async with asyncio.timeout(60):
            await fetch(member)
