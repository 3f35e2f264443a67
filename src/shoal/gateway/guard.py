"""Decide which clients and requests the gateway serves.

Anyone who knows the token may read. The guard protects against web pages of other
sites in the user's own browser, which can send requests here and must learn nothing,
and against requests that violate HTTP. docs/threat-model.md has the reasons under "A
web page that the user has open".

A connection is a stranger's until a request on it has passed the guard, which it does
only with the token. A page of another site cannot know that, but it can make the
browser open any number of connections. So strangers and those that know the token have
separate places, and when strangers are many, those that have been silent longest go.
"""

import asyncio
import hmac
from collections.abc import Callable, Collection

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from shoal.gateway.hosts import AllowedHosts
from shoal.gateway.request import parse_target

__all__ = [
    "HEADER_TIME",
    "MAX_KNOWN",
    "MAX_STRANGERS",
    "ConnectionLimiter",
    "make_guard",
    "protect",
    "refusal",
]

METHODS = ("GET", "HEAD")
VERSIONS = (HttpVersion10, HttpVersion11)
FOREIGN_SITES = {"cross-site", "same-site"}
"""Values of `Sec-Fetch-Site` in requests from another site's page."""
_HEADERS = {
    "Server": "shoal",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The token is part of the path, so the path must not reach other sites.
    "Referrer-Policy": "no-referrer",
}
_DEFAULTS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
}


# Requests.


def make_guard(
    token: str,
    hosts: AllowedHosts,
    on_fault: Callable[[Exception], None],
    open_paths: Collection[str] = (),
) -> Middleware:
    """Return a middleware that refuses requests without `token` or to other hosts.

    `on_fault` is called with each unexpected exception of a handler. Requests for
    `open_paths` need no token but pass all other checks.
    """
    secret = token.encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = _check(request, hosts)
        if refused is not None:
            return refused
        try:
            target = parse_target(request.raw_path)
        except ValueError as error:
            return refusal(400, f"The path is refused: {error}.", close=True)
        if target.authority is not None and not hosts.allows([target.authority]):
            return _misdirected(hosts)
        is_open = "/".join(("", *target.names)) in open_paths
        if not is_open and not hmac.compare_digest(target.names[0].encode(), secret):
            return refusal(404, "Not found. Open the address that shoal printed.")
        try:
            return await handler(request)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception as error:
            on_fault(error)
            raise

    return guard


async def protect(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Add the headers that keep other sites from using a response.

    A handler of aiohttp's `on_response_prepare`.
    """
    response.headers.update(_HEADERS)
    for name, value in _DEFAULTS.items():
        response.headers.setdefault(name, value)


def _check(request: web.Request, hosts: AllowedHosts) -> web.Response | None:
    """Return a refusal if any header of a request is not acceptable."""
    headers = request.headers
    if not hosts.allows(headers.getall("Host", [])):
        return _misdirected(hosts)
    if request.method not in METHODS:
        refused = refusal(405, "Use GET or HEAD.", close=True)
        refused.headers["Allow"] = ", ".join(METHODS)
        return refused
    if request.version not in VERSIONS:
        return refusal(505, "Use HTTP/1.1.", close=True)
    if _has_body_or_upgrade(request):
        return refusal(
            400, ("Send the request without a body and without an upgrade."), close=True
        )
    sites = {each.strip(" \t").lower() for each in headers.getall("Sec-Fetch-Site", [])}
    if sites & FOREIGN_SITES:
        return refusal(403, "Pages of other sites have no access.")
    own = {f"http://{name}" for name in headers.getall("Host")}
    if not own.issuperset(headers.getall("Origin", [])):
        return refusal(403, "Pages of other origins have no access.")
    return None


def _has_body_or_upgrade(request: web.Request) -> bool:
    headers = request.headers
    return (
        request.can_read_body
        or headers.get("Content-Length", "0") != "0"
        or "Transfer-Encoding" in headers
        # aiohttp ignores an upgrade to h2c but would act on others.
        or headers.get("Upgrade", "h2c").lower() != "h2c"
    )


def refusal(status: int, text: str, *, close: bool = False) -> web.Response:
    """Return an error response whose body is one sentence that gives the reason."""
    response = web.Response(status=status, text=text + "\n")
    if close:
        response.force_close()
    return response


def _misdirected(hosts: AllowedHosts) -> web.Response:
    """Return the response to a request for another server, with the names of this."""
    text = f"This host name is not allowed; use {hosts.described}."
    return refusal(421, text, close=True)


FEW_STRANGERS = 128  # connections above which those without the token have `TOKEN_TIME`
TOKEN_TIME = 2.0  # seconds
# More than 300: a program may open a connection for each of its requests first.
MAX_STRANGERS = 400  # connections without the token; the oldest is closed for a new one
MAX_KNOWN = 384  # connections with it: each of 300 requests at once may have its own
HEADER_TIME = 10.0  # seconds to send the first request, and between two requests


class ConnectionLimiter:
    """Limit the clients; disconnect those that send no right request in time.

    aiohttp limits the time for every request but the first; only its latest versions
    limit that one too.
    """

    def __init__(self) -> None:
        # Since when each has been connected, the oldest first.
        self._strangers: dict[web.RequestHandler, float] = {}
        # How many requests of each are being answered; the last one used comes last.
        self._known: dict[web.RequestHandler, int] = {}
        self._server: web.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, server: web.Server) -> None:
        """Pass new connections to `server` from now on."""
        self._server = server

    def accept(self) -> asyncio.BaseProtocol:
        """Return the protocol for a new connection; a protocol factory for asyncio."""
        assert self._server is not None
        now = asyncio.get_running_loop().time()
        if len(self._strangers) >= FEW_STRANGERS:
            self._end_strangers(now - TOKEN_TIME, MAX_STRANGERS - 1)
        client = self._server()
        self._strangers[client] = now
        self._set_timer(now)
        return client

    @property
    def middleware(self) -> Middleware:
        """Return a middleware that gives a place to each client it sees.

        It must come after the guard, which refuses requests without the token.
        """

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            client = request.protocol
            self._strangers.pop(client, None)
            requests = self._known.pop(client, None)
            if requests is None and not self._has_room():
                return refusal(503, "Too many connections; close some.", close=True)
            self._known[client] = (requests or 0) + 1
            try:
                return await handler(request)
            finally:
                if client in self._known:
                    self._known[client] -= 1

        return note

    def close(self) -> None:
        """Stop the timer; the server closes the connections."""
        if self._timer is not None:
            self._timer.cancel()
        self._strangers.clear()
        self._known.clear()

    def _has_room(self) -> bool:
        """Return True if a client may have a place; close an idle one if need be."""
        if len(self._known) < MAX_KNOWN:
            return True
        for client in [each for each in self._known if each.transport is None]:
            del self._known[client]
        if len(self._known) < MAX_KNOWN:
            return True
        idle = next(
            (each for each, running in self._known.items() if not running), None
        )
        if idle is None:
            return False
        del self._known[idle]
        _disconnect(idle)
        return True

    def _end_strangers(self, latest: float, most: int) -> None:
        """Disconnect strangers that connected before `latest`, and all but `most`."""
        for client, since in list(self._strangers.items()):
            if since <= latest or len(self._strangers) > most:
                del self._strangers[client]
                _disconnect(client)

    def _set_timer(self, now: float) -> None:
        if self._timer is None and self._strangers:
            due = next(iter(self._strangers.values())) + HEADER_TIME
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, due - now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        self._end_strangers(now - HEADER_TIME, MAX_STRANGERS)
        self._set_timer(now)


def _disconnect(client: web.RequestHandler) -> None:
    # uvloop's transport is not a subclass of asyncio's, but has the same methods.
    if client.transport is not None:
        client.transport.abort()
