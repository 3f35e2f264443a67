"""Who is answered at all: a middleware in front of every route.

Whoever knows the token may read; what is guarded against is a page of a stranger in
the user's own browser, which can send requests here and must learn nothing, and
programs that send what HTTP does not allow. `threats.md`, part E.
"""

import hmac
from collections.abc import Callable, Collection

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from shoal.gateway.hosts import AllowedHosts
from shoal.gateway.paths import parse_target

__all__ = ["make_guard", "names_of", "protect", "refusal"]

METHODS = ("GET", "HEAD")
VERSIONS = (HttpVersion10, HttpVersion11)
STRANGERS = {"cross-site", "same-site"}
"""Values of `Sec-Fetch-Site` with which another site's page asks."""
_HEADERS = {
    "Server": "shoal",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The token is in the path.
    "Referrer-Policy": "no-referrer",
}
_DEFAULTS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
}


def make_guard(
    token: str,
    hosts: AllowedHosts,
    on_fault: Callable[[Exception], None],
    open_to_all: Collection[str] = (),
) -> Middleware:
    """Return the middleware that lets in who knows `token` and names one of `hosts`.

    `on_fault` hears of what should not have gone wrong behind it. The paths that are
    `open_to_all` want no token, and everything else.
    """
    secret = token.encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = _look(request, hosts)
        if refused is not None:
            return refused
        try:
            target = parse_target(request.raw_path)
        except ValueError as error:
            return refusal(400, f"This path cannot be asked for: {error}.", close=True)
        if target.authority is not None and not hosts.allows([target.authority]):
            return _misdirected()
        is_open = "/".join(("", *target.names)) in open_to_all
        if not is_open and not hmac.compare_digest(target.names[0].encode(), secret):
            return refusal(404, "Nothing is here; open the address that serve printed.")
        try:
            return await handler(request)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception as error:
            on_fault(error)
            raise

    return guard


def names_of(request: web.Request) -> tuple[str, ...]:
    """Return the path behind the token, decoded, name by name.

    The last one is empty where the path ends in a slash.
    """
    return parse_target(request.raw_path).names[1:]


async def protect(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Add to a response what keeps others from using it; a signal's handler."""
    response.headers.update(_HEADERS)
    for name, value in _DEFAULTS.items():
        response.headers.setdefault(name, value)


def refusal(status: int, text: str, *, close: bool = False) -> web.Response:
    """Return an answer that says in a sentence why there is none."""
    response = web.Response(status=status, text=text + "\n")
    if close:
        response.force_close()
    return response


def _look(request: web.Request, hosts: AllowedHosts) -> web.Response | None:
    """Return why a request is refused, whatever it is about."""
    headers = request.headers
    if not hosts.allows(headers.getall("Host", [])):
        return _misdirected()
    if request.method not in METHODS:
        refused = refusal(405, "Only GET and HEAD are answered here.", close=True)
        refused.headers["Allow"] = ", ".join(METHODS)
        return refused
    if request.version not in VERSIONS:
        return refusal(505, "HTTP/1.1 is spoken here.", close=True)
    if _has_more(request):
        return refusal(400, "A request here has no body and no upgrade.", close=True)
    sites = {each.strip(" \t").lower() for each in headers.getall("Sec-Fetch-Site", [])}
    if sites & STRANGERS:
        return refusal(403, "A page of another site may not use this.")
    own = {f"http://{name}" for name in headers.getall("Host")}
    if not own.issuperset(headers.getall("Origin", [])):
        return refusal(403, "A page of another origin may not use this.")
    return None


def _has_more(request: web.Request) -> bool:
    """Say whether something follows a request that belongs to it."""
    headers = request.headers
    return (
        request.can_read_body
        or headers.get("Content-Length", "0") != "0"
        or "Transfer-Encoding" in headers
        # That one is ignored; others aiohttp would heed.
        or headers.get("Upgrade", "h2c").lower() != "h2c"
    )


def _misdirected() -> web.Response:
    """Return the answer for another server's request: nothing at all."""
    response = web.Response(status=421)
    response.force_close()
    return response
