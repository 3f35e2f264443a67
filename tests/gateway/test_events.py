"""Open pages are told what changes; whoever does not listen costs next to nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from msgspec.structs import replace

from shoal.gateway.page.events import MAX_STREAMS, Events
from shoal.gateway.page.snapshot import ShareView, unknown_view

MANY_CELLS = 100_000  # so that few messages fill every buffer
TICK = 0.01
PATIENCE = 10.0


class Changing:
    """Be another snapshot at every look; remember how many there were."""

    def __init__(self, kinds: str = "03", cells: int = 10) -> None:
        self.looks = 0
        self.looked = asyncio.Event()
        self._kinds = cycle(kind * cells for kind in kinds)

    def look(self) -> Sequence[ShareView]:
        self.looks += 1
        self.looked.set()
        cells = next(self._kinds)
        return [replace(unknown_view(0, None), is_known=True, cells=cells)]

    async def until_left_alone(self) -> None:
        """Wait until nobody has looked for many periods."""
        with suppress(TimeoutError):
            while True:
                self.looked.clear()
                async with asyncio.timeout(TICK * 30):
                    await self.looked.wait()


class Served:
    """Events on a port of this machine."""

    def __init__(self, looked_at: Changing, **limits: float) -> None:
        self.closing = asyncio.Event()
        self.events = Events(looked_at.look, self.closing, period=TICK, **limits)
        self.ended = asyncio.Semaphore(0)
        """Released by each stream that ends."""
        self.url = ""
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self.events.answer(request)
        finally:
            self.ended.release()

    async def first(self, response: aiohttp.ClientResponse) -> Any:
        """Return the next message of a stream."""
        async with asyncio.timeout(PATIENCE):
            line = await response.content.readuntil(b"\n\n")
        assert line.startswith(b"data: ")
        return msgspec.json.decode(line[6:])


@asynccontextmanager
async def serving(looked_at: Changing, **limits: float) -> AsyncIterator[Served]:
    """Serve events, and let go of every page at the end."""
    served = Served(looked_at, **limits)
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


async def test_a_page_is_told_everything_and_then_what_changes(
    http: aiohttp.ClientSession,
) -> None:
    async with serving(Changing()) as served, http.get(served.url) as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        (all_of_it,) = await served.first(response)
        assert set(all_of_it) == set(ShareView.__struct_fields__)
        (news,) = await served.first(response)
        assert set(news) == {"number", "cells"}
        assert news["cells"] == [[0, "3" * 10]]


async def test_a_page_that_reads_nothing_is_not_written_for(
    http: aiohttp.ClientSession,
) -> None:
    looked_at = Changing(cells=MANY_CELLS)
    async with serving(looked_at) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as slow:
            slow.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            # Once all buffers are full it is looked for nobody any more.
            async with asyncio.timeout(PATIENCE):
                await looked_at.looked.wait()
                await looked_at.until_left_alone()
            assert looked_at.looks < 200
            # Others are told all the same.
            async with http.get(served.url) as response:
                assert await served.first(response)


async def test_a_page_that_takes_nothing_for_long_is_let_go() -> None:
    looked_at = Changing(cells=MANY_CELLS)
    async with serving(looked_at, stall_time=TICK * 10) as served:
        with socket.create_connection(("127.0.0.1", served.port)) as slow:
            slow.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(PATIENCE):
                await served.ended.acquire()
            assert looked_at.looks
            assert not served.events.streams


async def test_only_so_many_pages_are_kept_up_to_date(
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
        await served.first(response)
        served.closing.set()
        async with asyncio.timeout(PATIENCE):
            while await response.content.readany():
                pass
        assert served.events.streams == 0


async def test_while_nothing_changes_a_page_hears_little(
    http: aiohttp.ClientSession,
) -> None:
    still = Changing("0")
    async with (
        serving(still, heartbeat=TICK * 3) as served,
        http.get(served.url) as response,
    ):
        await served.first(response)
        async with asyncio.timeout(PATIENCE):
            assert await response.content.readuntil(b"\n\n") == b":\n\n"
