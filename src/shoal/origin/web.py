"""An origin that is an HTTP server, asked for ranges (RFC 9110 section 14).

What it answers is checked before a byte of it is used: that it is the range that was
asked for, of a file of the right size, not compressed, and not changed since. Whether
the bytes are right is for the hashes to say.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

import aiohttp
from yarl import URL

from shoal import __version__
from shoal.config.settings import Settings
from shoal.core.names.origin_url import file_url
from shoal.core.schedule.origin_parts import Part, parse_content_range
from shoal.core.schedule.window import ORIGIN_RUNS
from shoal.errors import PeerError, PeerTimeoutError
from shoal.origin.base import FileError
from shoal.origin.guard import Guard

__all__ = ["WebSource"]

MAX_REDIRECTS = 5
CONNECT_TIME = 10.0  # seconds
READ_TIME = 30.0  # seconds between two reads
WHOLE_LIMIT = 1024 * 1024  # bytes of a file that is read whole where ranges are ignored
MAX_VALIDATORS = 10_000  # files whose version is remembered
READ_SIZE = 256 * 1024  # bytes
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_OF_ONE_FILE = frozenset((401, 403, 404, 410, 416))


class WebSource:
    """Read the files of a share from an HTTP server."""

    def __init__(self, url: str, settings: Settings, *, is_named: bool) -> None:
        """Connect to nobody yet; `is_named` says whether the user named it."""
        self._url = url
        self._guard = Guard(settings, _to_url(url).raw_host if is_named else None)
        self._session: aiohttp.ClientSession | None = None
        self._validators: dict[str, tuple[str, str] | None] = {}

    async def read(self, part: Part) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a part; raises `FileError` or another `PeerError`."""
        try:
            async with aclosing(self._read(part)) as blocks:
                async for block in blocks:
                    yield block
        except TimeoutError:
            raise PeerTimeoutError("it does not answer") from None
        except aiohttp.ClientConnectorError as error:
            # Its text names host and port and nothing else of the URL.
            raise PeerError(f"no connection: {error.os_error}") from None
        except aiohttp.ClientPayloadError:
            raise PeerError("it broke off its answer") from None
        except aiohttp.ServerDisconnectedError:
            raise PeerError("it hung up without an answer") from None
        except (aiohttp.ClientError, ValueError):
            # Their texts have the whole URL, and in it perhaps a secret.
            raise PeerError("its answer is not HTTP") from None
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
        raise PeerError("it ended its answer early")

    @asynccontextmanager
    async def _get(
        self, url: URL, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for a URL, and for where that leads to."""
        session = self._open()
        for _ in range(MAX_REDIRECTS + 1):
            if url.raw_host is None or url.port is None:
                raise PeerError("it redirects to nowhere")
            self._guard.check(url.raw_host, url.port)
            async with session.get(
                url, headers=headers, allow_redirects=False
            ) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                location = response.headers.get("Location")
            if not location:
                raise PeerError("it redirects to nowhere")
            to = url.join(_to_url(location))
            if to.scheme not in ("http", "https") or to.scheme < url.scheme:
                raise PeerError("it redirects to what is not HTTP, or not encrypted")
            url = to
        raise PeerError("it redirects again and again")

    def _check(self, response: aiohttp.ClientResponse, part: Part) -> int:
        """Return how many bytes of a good answer come before what was asked for."""
        status, headers = response.status, response.headers
        if status in _OF_ONE_FILE:
            raise FileError(f"it answers {status} for {part.path or 'the file'}")
        if status not in (200, 206):
            raise PeerError(f"it answers {status}")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise PeerError("it sends what is compressed, unasked")
        self._check_version(headers, part)
        if status == 200:
            return self._check_whole(response.content_length, part)
        found = parse_content_range(headers.get("Content-Range", ""))
        if found is None or found[:2] != (part.first, part.first + part.size - 1):
            raise PeerError("it answers with another range than was asked for")
        _check_size(found[2], part)
        return 0

    def _check_whole(self, length: int | None, part: Part) -> int:
        _check_size(length, part)
        if part.size < part.file_size > WHOLE_LIMIT:
            raise PeerError("it ignores that only a range is asked for")
        return part.first

    def _check_version(self, headers: Mapping[str, str], part: Part) -> None:
        """Notice a file that is not the one of earlier answers."""
        found = (headers.get("ETag", ""), headers.get("Last-Modified", ""))
        known = self._validators.setdefault(part.path, found)
        if len(self._validators) > MAX_VALIDATORS:
            del self._validators[next(iter(self._validators))]
        if known is not None and known != found:
            # Told once: several servers behind one name may differ in this alone.
            self._validators[part.path] = None
            raise PeerError(f"{part.path or 'the file'} has changed since")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=ORIGIN_RUNS, resolver=self._guard),
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
            await asyncio.sleep(0)  # for the transports to hear of it


def _to_url(text: str) -> URL:
    """Read a URL and leave it as it is: a signature may cover every character."""
    return URL(text, encoded=text.isascii())


def _check_size(size: int | None, part: Part) -> None:
    if size is not None and size != part.file_size:
        raise FileError(
            f"{part.path or 'its file'} has {size} bytes there, {part.file_size} here"
        )
