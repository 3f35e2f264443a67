"""An origin that is an HTTP server: byte ranges of its files (RFC 9110 section 14).

Each response is checked before any of its bytes is used: it must be the requested
range of a file of the right size, not compressed, and not changed since the last
response. Whether the bytes are right is decided later, by the chunk hashes.

A link may come from anyone, and a server may redirect anywhere. Neither may point this
machine at hosts that only it can reach: itself, its local networks, a cloud's metadata
service. `AddressFilter` checks the address that is about to be connected to, not only
the host's name, so a name that resolves to a local address does not pass.
"""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from hashlib import sha256

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shoal import __version__
from shoal.config.settings import Settings
from shoal.core.names.address_scope import MIN_PORT, Scope, scope_of
from shoal.core.names.origin_url import file_url, origin_name
from shoal.core.schedule.window import ORIGIN_RUNS
from shoal.errors import PeerError, PeerTimeoutError
from shoal.net.interfaces import list_interfaces
from shoal.origin.responses import TooMuchHeaderError, limited
from shoal.origin.source import OriginFileError, Part, how_to_allow

__all__ = ["AddressFilter", "WebReader", "parse_content_range"]

MAX_REDIRECTS = 5
CONNECT_TIME = 10.0  # seconds
READ_TIME = 30.0  # seconds between two reads
ANSWER_TIME = 60.0  # seconds until a response begins, however much comes before it
WHOLE_LIMIT = 1024 * 1024  # bytes of a file that is read whole if ranges are ignored
MAX_VALIDATORS = 10_000  # files whose version is remembered
MAX_VALIDATOR_SIZE = 128  # characters of an entity tag or date that are remembered
READ_SIZE = 256 * 1024  # bytes
WEB_PORTS = frozenset((80, 443))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_OF_ONE_FILE = frozenset((401, 403, 404, 410, 416))
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
        trusted_host = _to_url(url).raw_host if is_trusted else None
        self._filter = AddressFilter(settings, trusted_host)
        self._session: aiohttp.ClientSession | None = None
        self._validators: dict[str, tuple[str, str] | None] = {}

    async def read(self, part: Part) -> AsyncGenerator[bytes, None]:
        """Yield bytes of a file; raises `OriginFileError` or another `PeerError`."""
        try:
            async with aclosing(self._read(part)) as blocks:
                async for block in blocks:
                    yield block
        except TimeoutError:
            raise PeerTimeoutError("it does not answer") from None
        except aiohttp.ClientConnectorError as error:
            # `os_error` names the host and port, and nothing else of the URL.
            raise PeerError(f"no connection: {error.os_error}") from None
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
            raise PeerError(f"no connection: {error}") from None

    async def _read(self, part: Part) -> AsyncGenerator[bytes, None]:
        last = part.first + part.size - 1
        headers = {"Range": f"bytes={part.first}-{last}"}
        validator = self._validators.get(part.path)
        if validator is not None and validator[0].startswith('"'):
            headers["If-Range"] = validator[0]
        url = file_url(self._url, part.path, part.name)
        async with self._get(_to_url(url), headers) as response:
            skipped = self._check(response, part)
            left = part.size
            async for block in response.content.iter_any():
                begin = min(skipped, len(block))
                skipped -= begin
                useful = block[begin : begin + left]
                if useful:
                    left -= len(useful)
                    yield useful
                if not left:
                    return
        raise PeerError("its response ended early")

    @asynccontextmanager
    async def _get(
        self, url: URL, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request a URL and follow its redirects, each checked by the filter."""
        session = self._open()
        for _ in range(MAX_REDIRECTS + 1):
            if url.raw_host is None or url.port is None:
                raise PeerError("it redirects to no address")
            self._filter.check(url.raw_host, url.port)
            async with AsyncExitStack() as stack:
                request = session.get(url, headers=headers, allow_redirects=False)
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

    def _check(self, response: aiohttp.ClientResponse, part: Part) -> int:
        """Return how many bytes of a valid response precede the requested ones."""
        status, headers = response.status, response.headers
        if status in _OF_ONE_FILE:
            raise OriginFileError(f"it answers {status} for {part.path or 'the file'}")
        if status not in (200, 206):
            raise PeerError(f"it answers {status}")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise PeerError("it sends compressed data, which was not requested")
        self._check_version(headers, part)
        if status == 200:
            return self._check_whole(response.content_length, part)
        found = parse_content_range(headers.get("Content-Range", ""))
        if found is None or found[:2] != (part.first, part.first + part.size - 1):
            raise PeerError("it sends another range than the requested one")
        _check_size(found[2], part)
        return 0

    def _check_whole(self, length: int | None, part: Part) -> int:
        _check_size(length, part)
        if part.size < part.file_size > WHOLE_LIMIT:
            raise PeerError("it ignores ranges and sends the whole file")
        return part.first

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

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=limited(
                    aiohttp.TCPConnector(limit=ORIGIN_RUNS, resolver=self._filter)
                ),
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
        return self._session

    async def aclose(self) -> None:
        """Close every connection; idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            await asyncio.sleep(0)  # lets the transports close


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


def _check_size(size: int | None, part: Part) -> None:
    if size is not None and size != part.file_size:
        raise OriginFileError(
            f"{part.path or 'its file'} has {size} bytes there, {part.file_size} here"
        )


class AddressFilter(AbstractResolver):
    """Resolve host names to the addresses that origins may be on, and no others."""

    def __init__(self, settings: Settings, trusted_host: str | None) -> None:
        """Allow every address of `trusted_host`, the host in a URL the user typed."""
        self._settings = settings
        self._trusted_host = trusted_host

    def check(self, host: str, port: int) -> None:
        """Raise `PeerError` if a host or port is refused before any name is looked up.

        The addresses of a name are checked in `resolve`, when aiohttp connects.
        """
        if host == self._trusted_host:
            return
        if port not in WEB_PORTS and port < MIN_PORT:
            raise PeerError(f"port {port} is not a web server's port")
        is_address = ":" in host or host.replace(".", "").isdigit()
        if is_address and not self._allows(host):
            raise PeerError(f"{host} is not on the internet; {how_to_allow()}")
        if not is_address and self._is_confined:
            raise PeerError(f"these networks have no name lookup; {how_to_allow()}")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name that may be connected to.

        Raises `OSError` if there are none, as aiohttp expects of a resolver.
        """
        is_trusted = host == self._trusted_host
        found = await asyncio.get_running_loop().getaddrinfo(
            host,
            port,
            family=socket.AF_UNSPEC if is_trusted else socket.AF_INET,
            type=socket.SOCK_STREAM,
        )
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
