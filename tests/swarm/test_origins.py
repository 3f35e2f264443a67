"""Nodes fetch from origins what no peer has, and from each other the rest.

In virtual time, with peers and origins in memory.
"""

import asyncio
from collections.abc import Callable

import pytest

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.report.stall_timer import ORIGIN_LIARS_TIME
from shoal.core.schedule.origin_requests import FETCH_TIME
from shoal.core.wire.sealed_messages import Hello, OriginFetch
from shoal.errors import (
    NotFoundError,
    PeerError,
    UnfinishedError,
    VerificationError,
)
from shoal.swarm.connections import STALL_LIMIT
from shoal.swarm.origins import SETTLE_TIME
from tests.helpers.memory_net import MemoryNet, memory_net
from tests.helpers.memory_origin import Line, MemoryOrigin
from tests.helpers.memory_peers import (
    CONTENT,
    MANIFEST,
    SIZE,
    fetch,
    manifest_of,
    source,
    talk_to,
)
from tests.helpers.memory_store import TransientStore
from tests.helpers.origin_swarm import (
    FILES,
    content_of,
    fetch_after,
    folder,
    manifest_peer,
)
from tests.helpers.pages import hash_page
from tests.helpers.virtual_time import virtual_time
from tests.helpers.wire import Content

LARGE = Content.make(128 * SIZE - 5, SIZE)
WRONG = bytes(len(CONTENT.data))


@virtual_time
async def test_eight_nodes_fetch_little_more_than_one_copy_from_their_origins() -> None:
    async with memory_net() as net:
        line, manifest = Line(1e6), manifest_of(LARGE)
        origins = [MemoryOrigin({"": LARGE.data}, line) for _ in range(8)]
        members = [net.join(manifest.id, [origin]) for origin in origins]
        for store in await fetch_after(net, manifest, members):
            assert content_of(store) == LARGE.data
        sent = [origin.sent for origin in origins]
        assert sum(sent) <= 1.2 * len(LARGE.data)
        assert min(sent) > 0


@virtual_time
async def test_a_new_peer_is_told_which_chunks_are_being_fetched() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data}, Line(20_000))
        member = net.join(MANIFEST.id, [origin])
        fetching = asyncio.create_task(fetch_after(net, MANIFEST, [member]))
        await net.until(lambda: origin.sent > 0)
        peer = talk_to(net, member)
        peer.send(Hello(5000, MANIFEST.root_record, bytes(Bitfield(CONTENT.count))))
        # Before the member requests further chunks.
        await asyncio.sleep(0.1)
        assert any(isinstance(m, OriginFetch) for m in peer.received)
        await fetching


@virtual_time
async def test_peers_are_told_only_of_chunks_that_they_can_request_later() -> None:
    """A chunk with bytes of a file that is left out does not stay."""
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data})
        member = net.join(MANIFEST.id, [origin])
        first_peer = manifest_peer(net, MANIFEST)
        first_peer.begin()
        member.begin(first_peer)
        await member.swarm.load(Manifest.missing)
        peer = talk_to(net, member)
        peer.send(Hello(5000, MANIFEST.root_record, bytes(5)))
        kept = Bitfield(CONTENT.count)
        kept.add_run(10, 5)
        store = TransientStore(MANIFEST.chunks)
        await member.swarm.fetch(store, range(9, 16), kept)
        told = {
            index
            for message in peer.received
            if isinstance(message, OriginFetch)
            for first, number in message.ranges
            for index in range(first, first + number)
        }
        assert told == set(range(10, 15))


@virtual_time
async def test_a_peer_that_never_has_what_it_announced_is_not_waited_for() -> None:
    """Also if nothing has come for so long that every chunk is requested."""
    async with memory_net() as net:
        origin = MemoryOrigin({"": ONE.data})
        origin.is_silent = True
        fetching = await crossing(net, b"\0" * 16, origin)
        await asyncio.sleep(20)
        origin.is_silent = False
        async with asyncio.timeout(60):
            await fetching


ONE = Content.make(SIZE, SIZE)


async def crossing(
    net: MemoryNet, node_id: bytes, origin: MemoryOrigin
) -> asyncio.Task[None]:
    """Let a member and a peer with this id announce the same fetch at the same time."""
    manifest = manifest_of(ONE)
    member, first_peer = net.join(manifest.id, [origin]), manifest_peer(net, manifest)
    first_peer.begin()
    member.begin(first_peer)
    await member.swarm.load(Manifest.missing)
    peer = talk_to(net, member, node_id=node_id)
    peer.send(Hello(5000, manifest.root_record, bytes(1)))
    fetching = asyncio.create_task(member.swarm.fetch(TransientStore(manifest.chunks)))
    await net.until(lambda: OriginFetch([(0, 1)]) in peer.received, SETTLE_TIME / 10)
    peer.send(OriginFetch([(0, 1)]))
    return fetching


@virtual_time
async def test_of_two_announcing_nodes_the_one_with_the_lower_id_fetches() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": ONE.data})
        fetching = await crossing(net, b"\0" * 16, origin)
        await asyncio.sleep(FETCH_TIME / 2)
        assert not origin.sent
        await fetching  # after a while, since the peer never fetches it
        assert origin.reads == 1


@virtual_time
async def test_a_node_does_not_wait_for_one_with_a_higher_id() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": ONE.data})
        origin.error = PeerError("not yet")
        fetching = await crossing(net, b"\xff" * 16, origin)
        await asyncio.sleep(SETTLE_TIME * 2)
        assert origin.reads == 1
        # After a failure the node does not wait for the peer either.
        origin.error = None
        async with asyncio.timeout(FETCH_TIME / 2):
            await fetching


@virtual_time
async def test_chunks_that_peers_announce_and_do_not_send_come_from_the_origin() -> (
    None
):
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data})
        member = net.join(MANIFEST.id, [origin]).begin()
        peer = talk_to(net, member)
        nearly = Bitfield.full(CONTENT.count)
        nearly.discard(7)
        peer.send(Hello(5000, MANIFEST.root_record, bytes(nearly)))
        await net.until(lambda: member.swarm.manifest is not None)
        store = TransientStore(MANIFEST.chunks)
        member.swarm.manifest.add_page(hash_page(0), MANIFEST.page(hash_page(0)))  # type: ignore[union-attr, arg-type]
        # Before the peer is dropped for its silence.
        async with asyncio.timeout(STALL_LIMIT / 2):
            await member.swarm.fetch(store)
        assert content_of(store) == CONTENT.data


@virtual_time
async def test_a_peer_that_announces_every_chunk_blocks_others_only_briefly() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data})
        member = net.join(MANIFEST.id, [origin])
        first_peer = manifest_peer(net, MANIFEST)
        first_peer.begin()
        member.begin(first_peer)
        await member.swarm.load(Manifest.missing)
        peer = talk_to(net, member)
        peer.send(Hello(5000, MANIFEST.root_record, bytes(Bitfield(CONTENT.count))))
        store = TransientStore(MANIFEST.chunks)
        fetching = asyncio.create_task(member.swarm.fetch(store))

        async def announce() -> None:
            while True:
                peer.send(OriginFetch([(0, CONTENT.count)]))
                await asyncio.sleep(0.1)

        announcing = asyncio.create_task(announce())
        async with asyncio.timeout(30):
            await fetching
        announcing.cancel()
        assert content_of(store) == CONTENT.data


@pytest.mark.parametrize(
    "ranges", [[(0, CONTENT.count + 1)], [(CONTENT.count, 1)], [(0, 1 << 31)]]
)
@virtual_time
async def test_a_peer_that_announces_a_chunk_out_of_range_is_disconnected(
    ranges: list[tuple[int, int]],
) -> None:
    async with memory_net() as net:
        member = source(net).begin()
        peer = talk_to(net, member)
        peer.send(Hello(5000, MANIFEST.root_record, bytes(Bitfield(CONTENT.count))))
        peer.send(OriginFetch(ranges))
        await net.until(lambda: peer.is_lost)


@virtual_time
async def test_an_origin_that_sends_a_wrong_chunk_is_no_longer_used() -> None:
    async with memory_net() as net:
        liar, good = MemoryOrigin({"": WRONG}), MemoryOrigin({"": CONTENT.data})
        member = net.join(MANIFEST.id, [liar, good])
        (store,) = await fetch_after(net, MANIFEST, [member])
        assert content_of(store) == CONTENT.data
        assert liar.sent <= 2 * SIZE


@virtual_time
async def test_a_download_fails_if_its_only_origin_sends_wrong_chunks() -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id, [MemoryOrigin({"": WRONG})])
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(VerificationError, match="memory://origin sent a chunk"):
            await fetch_after(net, MANIFEST, [member])
        assert loop.time() - begun < ORIGIN_LIARS_TIME + 10


def fails(origin: MemoryOrigin) -> None:
    origin.error = PeerError("it is broken")


def falls_silent(origin: MemoryOrigin) -> None:
    origin.is_silent = True


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (fails, "memory://origin cannot be used: it is broken"),
        (falls_silent, "memory://origin does not answer a request"),
    ],
)
@virtual_time
async def test_an_origin_that_fails_midway_is_named_in_the_error(
    break_it: Callable[[MemoryOrigin], None], reason: str
) -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data}, Line(100_000))
        member = net.join(MANIFEST.id, [origin], timeout=20)
        fetching = asyncio.create_task(fetch_after(net, MANIFEST, [member]))
        await net.until(lambda: origin.sent > 4 * SIZE)
        break_it(origin)
        with pytest.raises(UnfinishedError, match=reason):
            await fetching


@virtual_time
async def test_an_origin_that_never_worked_is_named_in_the_error() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data})
        origin.error = PeerError("it is broken")
        member = net.join(MANIFEST.id, [origin], timeout=20)
        with pytest.raises(NotFoundError, match="cannot be used: it is broken"):
            await fetch_after(net, MANIFEST, [member])
        assert origin.reads < 10, "requests are repeated too often"


@virtual_time
async def test_an_origin_that_recovers_is_used_again() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data}, Line(100_000))
        member = net.join(MANIFEST.id, [origin])
        fetching = asyncio.create_task(fetch_after(net, MANIFEST, [member]))
        await net.until(lambda: origin.sent > 4 * SIZE)
        origin.is_silent = True
        await asyncio.sleep(60)
        origin.is_silent = False
        (store,) = await fetching
        assert content_of(store) == CONTENT.data


@virtual_time
async def test_a_peer_sends_the_rest_while_an_origin_is_silent() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data}, Line(100_000))
        origin.is_silent = True
        member, first = net.join(MANIFEST.id, [origin]), source(net)
        fetching = asyncio.create_task(fetch_after(net, MANIFEST, [member]))
        await net.until(lambda: origin.reads > 0)
        first.begin(member)
        async with asyncio.timeout(5):
            (store,) = await fetching
        assert content_of(store) == CONTENT.data


@virtual_time
async def test_an_origin_without_a_peer_is_not_enough() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data})
        member = net.join(MANIFEST.id, [origin], timeout=5).begin()
        with pytest.raises(NotFoundError, match="once a peer has described"):
            await fetch(member)
        await member.leave()
        assert origin.reads == 0
        assert origin.is_closed


@virtual_time
async def test_chunks_that_span_files_are_assembled() -> None:
    async with memory_net() as net:
        manifest = folder()
        member = net.join(manifest.id, [MemoryOrigin(FILES)])
        (store,) = await fetch_after(net, manifest, [member])
        assert content_of(store) == b"".join(FILES.values())


@virtual_time
async def test_an_origin_that_lacks_one_file_serves_the_others() -> None:
    async with memory_net() as net:
        manifest = folder()
        files = {path: data for path, data in FILES.items() if path != "e"}
        part, origin = MemoryOrigin(files), MemoryOrigin(FILES)
        origin.error = PeerError("not yet")
        member = net.join(manifest.id, [part, origin])
        fetching = asyncio.create_task(fetch_after(net, manifest, [member]))
        await asyncio.sleep(20)
        assert part.sent >= 8 * SIZE
        origin.error = None
        (store,) = await fetching
        assert content_of(store) == b"".join(FILES.values())
