"""Nodes with origins as they are: slow to begin, without ranges, busy, partly wrong."""

import asyncio
from collections import Counter

import pytest

from shoal.errors import ShoalError, VerificationError
from shoal.origin.parts import OriginBusyError
from tests.helpers.memory_net import MemoryNet, memory_net
from tests.helpers.memory_origin import Line, MemoryOrigin
from tests.helpers.memory_peers import SIZE, fetch, manifest_of, source
from tests.helpers.origin_swarm import content_of, fetch_after, folder
from tests.helpers.virtual_time import virtual_time
from tests.helpers.wire import Content

LARGE = Content.make(128 * SIZE - 5, SIZE)
COLD = 30.0  # seconds until the first byte
RATE = 1e6  # bytes per second


async def crowd(
    net: MemoryNet, content: Content, count: int, **state: object
) -> list[MemoryOrigin]:
    """Let nodes with the same origin fetch a share; return the origin of each."""
    line, manifest = Line(RATE), manifest_of(content)
    origins = [MemoryOrigin({"": content.data}, line) for _ in range(count)]
    for origin in origins:
        for name, value in state.items():
            setattr(origin, name, value)
    members = [net.join(manifest.id, [origin]) for origin in origins]
    for store in await fetch_after(net, manifest, members):
        assert content_of(store) == content.data
    return origins


def times(origins: list[MemoryOrigin]) -> Counter[int]:
    """Return how many times the first byte of each chunk was requested."""
    parts = [part for origin in origins for part in origin.parts]
    return Counter(
        at
        for part in parts
        for at in range(part.first, part.first + part.size)
        if at % SIZE == 0
    )


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("chunks", [1, 10])
@virtual_time
async def test_a_chunk_is_asked_of_a_slow_origin_once(count: int, chunks: int) -> None:
    async with memory_net() as net:
        content = Content.make(chunks * SIZE, SIZE)
        origins = await crowd(net, content, count, first_byte=COLD)
    asked = times(origins)
    assert len(asked) == chunks
    assert max(asked.values()) == 1


@virtual_time
async def test_one_request_to_a_server_without_ranges_gives_all_chunks() -> None:
    async with memory_net() as net:
        (origin,) = await crowd(net, LARGE, 1, ignores_ranges=True)
    assert origin.reads == 1
    assert origin.sent == len(LARGE.data)


@virtual_time
async def test_a_crowd_gets_one_copy_from_a_server_without_ranges() -> None:
    async with memory_net() as net:
        origins = await crowd(net, LARGE, 8, ignores_ranges=True)
    assert sum(origin.sent for origin in origins) <= 1.2 * len(LARGE.data)


@virtual_time
async def test_another_node_reads_the_rest_if_the_first_one_leaves() -> None:
    async with memory_net() as net:
        line, manifest = Line(RATE / 10), manifest_of(LARGE)
        origins = [MemoryOrigin({"": LARGE.data}, line) for _ in range(2)]
        members = [net.join(manifest.id, [origin]) for origin in origins]
        for origin in origins:
            origin.ignores_ranges = True
        fetching = asyncio.create_task(fetch_after(net, manifest, members))
        await net.until(lambda: origins[0].sent > len(LARGE.data) // 4)
        assert origins[1].sent < len(LARGE.data) // 8
        await members[0].vanish()
        with pytest.raises(ShoalError, match="left the share"):
            await fetching
        await net.until(lambda: members[1].swarm.is_complete)


FILES = {
    "a": LARGE.data[: 20 * SIZE + 7],
    "b": LARGE.data[: SIZE // 2],
    "c": LARGE.data[: 30 * SIZE],
    "d": LARGE.data[: 9 * SIZE - 8],
}


@virtual_time
async def test_files_of_a_server_without_ranges_are_read_about_once_each() -> None:
    """Chunks with bytes of two files cost the beginning of the second one."""
    async with memory_net() as net:
        manifest, origin = folder(FILES), MemoryOrigin(FILES, Line(RATE))
        origin.ignores_ranges = True
        (store,) = await fetch_after(net, manifest, [net.join(manifest.id, [origin])])
        assert content_of(store) == b"".join(FILES.values())
    most = Counter(part.path for part in origin.parts)
    assert max(most.values()) <= 2
    assert origin.sent <= 1.2 * sum(map(len, FILES.values()))


@virtual_time
async def test_a_wrong_file_does_not_cost_the_whole_origin() -> None:
    async with memory_net() as net:
        wrong = FILES | {"c": bytes(len(FILES["c"]))}
        manifest, origin = folder(FILES), MemoryOrigin(wrong, Line(RATE))
        member = net.join(manifest.id, [origin])
        with pytest.raises(
            VerificationError, match=("sent a chunk that does not match the id")
        ):
            await fetch_after(net, manifest, [member])
        have = member.swarm.status().have
    assert have is not None
    # Only chunks with bytes of that file are missing.
    assert set(range(20)) <= set(have)
    assert len(have) == manifest.chunks.count - 31
    assert Counter(part.path for part in origin.parts)["c"] <= 4


@virtual_time
async def test_an_origin_that_asks_for_a_pause_gets_one() -> None:
    async with memory_net() as net:
        manifest, origin = manifest_of(LARGE), MemoryOrigin({"": LARGE.data})
        origin.error = OriginBusyError("it is busy", 100)
        member = net.join(manifest.id, [origin])
        fetching = asyncio.create_task(fetch_after(net, manifest, [member]))
        await net.until(lambda: origin.reads == 1)
        await asyncio.sleep(99)
        assert origin.reads == 1
        origin.error = None
        (store,) = await fetching
        assert content_of(store) == LARGE.data


SLOW = 50_000.0  # bytes per second of the only peer


async def beside(net: MemoryNet, origin: MemoryOrigin, limit_up: float) -> float:
    """Fetch from a peer that has everything and an origin; return the seconds."""
    first = source(net, LARGE, limit_up=limit_up)
    first.begin()
    member = net.join(manifest_of(LARGE).id, [origin]).begin(first)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert content_of(await fetch(member)) == LARGE.data
    return loop.time() - began


@virtual_time
async def test_an_origin_helps_a_slow_peer_that_has_everything() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": LARGE.data}, Line(RATE))
        took = await beside(net, origin, limit_up=SLOW)
    assert took < len(LARGE.data) / SLOW / 3
    assert max(times([origin]).values()) == 1


@virtual_time
async def test_an_origin_is_not_asked_beside_a_peer_that_is_done_soon() -> None:
    async with memory_net() as net:
        origin = MemoryOrigin({"": LARGE.data}, Line(RATE))
        assert await beside(net, origin, limit_up=700_000) > 2.5
    assert origin.reads == 0


@virtual_time
async def test_a_crowd_beside_a_slow_peer_gets_one_copy_from_its_origins() -> None:
    async with memory_net() as net:
        first, line = source(net, LARGE, limit_up=SLOW), Line(RATE)
        first.begin()
        origins = [MemoryOrigin({"": LARGE.data}, line) for _ in range(8)]
        manifest = manifest_of(LARGE)
        members = [net.join(manifest.id, [origin]) for origin in origins]
        for number, member in enumerate(members):
            member.begin(first, *members[:number])
        for store in await asyncio.gather(*map(fetch, members)):
            assert content_of(store) == LARGE.data
    assert sum(origin.sent for origin in origins) <= len(LARGE.data)
