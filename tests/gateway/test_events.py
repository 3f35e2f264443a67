"""Open pages get events with what changed, and slow or idle pages cost little."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from typing import Any, NamedTuple, cast

import aiohttp
import msgspec
import pytest
from aiohttp import web
from msgspec.structs import replace

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.report.status import PeerStatus, ShareStatus
from shoal.errors import NotFoundError
from shoal.gateway.page.events import MAX_STREAMS, EventStreams
from shoal.gateway.page.sampler import PERIOD, Sampler
from shoal.gateway.page.view import ShareView, unknown_view
from shoal.gateway.shares import ServedShare
from tests.helpers.holder import make_holding

MANY_CELLS = 100_000  # a few events of this size fill every buffer
TICK = 0.01
PATIENCE = 10.0  # seconds
HOLDING = make_holding(16_384 * 3, chunk_size=16_384)
MANIFEST = Manifest(HOLDING.link.id, HOLDING.root)


# Samples.


class Share(NamedTuple):
    """Stand in for a `ServedShare`."""

    number: int
    link: Link
    problem: Exception | None
    manifest: Manifest | None


class World:
    """Stand in for the clock and for the node that knows the status of a share."""

    def __init__(self, share: Share) -> None:
        self.now = 0.0
        self.calls = 0
        self.peers: dict[int, int] = {}
        """Bytes received from each peer."""
        shares = [cast(ServedShare, share)]
        self.sampler = Sampler(shares, self.status, lambda: self.now)

    def status(self, link: Link) -> ShareStatus:
        self.calls += 1
        address = "192.0.2.1:4000"
        peers = tuple(
            PeerStatus(key, address, "lan", "lan", 3, received, 0)
            for key, received in self.peers.items()
        )
        nothing: frozenset[int] = frozenset()
        return ShareStatus(MANIFEST, Bitfield(3), nothing, nothing, peers)


KNOWN = Share(0, HOLDING.link, None, MANIFEST)


def test_a_rate_counts_the_bytes_since_the_first_sample() -> None:
    world = World(KNOWN)
    world.peers = {1: 5000, 2: 0}
    (view,) = world.sampler.sample()
    assert view.down == 0  # the bytes before the first sample do not count
    world.now, world.peers = 2.0, {1: 5000 + 4096, 2: 2048}
    (view,) = world.sampler.sample()
    assert view.down == 3072
    assert [row.down for row in view.peers] == ["2.0 KiB/s", "1.0 KiB/s"]


def test_a_peer_that_disconnected_is_forgotten() -> None:
    world = World(KNOWN)
    world.peers = {1: 1 << 20}
    world.sampler.sample()
    world.now, world.peers = 2.0, {}
    assert world.sampler.sample()[0].peers == ()
    world.now, world.peers = 4.0, {1: 0}  # another peer with the same key
    assert world.sampler.sample()[0].down == 0


def test_several_pages_share_a_sample() -> None:
    world = World(KNOWN)
    views = world.sampler.sample()
    world.now = PERIOD / 4
    assert world.sampler.sample() is views
    world.now = PERIOD
    world.sampler.sample()
    assert world.calls == 2


def test_the_status_of_an_unknown_share_is_not_read() -> None:
    world = World(Share(0, HOLDING.link, NotFoundError("No peer has it."), None))
    (view,) = world.sampler.sample()
    assert (view.is_known, view.summary) == (False, "No peer has it.")
    assert world.calls == 0


# Streams.


class Changing:
    """Return a different view for every sample, and count the samples."""

    def __init__(self, kinds: str = "03", cells: int = 10) -> None:
        self.samples = 0
        self.sampled = asyncio.Event()
        self._kinds = cycle(kind * cells for kind in kinds)

    def sample(self) -> Sequence[ShareView]:
        self.samples += 1
        self.sampled.set()
        cells = next(self._kinds)
        return [replace(unknown_view(0, None), is_known=True, cells=cells)]

    async def until_idle(self) -> None:
        """Wait until no sample was taken for many periods."""
        with suppress(TimeoutError):
            while True:
                self.sampled.clear()
                async with asyncio.timeout(TICK * 30):
                    await self.sampled.wait()


class Served:
    """Serve events on a local port."""

    def __init__(self, source: Changing, **limits: float) -> None:
        self.closing = asyncio.Event()
        self.events = EventStreams(source.sample, self.closing, period=TICK, **limits)
        self.ended = asyncio.Semaphore(0)
        """Released by each stream that ends."""
        self.url = ""
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self.events.answer(request)
        finally:
            self.ended.release()

    async def next_event(self, response: aiohttp.ClientResponse) -> Any:
        """Return the data of the next event of a stream."""
        async with asyncio.timeout(PATIENCE):
            line = await response.content.readuntil(b"\n\n")
        assert line.startswith(b"data: ")
        return msgspec.json.decode(line[6:])


@asynccontextmanager
async def serving(source: Changing, **limits: float) -> AsyncIterator[Served]:
    """Serve events, and close every stream at the end."""
    served = Served(source, **limits)
    app = web.Application()
    app.router.add_get("/events", served.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.port = runner.addresses[0][1]
    served.url = f"http://127.0.0.1:{served.port}/events"
    try:
        yield served
    finally:
        served.closing.set()
        await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=connector, read_bufsize=1 << 20
    ) as session:
        yield session


async def test_a_page_gets_all_fields_first_and_then_the_changes(
    http: aiohttp.ClientSession,
) -> None:
    async with serving(Changing()) as served, http.get(served.url) as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        (full,) = await served.next_event(response)
        assert set(full) == set(ShareView.__struct_fields__)
        (change,) = await served.next_event(response)
        assert set(change) == {"number", "cells"}
        assert change["cells"] == [[0, "3" * 10]]


async def test_no_events_are_made_for_a_page_that_does_not_read(
    http: aiohttp.ClientSession,
) -> None:
    source = Changing(cells=MANY_CELLS)
    async with serving(source) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as slow:
            slow.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            # Once all buffers are full, no more samples are taken.
            async with asyncio.timeout(PATIENCE):
                await source.sampled.wait()
                await source.until_idle()
            assert source.samples < 200
            # Other pages still get events.
            async with http.get(served.url) as response:
                assert await served.next_event(response)


async def test_a_page_that_reads_nothing_is_disconnected_after_a_while() -> None:
    source = Changing(cells=MANY_CELLS)
    async with serving(source, stall_time=TICK * 10) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as slow:
            slow.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(PATIENCE):
                await served.ended.acquire()
            assert source.samples
            assert not served.events.streams


async def test_the_number_of_open_pages_is_limited(
    http: aiohttp.ClientSession,
) -> None:
    async with serving(Changing()) as served:
        opened = [await http.get(served.url) for _ in range(MAX_STREAMS)]
        async with http.get(served.url) as refused:
            assert refused.status == 503
            assert refused.headers["Retry-After"]
            await served.ended.acquire()
        opened.pop().close()
        async with asyncio.timeout(PATIENCE):
            await served.ended.acquire()
        async with http.get(served.url) as again:
            assert again.status == 200
        for each in opened:
            each.close()


async def test_every_stream_ends_when_the_gateway_closes(
    http: aiohttp.ClientSession,
) -> None:
    async with serving(Changing()) as served, http.get(served.url) as response:
        await served.next_event(response)
        served.closing.set()
        async with asyncio.timeout(PATIENCE):
            while await response.content.readany():
                pass
        assert served.events.streams == 0


async def test_an_unchanged_page_gets_a_comment_as_heartbeat(
    http: aiohttp.ClientSession,
) -> None:
    still = Changing("0")
    async with (
        serving(still, heartbeat=TICK * 3) as served,
        http.get(served.url) as response,
    ):
        await served.next_event(response)
        async with asyncio.timeout(PATIENCE):
            assert await response.content.readuntil(b"\n\n") == b":\n\n"
