"""The gateway: an HTTP server for shares, and the table of its routes.

All paths are below one token that cannot be guessed. A request for any other path gets
status 404, except `/metrics` if that is enabled.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.names.http_endpoint import HttpEndpoint
from shoal.core.names.link import Link
from shoal.gateway import guard
from shoal.gateway.archive import ArchiveRoutes
from shoal.gateway.endpoint import LOOPBACK, format_host, open_sockets
from shoal.gateway.files import FileRoutes
from shoal.gateway.hosts import allowed_hosts
from shoal.gateway.page.events import EventStreams
from shoal.gateway.page.html import PageRoutes
from shoal.gateway.page.sampler import Sampler
from shoal.gateway.page.view import ShareView
from shoal.gateway.sending import Sender
from shoal.gateway.shares import ServedShare
from shoal.net.interfaces import list_interfaces

if TYPE_CHECKING:
    from shoal.node.node import Node

__all__ = ["Gateway"]

TOKEN_SIZE = 16  # bytes
MAX_LINE = 8 * 1024  # bytes of the request line, and of each header
MAX_HEADERS = 64  # per request
MAX_ADDED = 200  # shares on the page of a node that shares or fetches more
GRACE = 0.1  # seconds that requests have to finish when the gateway closes

_silent = logging.Logger("shoal.gateway")  # refused requests are not logged
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
        node: "Node",
        links: Sequence[Link],
        *,
        endpoint: HttpEndpoint = HttpEndpoint("", 0),  # noqa: B008
        timeout: float | None = None,
        use_hints: bool = False,
        with_metrics: bool = False,
        on_problem: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Prepare to serve `links` at `endpoint`, reading them through `node`.

        A read fails after `timeout` seconds without a new chunk. The peers named in
        the links are used only with `use_hints`, and `/metrics` is served only with
        `with_metrics`. `on_problem` is called with sentences for the user.
        """
        self.token = secrets.token_urlsafe(TOKEN_SIZE)
        """The first segment of every path; anyone who knows it may read."""
        unique = {link.id: link if use_hints else Link(link.id) for link in links}
        self.shares = [
            ServedShare(number, link, node, timeout)
            for number, link in enumerate(unique.values())
        ]
        """The shares, in the order of their numbers."""
        self._by_number = {str(share.number): share for share in self.shares}
        self._added: list[ServedShare] = []  # those of the node itself
        self._left_out: set[bytes] = set()  # ids of those that are not on the page
        self._node = node
        self._timeout = timeout
        self._endpoint = endpoint
        self._with_metrics = with_metrics
        self._on_problem = on_problem
        self._connections = guard.ConnectionLimiter()
        self._closing = asyncio.Event()
        self._owned = AsyncExitStack()
        self._port = 0

    @property
    def port(self) -> int:
        """Return the TCP port that the gateway listens on."""
        return self._port

    @property
    def url(self) -> str:
        """Return the URL of the page."""
        host = self._endpoint.host or LOOPBACK[0]
        if self._endpoint.is_wildcard:
            is_reached = {Scope.PRIVATE, Scope.GLOBAL}
            others = (
                each.address
                for each in list_interfaces()
                if scope_of(each.address) in is_reached
                and (host == "::" or not each.is_ipv6)
            )
            host = next(others, LOOPBACK[0])
        return f"http://{format_host(host, self._port)}/{self.token}/"

    def add(self, link: Link) -> None:
        """Also serve a share that the node itself shares or fetches, if not yet.

        With more than `MAX_ADDED` shares, the page says how many others there are.
        """
        if link.id in self._ids:
            return
        if len(self.shares) >= MAX_ADDED:
            self._left_out.add(link.id)
            return
        share = ServedShare(len(self.shares), link, self._node, self._timeout)
        self._owned.enter_context(share.join())
        share.look()
        self._added.append(share)
        self.shares.append(share)
        self._by_number[str(share.number)] = share

    @property
    def _ids(self) -> set[bytes]:
        return {share.link.id for share in self.shares}

    async def run(self) -> None:
        """Load the manifests of all shares, however long that takes.

        Raises the error of the first share if none of them can be served.
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
            self._on_problem(str(share.problem))

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for share in self.shares:
                stack.enter_context(share.join())
            await self._listen(stack)
            self._owned = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.set()
        await self._owned.aclose()

    async def _listen(self, stack: AsyncExitStack) -> None:
        sockets = await open_sockets(self._endpoint)
        for each in sockets:
            stack.callback(each.close)
        self._port = sockets[0].getsockname()[1]
        runner = web.AppRunner(
            self._make_app(),
            handler_cancellation=True,  # a client that disconnects stops its fetches
            auto_decompress=False,  # no input is ever decompressed
            access_log=None,
            logger=_silent,
            keepalive_timeout=guard.HEADER_TIME,
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
        routes, open_routes = self._routes(), self._open_routes()
        hosts = allowed_hosts(self._endpoint, self._port)
        check = guard.make_guard(self.token, hosts, self._on_fault, open_routes)
        app = web.Application(middlewares=[check, self._connections.middleware])
        app.on_response_prepare.append(guard.protect)
        for path, handler in {**routes, **open_routes}.items():
            app.router.add_get(path, handler)
        return app

    def _routes(self) -> dict[str, Handler]:
        """Return the handler for each path; handlers find names with `names_of`."""
        clock = asyncio.get_running_loop().time
        sampler = Sampler(self.shares, self._node.status, clock)

        def sample() -> Sequence[ShareView]:
            for share in self._added:
                if share.manifest is None:
                    share.look()
            return sampler.sample()

        page = PageRoutes(self.shares, sample, lambda: len(self._left_out))
        shares = self._by_number
        sender = Sender(self._on_problem)
        files = FileRoutes(shares, sender)
        top = f"/{self.token}"
        return {
            top: self._add_slash,
            f"{top}/": page.answer,
            f"{top}/icon.svg": page.answer_icon,
            f"{top}/events": EventStreams(sample, self._closing).answer,
            f"{top}/files/{{number}}": files.answer,
            f"{top}/files/{{number}}/{{path:.*}}": files.answer,
            f"{top}/zip/{{number}}/{{path:.*}}": ArchiveRoutes(shares, sender).answer,
        }

    def _open_routes(self) -> dict[str, Handler]:
        """Return the handlers that need no token."""
        if not self._with_metrics:
            return {}
        from shoal.gateway.metrics import PATH, make_handler

        return {PATH: make_handler(self._node, self.shares)}

    async def _add_slash(self, request: web.Request) -> web.StreamResponse:
        """Redirect a URL that lacks the final slash to the page."""
        return web.Response(status=301, headers={"Location": f"/{self.token}/"})

    def _on_fault(self, error: Exception) -> None:
        what = f"{type(error).__name__}: {error}"
        self._on_problem(f"Internal error in shoal: {what}. Please report it.")
