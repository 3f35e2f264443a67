"""The gateway: what listens, and what is served on which route.

Each thing that can be asked for is added by a function of its own, `PARTS`, which
gets the gateway and calls `route`. All stands below one token that nobody can guess;
whatever is not below it is not found.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Self, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler

from shoal.core.names.link import Link
from shoal.gateway.connections import HEADER_TIME, Connections
from shoal.gateway.files import add_files
from shoal.gateway.guard import make_guard, protect
from shoal.gateway.hosts import LOOPBACK, Endpoint, allowed_hosts, format_host
from shoal.gateway.listen import open_sockets
from shoal.gateway.page.routes import add_page
from shoal.gateway.shares import ServedShare
from shoal.gateway.stream import STALL_TIME
from shoal.net.interfaces import list_interfaces
from shoal.node.node import Node

__all__ = ["PARTS", "Gateway", "Part"]

TOKEN_SIZE = 16  # bytes
MAX_LINE = 8 * 1024  # bytes of the first line, and of each header
MAX_HEADERS = 64  # of one request
GRACE = 0.1  # seconds that requests have once it ends

_silent = logging.Logger("shoal.gateway")  # requests are refused, not written about
_silent.addHandler(logging.NullHandler())


class Gateway:
    """Serve shares over HTTP; an async context manager.

    ```python
    async with Node() as node, Gateway(node, [parse_link(text)]) as gateway:
        print(gateway.url)
        await gateway.run()
    ```
    """

    def __init__(
        self,
        node: Node,
        links: Sequence[Link],
        *,
        endpoint: Endpoint = Endpoint("", 0),  # noqa: B008
        timeout: float | None = None,
        use_hints: bool = False,
        on_problem: Callable[[str], None] = lambda text: None,
        parts: "Sequence[Part] | None" = None,
        header_time: float = HEADER_TIME,
        stall_time: float = STALL_TIME,
    ) -> None:
        """Prepare to serve `links` and nothing else.

        A read fails after `timeout` seconds without a new chunk. Peers named in links
        are asked only with `use_hints`. Clients have `header_time` seconds for each
        request, and may take nothing for `stall_time` seconds.
        """
        self.node = node
        """What the shares are read by."""
        self.token = secrets.token_urlsafe(TOKEN_SIZE)
        """The first name of every path; who has it may read."""
        self.closing = asyncio.Event()
        """Set once it ends; answers without an end of their own end then."""
        self.on_problem = on_problem
        """Hears, in sentences, what the user should know."""
        self.stall_time = stall_time
        """Seconds that a client may take nothing of what is sent."""
        self._endpoint = endpoint
        self._header_time = header_time
        unique = {link.id: link if use_hints else Link(link.id) for link in links}
        self.shares = [
            ServedShare(number, link, node, timeout)
            for number, link in enumerate(unique.values())
        ]
        """What is served, by number."""
        self._by_number = {str(share.number): share for share in self.shares}
        self._parts = PARTS if parts is None else parts
        self._owned = AsyncExitStack()
        self._connections = Connections(header_time)
        self._routes: list[web.RouteDef] = []
        self._open_to_all: set[str] = set()
        self._port = 0

    @property
    def port(self) -> int:
        """Return the TCP port it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """Return the address of its page."""
        host = self._endpoint.host or LOOPBACK[0]
        if self._endpoint.is_wildcard:
            addresses = [each.address for each in list_interfaces()]
            others = [each for each in addresses if not each.startswith("127.")]
            host = next(iter(others), LOOPBACK[0])
        return f"http://{format_host(host, self._port)}/{self.token}/"

    def share(self, number: str) -> ServedShare | None:
        """Return the share of that number, as it stands in a path."""
        return self._by_number.get(number)

    def route(self, path: str, handler: Handler) -> None:
        """Answer GET and HEAD of a path below the token: `route("/events", f)`.

        To be called by parts only, before it listens. Names in braces are as in
        aiohttp, but it is `names_of(request)` that tells what was asked for.
        """
        self._routes.append(web.get(f"/{self.token}{path}", handler))

    def route_open(self, path: str, handler: Handler) -> None:
        """Answer GET and HEAD of a path for who knows no token; as `route` else."""
        self._open_to_all.add(path)
        self._routes.append(web.get(path, handler))

    async def run(self) -> None:
        """Find out what is in each share, however long that takes.

        Raises the first error when none of them can ever be served.
        """
        async with asyncio.TaskGroup() as tasks:
            for share in self.shares:
                tasks.create_task(self._run_share(share))
        if all(share.manifest is None for share in self.shares):
            error = self.shares[0].problem
            assert error is not None
            raise error

    async def _run_share(self, share: ServedShare) -> None:
        await share.run()
        if share.problem is not None:
            self.on_problem(str(share.problem))

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for share in self.shares:
                stack.enter_context(share.read())
            await self._listen(stack)
            self._owned = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closing.set()
        await self._owned.aclose()

    async def _listen(self, stack: AsyncExitStack) -> None:
        sockets = await open_sockets(self._endpoint)
        for each in sockets:
            stack.callback(each.close)
        self._port = sockets[0].getsockname()[1]
        runner = web.AppRunner(
            self._make_app(),
            handler_cancellation=True,  # who goes away reads no more
            auto_decompress=False,  # nothing from anybody is ever decompressed
            access_log=None,
            logger=_silent,
            keepalive_timeout=self._header_time,
            lingering_time=0,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            shutdown_timeout=GRACE,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None
        self._connections.begin(runner.server)
        stack.callback(self._connections.close)
        loop = asyncio.get_running_loop()
        for each in sockets:
            server = await loop.create_server(self._connections.accept, sock=each)
            stack.callback(server.close)

    def _make_app(self) -> web.Application:
        hosts = allowed_hosts(self._endpoint, self._port)
        guard = make_guard(self.token, hosts, self._on_fault, self._open_to_all)
        app = web.Application(middlewares=[self._connections.middleware, guard])
        app.on_response_prepare.append(protect)
        self.route("", self._add_slash)
        for part in self._parts:
            part(self)
        app.add_routes(self._routes)
        return app

    async def _add_slash(self, request: web.Request) -> web.StreamResponse:
        """Lead who left out the last character of the address to the page."""
        return web.Response(status=301, headers={"Location": f"/{self.token}/"})

    def _on_fault(self, error: Exception) -> None:
        what = f"{type(error).__name__}: {error}"
        self.on_problem(f"A fault in shoal itself: {what}. Please report it.")


Part: TypeAlias = Callable[[Gateway], None]
"""Adds routes to a gateway."""

PARTS: Sequence[Part] = (add_files, add_page)
