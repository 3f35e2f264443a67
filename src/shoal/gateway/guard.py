"""Decide which clients and requests the gateway serves.

Anyone who knows the token may read. The guard protects against web pages of other
sites in the user's own browser, which can send requests here and must learn nothing,
and against requests that violate HTTP. docs/threat-model.md has the reasons under "A
web page that the user has open"; `connections` limits the number of connections.
"""

import hmac
from collections.abc import Callable, Collection

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from shoal.gateway.hosts import AllowedHosts
from shoal.gateway.request import parse_target, refusal

__all__ = ["make_guard", "protect"]

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
        return refusal(400, "Send no body and no upgrade.", close=True)
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


def _misdirected(hosts: AllowedHosts) -> web.Response:
    """Return the response to a request for another server, with the names of this."""
    text = f"This host name is not allowed; use {hosts.described}."
    return refusal(421, text, close=True)
