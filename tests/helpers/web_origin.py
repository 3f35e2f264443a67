"""A web server on 127.0.0.1 with files, which a test can make misbehave.

By default it answers ranges as nginx does; a test may replace `answer`.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from ssl import SSLContext

from aiohttp import web

__all__ = ["Answer", "WebOrigin", "web_origin", "web_origin_beside"]

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebOrigin:
    """A web server with files by path, without the first slash."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.answer: Answer = self.serve
        """The handler of every request."""
        self.asked: list[tuple[str, str]] = []
        """The path and the range of every request so far."""
        self.headers: list[Mapping[str, str]] = []
        """The headers of every request so far."""
        self.port = 0

    @property
    def url(self) -> str:
        """Return the URL of the server, with a slash at the end."""
        return f"http://127.0.0.1:{self.port}/"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Record a request and answer it."""
        self.asked.append((request.path[1:], request.headers.get("Range", "")))
        self.headers.append(request.headers)
        return await self.answer(request)

    async def serve(self, request: web.Request) -> web.Response:
        """Answer correctly."""
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
async def web_origin(
    files: Mapping[str, bytes], context: SSLContext | None = None
) -> AsyncIterator[WebOrigin]:
    """Serve files until the end of the block; with a context, by HTTPS."""
    origin = WebOrigin(files)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", origin.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        origin.port = runner.addresses[0][1]
        yield origin
    finally:
        await runner.cleanup()


@contextmanager
def web_origin_beside(
    files: Mapping[str, bytes], context: SSLContext | None = None
) -> Iterator[WebOrigin]:
    """Serve files in a thread, for a blocking test; with a context, by HTTPS."""
    started: Future[tuple[WebOrigin, asyncio.AbstractEventLoop, asyncio.Event]]
    started = Future()

    async def serve() -> None:
        ended = asyncio.Event()
        async with web_origin(files, context) as origin:
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
