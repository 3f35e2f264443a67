"""An origin that is an HTTP server: byte ranges of its files (RFC 9110 section 14).

Each response is checked before any of its bytes is used: it must have the requested
range of a file of the right size, not changed since the last response, or the whole
file. Servers label stored files with a `Content-Encoding`, so what is compressed is
told by its size. Whether the bytes are right is decided later, by the chunk hashes.

A link may come from anyone, and a server may redirect anywhere. Neither may point this
machine at hosts that only it can reach: itself, its local networks, a cloud's metadata
service. `AddressFilter` checks the address that is about to be connected to, not only
the host's name, so a name that resolves to a local address does not pass.
"""

import asyncio
import re
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from hashlib import sha256

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shoal.config.settings import Settings
from shoal.core.names.address_scope import MIN_PORT, Scope, scope_of
from shoal.core.names.origin_url import file_url, is_web, origin_name
from shoal.errors import PeerError, PeerTimeoutError
from shoal.net.http_date import parse_http_date
from shoal.net.interfaces import list_interfaces
from shoal.net.resolver import look_up
from shoal.origin.parts import (
    Block,
    OriginBusyError,
    OriginFileError,
    Part,
    how_to_allow,
)
from shoal.origin.session import HttpSessions, TooMuchHeaderError

__all__ = [
    "AddressFilter",
    "WebReader",
    "parse_content_range",
    "parse_retry_after",
]

MAX_REDIRECTS = 5
ANSWER_TIME = 60.0  # seconds until a response begins, however much comes before it
MAX_VALIDATORS = 10_000  # files whose version is remembered
MAX_VALIDATOR_SIZE = 128  # characters of an entity tag or date that are remembered
WEB_PORTS = frozenset((80, 443))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_OF_ONE_FILE = frozenset((401, 403, 404, 410, 416))
_BUSY = frozenset((429, 503))
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16}|\*)")


class WebReader:
    """Read the files of a share from an HTTP server."""

    def __init__(self, url: str, settings: Settings, *, is_trusted: bool) -> None:
        """Prepare to read from `url`; nothing is connected yet.

        `is_trusted` is True for a URL that the user typed, whose host may be anywhere.
        """
        self.name = origin_name(url)
        """The origin's name for messages, without any secret in its URL."""
        self._url = url
        self._is_trusted = is_trusted
        own = {_to_url(url).raw_host} if is_trusted else set()
        urls = [_to_url(each) for each in settings.origins if is_web(each)]
        # Other servers of a host that the user names are not for links.
        servers = {(each.raw_host, each.port) for each in urls}
        self._named = frozenset(filter(None, own | {each.raw_host for each in urls}))
        self._filter = AddressFilter(settings, own, servers)
        self._sessions = HttpSessions(self._filter)
        self._plus = "+"  # how a plus sign in a name is written
        self._validators: dict[str, tuple[str, str] | None] = {}

    async def read(self, part: Part) -> AsyncGenerator[Block, None]:
        """Yield blocks of a file; raises `PeerError`."""
        try:
            async with aclosing(self._read(part)) as blocks:
                async for block in blocks:
                    yield block
        except TimeoutError:
            raise PeerTimeoutError("it does not answer") from None
        except aiohttp.ClientConnectorError as error:
            # `os_error` names the host and port, and nothing else of the URL.
            raise PeerError(_no_connection(error.os_error)) from None
        except aiohttp.ClientPayloadError:
            raise PeerError("its response was cut off") from None
        except TooMuchHeaderError:
            raise PeerError("it sends too much before its response") from None
        except aiohttp.ServerDisconnectedError:
            raise PeerError("it closed the connection without a response") from None
        except (aiohttp.ClientError, ValueError):
            # Their texts include the whole URL, which may hold a secret.
            raise PeerError("its response is not HTTP") from None
        except OSError as error:
            raise PeerError(_no_connection(error)) from None

    async def _read(self, part: Part) -> AsyncGenerator[Block, None]:
        last = part.first + part.size - 1
        headers = {"Range": f"bytes={part.first}-{last}"}
        validator = self._validators.get(part.path)
        if validator is not None and validator[0].startswith('"'):
            headers["If-Range"] = validator[0]
        async with self._find(part, headers) as response:
            at, first, end = self._check(response, part)
            is_whole = (first, end) != (part.first, part.first + part.size)
            async for block in response.content.iter_any():
                useful = block[max(0, first - at) : max(0, end - at)]
                if useful:
                    yield Block(max(at, first), useful, is_whole)
                at += len(block)
                if at >= end:
                    return
        if at and response.content_length is None:
            raise OriginFileError(f"{part.path or 'its file'} is shorter there")
        raise PeerError("its response ended early")

    @asynccontextmanager
    async def _find(
        self, part: Part, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request a file; one with a plus sign in its name by another URL if need be.

        S3 takes a plus sign in a URL for a space, others do not decode an encoded one.
        """
        forms = [self._plus]
        if "+" in (part.path or part.name):
            forms += {"+", "%2B"} - {self._plus}
        for form in forms:
            url = file_url(self._url, part.path, part.name, plus=form)
            async with self._get(_to_url(url), headers) as response:
                if response.status == 404 and form != forms[-1]:
                    continue
                self._plus = form if response.status < 400 else self._plus
                yield response
                return

    @asynccontextmanager
    async def _get(
        self, url: URL, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request a URL and follow its redirects, each checked by the filter."""
        for _ in range(MAX_REDIRECTS + 1):
            if url.raw_host is None or url.port is None:
                raise PeerError("it redirects to no address")
            self._filter.check(url.raw_host, url.port)
            is_named = self._is_trusted and url.raw_host in self._named
            async with AsyncExitStack() as stack:
                request = self._sessions.get(url, headers, is_named=is_named)
                async with asyncio.timeout(ANSWER_TIME):
                    response = await stack.enter_async_context(request)
                if response.status not in _REDIRECTS:
                    yield response
                    return
                location = response.headers.get("Location")
            if not location:
                raise PeerError("it redirects to no address")
            to = url.join(_to_url(location))
            if to.scheme not in ("http", "https") or to.scheme < url.scheme:
                raise PeerError("it redirects away from HTTP, or to an unencrypted URL")
            url = to
        raise PeerError("it redirects too many times")

    def _check(
        self, response: aiohttp.ClientResponse, part: Part
    ) -> tuple[int, int, int]:
        """Return where a response begins in the file, and what to take from it.

        That is all of a whole file, and of a range the part: some servers send more.
        """
        status, headers = response.status, response.headers
        _check_status(status, headers, part)
        self._check_version(headers, part)
        if status == 200:
            if response.content_length is None and "Content-Encoding" in headers:
                name = part.path or "its file"
                raise OriginFileError(f"it compresses {name}, though not asked to")
            _check_size(response.content_length, part)
            return 0, 0, part.file_size
        found = parse_content_range(headers.get("Content-Range", ""))
        _check_size(None if found is None else found[2], part)
        end = part.first + part.size
        if found is None or found[0] > part.first or found[1] + 1 < end:
            raise PeerError("it sends another range than the requested one")
        return found[0], part.first, end

    def _check_version(self, headers: Mapping[str, str], part: Part) -> None:
        """Raise `PeerError` if a file differs from the one in earlier responses."""
        tag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
        found = _shortened(tag), _shortened(date)
        known = self._validators.setdefault(part.path, found)
        if len(self._validators) > MAX_VALIDATORS:
            del self._validators[next(iter(self._validators))]
        if known is not None and known != found:
            # Reported once: several servers behind one name may differ in this alone.
            self._validators[part.path] = None
            raise PeerError(f"{part.path or 'the file'} has changed")

    async def aclose(self) -> None:
        """Close every connection; idempotent."""
        await self._sessions.aclose()
        await asyncio.sleep(0)  # lets the transports close


def _no_connection(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"its name cannot be looked up ({error.strerror})"
    return f"no connection: {error}"


def _shortened(validator: str) -> str:
    """Return a validator, or a hash in place of one that takes much memory."""
    if len(validator) <= MAX_VALIDATOR_SIZE:
        return validator
    return sha256(validator.encode(errors="surrogateescape")).hexdigest()


def _to_url(text: str) -> URL:
    """Parse a URL without normalizing it: a signature may cover every character."""
    return URL(text, encoded=text.isascii())


def parse_content_range(text: str) -> tuple[int, int, int | None] | None:
    """Parse a `Content-Range` (RFC 9110 section 14.4): first, last and whole size.

    The size is None if the server does not know it. Returns None for an invalid header.
    """
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    size = None if match[3] == "*" else int(match[3])
    if first > last or (size is not None and last >= size):
        return None
    return first, last, size


def _check_status(status: int, headers: Mapping[str, str], part: Part) -> None:
    """Raise what a status says of an origin or of a file, unless it has bytes."""
    name = part.path or "the file"
    if status == 401:
        raise OriginFileError(
            f"it answers 401 for {name}: user name or password are missing or wrong"
        )
    if status in _OF_ONE_FILE:
        raise OriginFileError(f"it answers {status} for {name}")
    pause = parse_retry_after(headers.get("Retry-After", ""))
    if status in _BUSY and pause is not None:
        message = f"it answers {status} and asks for a pause of {pause:.0f} s"
        raise OriginBusyError(message, pause)
    if status not in (200, 206):
        raise PeerError(f"it answers {status}")


def parse_retry_after(text: str) -> float | None:
    """Parse a `Retry-After` (RFC 9110 section 10.2.3); return seconds, or None."""
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    until = parse_http_date(text)
    return None if until is None else max(0.0, until - time.time())


def _check_size(size: int | None, part: Part) -> None:
    if size is not None and size != part.file_size:
        raise OriginFileError(
            f"{part.path or 'its file'} has {size:,} B there, {part.file_size:,} B here"
        )


class AddressFilter(AbstractResolver):
    """Resolve host names to the addresses that origins may be on, and no others."""

    def __init__(
        self,
        settings: Settings,
        named: Collection[str | None] = (),
        servers: Collection[tuple[str | None, int | None]] = (),
    ) -> None:
        """Allow every address of the hosts in `named`, and of hosts with a port.

        Those are in URLs of the user.
        """
        self._settings = settings
        self._named = named
        self._servers = servers

    def check(self, host: str, port: int) -> None:
        """Raise `PeerError` if a host or port is refused before any name is looked up.

        The addresses of a name are checked in `resolve`, when aiohttp connects.
        """
        if self._is_named(host, port):
            return
        if port not in WEB_PORTS and port < MIN_PORT:
            raise PeerError(f"port {port} is not a web server's port")
        is_address = ":" in host or host.replace(".", "").isdigit()
        if is_address and not self._allows(host):
            raise PeerError(f"{host} is not on the internet; {how_to_allow()}")
        if not is_address and self._is_confined:
            raise PeerError(
                f"names cannot be looked up on these networks; {how_to_allow()}"
            )

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name that may be connected to.

        Raises `OSError` if there are none, as aiohttp expects of a resolver.
        """
        is_trusted = self._is_named(host, port)
        found = await look_up(host, port)
        results = [
            ResolveResult(
                hostname=host,
                host=str(each[4][0]),
                port=port,
                family=each[0],
                proto=each[2],
                flags=socket.AI_NUMERICHOST,
            )
            for each in found
            if is_trusted or self._allows(str(each[4][0]))
        ]
        if not results:
            raise OSError(f"{host} is not on the internet; {how_to_allow()}")
        return results

    async def close(self) -> None:
        """Do nothing, as no resource is held; aiohttp requires the method."""

    def _is_named(self, host: str, port: int) -> bool:
        return host in self._named or (host, port) in self._servers

    @property
    def _is_confined(self) -> bool:
        """Return True if the settings confine shoal to some networks."""
        return self._settings.lan_only or bool(self._settings.interfaces)

    def _allows(self, host: str) -> bool:
        scope = scope_of(host)
        if scope is Scope.NONE:
            return False
        if scope is not Scope.GLOBAL and not self._settings.interfaces:
            return False
        if not self._is_confined:
            return True
        networks = list_interfaces(self._settings.interfaces)
        return any(each.is_on_subnet(host) for each in networks)
