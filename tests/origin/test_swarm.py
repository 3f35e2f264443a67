"""Origins beside peers: the first node pulls, the others swarm; in virtual time."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest, build_manifest
from shoal.core.report.patience import ORIGIN_LIARS_TIME
from shoal.core.schedule.pulls import PULL_TIME
from shoal.core.wire.sealed_messages import Hello, Pull
from shoal.errors import (
    NotFoundError,
    PeerError,
    UnfinishedError,
    VerificationError,
)
from shoal.swarm.connections import STALL_LIMIT
from shoal.swarm.origins import SETTLE_TIME
from tests.helpers.memory_net import Member, MemoryNet, memory_net
from tests.helpers.memory_origin import Line, MemoryOrigin
from tests.helpers.memory_peers import (
    CONTENT,
    MANIFEST,
    SIZE,
    Raw,
    fetch,
    manifest_of,
    raw,
    source,
)
from tests.helpers.memory_store import MemoryStore
from tests.helpers.transient import TransientStore
from tests.helpers.virtual_time import virtual_time
from tests.helpers.wire import Content

LARGE = Content.make(128 * SIZE - 5, SIZE)
LIE = bytes(len(CONTENT.data))


def teacher(net: MemoryNet, manifest: Manifest) -> Member:
    """Return a member that can tell what the share is, and has nothing of it."""
    member = net.join(manifest.id)
    member.swarm.serve(manifest, MemoryStore(manifest.chunks))
    return member


async def fetch_after(
    net: MemoryNet, manifest: Manifest, members: Sequence[Member]
) -> list[TransientStore]:
    """Fetch with each member, once somebody told what there is and has left."""
    teaching = teacher(net, manifest)
    teaching.begin()
    for place, member in enumerate(members):
        member.begin(teaching, *members[:place])
    for member in members:
        await member.swarm.load(lambda m: range(m.page_count))
    await teaching.leave()
    del net.accepts[teaching.address]
    return list(await asyncio.gather(*map(fetch, members)))


def content_of(store: TransientStore) -> bytes:
    return b"".join(bytes(store.get(index)) for index in range(store.chunks.count))


@virtual_time
async def test_eight_nodes_share_an_origin_out_among_themselves() -> None:
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
async def test_one_that_comes_later_is_told_what_is_pulled() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data}, Line(20_000))
        member = net.join(MANIFEST.id, [origin])
        fetching = asyncio.create_task(fetch_after(net, MANIFEST, [member]))
        await net.until(lambda: origin.sent > 0)
        peer = raw(net, member)
        peer.say(Hello(5000, MANIFEST.root_record, bytes(Bitfield(CONTENT.count))))
        # Sooner than it asks for the next.
        await asyncio.sleep(0.1)
        assert any(isinstance(m, Pull) for m in peer.heard)
        await fetching


ONE = Content.make(SIZE, SIZE)


async def crossing(
    net: MemoryNet, node_id: bytes, origin: MemoryOrigin
) -> asyncio.Task[None]:
    """Have a member and a peer of that id say at the same time what they pull."""
    manifest = manifest_of(ONE)
    member, teaching = net.join(manifest.id, [origin]), teacher(net, manifest)
    teaching.begin()
    member.begin(teaching)
    await member.swarm.load(lambda m: range(m.page_count))
    peer = Raw()
    net.connect("10.0.9.9", node_id, member.address, lambda proven: peer)
    peer.say(Hello(5000, manifest.root_record, bytes(1)))
    fetching = asyncio.create_task(member.swarm.fetch(TransientStore(manifest.chunks)))
    await net.until(lambda: Pull([(0, 1)]) in peer.heard, SETTLE_TIME / 10)
    peer.say(Pull([(0, 1)]))
    return fetching


@virtual_time
async def test_what_a_node_with_a_lower_id_is_about_to_pull_is_left_to_it() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": ONE.data})
        fetching = await crossing(net, b"\0" * 16, origin)
        await asyncio.sleep(PULL_TIME / 2)
        assert not origin.sent
        await fetching  # since it does not keep its word
        assert origin.reads == 1


@virtual_time
async def test_what_a_node_with_a_higher_id_is_about_to_pull_is_not() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": ONE.data})
        origin.error = PeerError("not yet")
        fetching = await crossing(net, b"\xff" * 16, origin)
        await asyncio.sleep(SETTLE_TIME * 2)
        assert origin.reads == 1
        # Nor is it waited for when that comes to nothing.
        origin.error = None
        async with asyncio.timeout(PULL_TIME / 2):
            await fetching


@virtual_time
async def test_while_a_peer_has_everything_the_origin_is_not_asked() -> None:
    async with memory_net() as net:
        # Slow enough for the origin to be asked, were it to be.
        first, origin = source(net, limit_up=100_000), MemoryOrigin({"": CONTENT.data})
        first.begin()
        member = net.join(MANIFEST.id, [origin])
        member.begin(first)
        assert content_of(await fetch(member)) == CONTENT.data
        assert origin.reads == 0


@virtual_time
async def test_what_peers_announce_and_do_not_give_comes_from_it() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data})
        member = net.join(MANIFEST.id, [origin])
        member.begin()
        peer = raw(net, member)
        nearly = Bitfield.full(CONTENT.count)
        nearly.discard(7)
        peer.say(Hello(5000, MANIFEST.root_record, bytes(nearly)))
        await net.until(lambda: member.swarm.manifest is not None)
        store = TransientStore(MANIFEST.chunks)
        member.swarm.manifest.add_page(0, MANIFEST.page(0))  # type: ignore[union-attr, arg-type]
        # Sooner than the peer is dropped for its silence.
        async with asyncio.timeout(STALL_LIMIT / 2):
            await member.swarm.fetch(store)
        assert content_of(store) == CONTENT.data


@virtual_time
async def test_who_says_he_pulls_everything_keeps_nobody_from_it_for_long() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data})
        member = net.join(MANIFEST.id, [origin])
        teaching = teacher(net, MANIFEST)
        teaching.begin()
        member.begin(teaching)
        await member.swarm.load(lambda m: range(m.page_count))
        peer = raw(net, member)
        peer.say(Hello(5000, MANIFEST.root_record, bytes(Bitfield(CONTENT.count))))
        store = TransientStore(MANIFEST.chunks)
        fetching = asyncio.create_task(member.swarm.fetch(store))

        async def insist() -> None:
            while True:
                peer.say(Pull([(0, CONTENT.count)]))
                await asyncio.sleep(0.1)

        insisting = asyncio.create_task(insist())
        async with asyncio.timeout(30):
            await fetching
        insisting.cancel()
        assert content_of(store) == CONTENT.data


@pytest.mark.parametrize(
    "ranges", [[(0, CONTENT.count + 1)], [(CONTENT.count, 1)], [(0, 1 << 31)]]
)
@virtual_time
async def test_who_pulls_what_does_not_exist_is_hung_up_on(
    ranges: list[tuple[int, int]],
) -> None:
    async with memory_net() as net:
        member = source(net)
        member.begin()
        peer = raw(net, member)
        peer.say(Hello(5000, MANIFEST.root_record, bytes(Bitfield(CONTENT.count))))
        peer.say(Pull(ranges))
        await net.until(lambda: peer.is_lost)


@virtual_time
async def test_an_origin_that_lies_is_left_alone_and_the_download_goes_on() -> None:
    async with memory_net() as net:
        liar, good = MemoryOrigin({"": LIE}), MemoryOrigin({"": CONTENT.data})
        member = net.join(MANIFEST.id, [liar, good])
        (store,) = await fetch_after(net, MANIFEST, [member])
        assert content_of(store) == CONTENT.data
        assert liar.sent <= 2 * SIZE


@virtual_time
async def test_only_origins_that_lie_end_it_as_liars_do() -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id, [MemoryOrigin({"": LIE})])
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(VerificationError, match="memory://origin sent what"):
            await fetch_after(net, MANIFEST, [member])
        assert loop.time() - begun < ORIGIN_LIARS_TIME + 10


def fails(origin: MemoryOrigin) -> None:
    origin.error = PeerError("it is ill")


def falls_silent(origin: MemoryOrigin) -> None:
    origin.is_silent = True


@pytest.mark.parametrize("break_it", [fails, falls_silent])
@virtual_time
async def test_a_dead_origin_is_named_and_what_came_is_kept(
    break_it: Callable[[MemoryOrigin], None],
) -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data}, Line(100_000))
        member = net.join(MANIFEST.id, [origin], timeout=20)
        fetching = asyncio.create_task(fetch_after(net, MANIFEST, [member]))
        await net.until(lambda: origin.sent > 4 * SIZE)
        break_it(origin)
        with pytest.raises(UnfinishedError, match="memory://origin cannot be used: it"):
            await fetching


@virtual_time
async def test_an_origin_that_was_dead_from_the_start_is_named() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data})
        origin.error = PeerError("it is ill")
        member = net.join(MANIFEST.id, [origin], timeout=20)
        with pytest.raises(NotFoundError, match="cannot be used: it is ill"):
            await fetch_after(net, MANIFEST, [member])
        assert origin.reads < 10, "asked again and again"


@virtual_time
async def test_an_origin_that_recovers_is_asked_again() -> None:
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
async def test_while_an_origin_is_silent_a_peer_gives_the_rest() -> None:
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
async def test_the_origin_alone_does_not_know_what_is_shared() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": CONTENT.data})
        member = net.join(MANIFEST.id, [origin], timeout=5)
        member.begin()
        with pytest.raises(NotFoundError, match="once a peer has said"):
            await fetch(member)
        await member.leave()
        assert origin.reads == 0
        assert origin.is_closed


FILES = {"a": b"a" * 3, "b/c": CONTENT.data[: 9 * SIZE], "b/d": b"", "e": b"e" * SIZE}


def folder() -> Manifest:
    whole = b"".join(FILES.values())
    digests = [
        chunk_digest(whole[start : start + SIZE])
        for start in range(0, len(whole), SIZE)
    ]
    entries = [(path, len(data), False) for path, data in FILES.items()]
    return build_manifest(
        "d", len(whole), SIZE, b"".join(digests), entries, salt=bytes(16)
    )


@virtual_time
async def test_chunks_that_span_files_are_put_together() -> None:
    async with memory_net() as net:
        manifest = folder()
        member = net.join(manifest.id, [MemoryOrigin(FILES)])
        (store,) = await fetch_after(net, manifest, [member])
        assert content_of(store) == b"".join(FILES.values())


@virtual_time
async def test_what_lacks_a_file_gives_the_others() -> None:
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
