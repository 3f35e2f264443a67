"""A web server on 127.0.0.1 that holds files, and misbehaves as a test asks.

By default it answers ranges as nginx does; `answer` is replaced by what answers
otherwise.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256

from aiohttp import web

__all__ = ["Answer", "WebOrigin", "web_origin", "web_origin_beside"]

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebOrigin:
    """Hold files by their path, without its first slash."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.answer: Answer = self.serve
        """What answers every request."""
        self.asked: list[tuple[str, str]] = []
        """The path and the range of every request so far."""
        self.headers: list[Mapping[str, str]] = []
        """All headers of the same."""
        self.port = 0

    @property
    def url(self) -> str:
        """Return where it is, with a slash at the end."""
        return f"http://127.0.0.1:{self.port}/"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Note a request and answer it."""
        self.asked.append((request.path[1:], request.headers.get("Range", "")))
        self.headers.append(request.headers)
        return await self.answer(request)

    async def serve(self, request: web.Request) -> web.Response:
        """Answer as a good server does."""
        data = self.files.get(request.path[1:])
        if data is None:
            return web.Response(status=404)
        etag = '"' + sha256(data).hexdigest()[:16] + '"'
        if request.headers.get("If-Range", etag) != etag:
            return web.Response(body=data, headers={"ETag": etag})
        span = request.http_range
        first, end = span.start or 0, span.stop or len(data)
        if first >= len(data):
            return web.Response(status=416)
        end = min(end, len(data))
        headers = {
            "ETag": etag,
            "Content-Range": f"bytes {first}-{end - 1}/{len(data)}",
        }
        return web.Response(status=206, body=data[first:end], headers=headers)


@asynccontextmanager
async def web_origin(files: Mapping[str, bytes]) -> AsyncIterator[WebOrigin]:
    """Serve files until the end of the block."""
    origin = WebOrigin(files)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", origin.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        origin.port = runner.addresses[0][1]
        yield origin
    finally:
        await runner.cleanup()


@contextmanager
def web_origin_beside(files: Mapping[str, bytes]) -> Iterator[WebOrigin]:
    """Do the same in a thread, for a test that blocks."""
    started: Future[tuple[WebOrigin, asyncio.AbstractEventLoop, asyncio.Event]]
    started = Future()

    async def serve() -> None:
        ended = asyncio.Event()
        async with web_origin(files) as origin:
            started.set_result((origin, asyncio.get_running_loop(), ended))
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    origin, loop, ended = started.result(10)
    try:
        yield origin
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
