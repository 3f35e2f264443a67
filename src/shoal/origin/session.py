"""The HTTP client of an origin: its limits, and what the user set for all programs.

As with curl, that is a proxy (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`),
the passwords in `~/.netrc` or the file that `NETRC` names, and `SSL_CERT_FILE`, which
OpenSSL reads. Proxies and passwords are used only for hosts that the user has named: a
proxy looks names up itself, so no filter would see the address of another host.

aiohttp limits the headers of one response. But any number of interim responses may come
before it, each of which costs time and memory, and postpones the time limit between two
reads. And a library that reads responses whole, as those for object stores do, needs as
much memory as the server sends bytes. So `limited` limits both.
"""

import os
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from netrc import NetrcParseError, netrc
from typing import Any
from urllib.request import (  # type: ignore[attr-defined]
    getproxies_environment,
    proxy_bypass_environment,
)

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from shoal import __version__
from shoal.core.schedule.origin_requests import ORIGIN_RUNS
from shoal.errors import PeerError

__all__ = [
    "MAX_RESPONSE",
    "HttpSessions",
    "TooMuchDataError",
    "TooMuchHeaderError",
    "limited",
    "proxy_of",
    "user_of",
]

MAX_INTERIM = 8  # interim responses (RFC 9110 section 15.2) before the final one
MAX_HEADER_SIZE = 64 * 1024  # bytes of the headers of all these together
MAX_RESPONSE = 20 << 20  # bytes, where responses are read whole; a chunk has 16 MiB


class TooMuchHeaderError(aiohttp.ClientError):
    """A server sent more headers or interim responses than it may."""


class TooMuchDataError(aiohttp.ClientError):
    """A server sent a longer response than it may."""


class LimitedHandler(ResponseHandler):
    """Close a connection whose server sends too much before a final response."""

    _interim = 0
    _header_size = 0

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a response whose header is complete; its body follows later."""
        message, _ = data
        self._header_size += sum(map(_length, message.raw_headers))
        self._interim += 1
        if self._interim > MAX_INTERIM + 1 or self._header_size > MAX_HEADER_SIZE:
            self._end(TooMuchHeaderError("too much before the response"))
            return
        if not 100 <= message.code < 200:
            self._interim = self._header_size = 0
        super().feed_data(data, size)

    def _end(self, error: aiohttp.ClientError) -> None:
        if self.transport is not None:
            self.transport.close()
        self.set_exception(error)


class WholeHandler(LimitedHandler):
    """Close a connection, too, whose server sends a very long response."""

    _size = 0  # bytes received since that with the last header

    def data_received(self, data: bytes) -> None:
        """Take bytes of a response."""
        self._size += len(data)
        super().data_received(data)  # a header in it begins to count again
        if self._size > MAX_RESPONSE:
            self._end(TooMuchDataError("a longer response than was requested"))

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a response whose header is complete; its body follows later."""
        self._size = 0
        super().feed_data(data, size)


def limited(
    connector: aiohttp.BaseConnector, *, are_read_whole: bool = False
) -> aiohttp.BaseConnector:
    """Let all connections of a connector have these limits; return it.

    With `are_read_whole`, responses may have at most `MAX_RESPONSE` bytes. aiohttp has
    no public way to do so. Tests fail if this one ceases to work.
    """
    handler: type[ResponseHandler] = WholeHandler if are_read_whole else LimitedHandler
    connector._factory = partial(handler, loop=connector._loop)
    return connector


def _length(field: tuple[bytes, bytes]) -> int:
    name, value = field
    return len(name) + len(value)


CONNECT_TIME = 10.0  # seconds
READ_TIME = 60.0  # seconds between two reads; a cold cache reads a whole file first
READ_SIZE = 256 * 1024  # bytes


class HttpSessions:
    """Open the connections to an origin: direct ones, and those through a proxy."""

    def __init__(self, resolver: AbstractResolver) -> None:
        """Connect directly only to what `resolver` allows; nothing is opened yet."""
        self._resolver = resolver
        self._direct: aiohttp.ClientSession | None = None
        self._proxied: aiohttp.ClientSession | None = None

    def get(self, url: URL, headers: Mapping[str, str], *, is_named: bool) -> Any:
        """Request a URL without following redirects; return aiohttp's context manager.

        `is_named` is True for a host that the user named. Raises `PeerError`.
        """
        proxy = proxy_of(url) if is_named else None
        user = user_of(url) if is_named else None
        sent = dict(headers)
        if user is not None:
            sent["Authorization"] = _basic(*user)
        if proxy is None:
            if self._direct is None:
                self._direct = _session(self._resolver)
            return self._direct.get(url, headers=sent, allow_redirects=False)
        if self._proxied is None:
            self._proxied = _session(None)
        to_proxy = {}
        if proxy.user is not None:
            to_proxy["Proxy-Authorization"] = _basic(proxy.user, proxy.password or "")
        return self._proxied.get(
            url,
            # Only what is encrypted goes through a tunnel, with headers of its own.
            headers=sent if url.scheme == "https" else sent | to_proxy,
            allow_redirects=False,
            proxy=proxy.with_user(None),
            proxy_headers=to_proxy,
        )

    async def aclose(self) -> None:
        """Close every connection; idempotent."""
        sessions = (self._direct, self._proxied)
        self._direct = self._proxied = None
        for session in sessions:
            if session is not None:
                await session.close()


def proxy_of(url: URL) -> URL | None:
    """Return the proxy for a URL that the environment names; raises `PeerError`."""
    proxies = getproxies_environment()
    text = proxies.get(url.scheme, proxies.get("all"))
    host = f"{url.raw_host}:{url.port}"
    if not text or proxy_bypass_environment(host, proxies):
        return None
    try:
        proxy = URL(text if "://" in text else f"http://{text}")
    except ValueError:
        proxy = URL()
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise PeerError(
            "its proxy is not an HTTP proxy; set "
            f"{url.scheme}_proxy to http://HOST:PORT, or no_proxy to {url.raw_host}"
        )
    return proxy


def user_of(url: URL) -> tuple[str, str] | None:
    """Return user and password from netrc; None if the URL or no file has them.

    Raises `PeerError` for a file that cannot be read.
    """
    if url.user is not None or url.raw_host is None:
        return None
    path = os.environ.get("NETRC")
    try:
        found = netrc(path).authenticators(url.raw_host)
    except FileNotFoundError:
        return None
    except (OSError, NetrcParseError, UnicodeDecodeError):
        raise PeerError(f"{path or '~/.netrc'} cannot be read; correct it") from None
    if found is None:
        return None
    login, _, password = found
    return login or "", password or ""


def _basic(user: str, password: str) -> str:
    """Return the header for a user name and password (RFC 7617)."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _session(resolver: AbstractResolver | None) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=ORIGIN_RUNS, resolver=resolver)
    return aiohttp.ClientSession(
        connector=limited(connector),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "Accept-Encoding": "identity",
            "User-Agent": f"shoal/{__version__}",
        },
        read_bufsize=READ_SIZE,
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIME, sock_read=READ_TIME
        ),
    )
