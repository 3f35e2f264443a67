"""Proxies, passwords and certificates are those that the user set for all programs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, closing, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from shoal.config.settings import Settings
from shoal.errors import PeerError
from shoal.origin import session
from shoal.origin.parts import Part
from shoal.origin.session import limited, proxy_of, user_of
from shoal.origin.web import WebReader
from tests.helpers.web_origin import web_origin

DATA = bytes(range(256)) * 64
ANN, BOB = "Basic YW5uOnNlY3JldA==", "Basic Ym9iOng="  # ann:secret, bob:x
WriteNetrc = Callable[[str], None]
PART = Part("", "f", 0, 9, len(DATA))


@pytest.fixture(autouse=True)
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set no proxy, and an empty file of passwords; return a function to fill it."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
    path = tmp_path / "netrc"
    path.write_text("")
    monkeypatch.setenv("NETRC", str(path))

    def write(text: str) -> None:
        path.write_text(text)

    return write


async def read(url: str, *, is_trusted: bool = True, **settings: object) -> bytes:
    made = Settings(**settings)  # type: ignore[arg-type]
    reader = WebReader(url, made, is_trusted=is_trusted)
    try:
        async with aclosing(reader.read(PART)) as blocks:
            return b"".join([block.data async for block in blocks])
    finally:
        await reader.aclose()


async def test_a_password_of_netrc_is_sent_to_its_host_only(
    netrc: WriteNetrc,
) -> None:
    netrc("machine 127.0.0.1 login ann password secret\n")
    async with web_origin({"f": DATA}) as origin:
        assert await read(origin.url + "f") == DATA[:9]
        expected = ANN
        assert origin.headers[-1]["Authorization"] == expected
        # What the URL says comes first.
        await read(origin.url.replace("//", "//bob:x@") + "f")
        assert origin.headers[-1]["Authorization"] == BOB
        await read(origin.url.replace("127.0.0.1", "localhost") + "f")
        assert "Authorization" not in origin.headers[-1]


async def test_no_password_of_netrc_is_sent_to_hosts_of_links(
    netrc: WriteNetrc,
) -> None:
    netrc("default login ann password secret\n")
    async with web_origin({"f": DATA}) as origin:
        await read(origin.url + "f", is_trusted=False, interfaces=("lo",))
        assert "Authorization" not in origin.headers[-1]


async def test_a_redirect_to_a_host_of_a_link_takes_no_password_of_netrc(
    netrc: WriteNetrc,
) -> None:
    netrc("default login ann password secret\n")
    async with web_origin({"f": DATA}) as origin, web_origin({"f": DATA}) as other:
        target = other.url + "f"

        async def answer(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(target)

        origin.answer = answer
        url = origin.url.replace("127.0.0.1", "localhost") + "f"
        assert await read(url, interfaces=("lo",)) == DATA[:9]
        assert "Authorization" in origin.headers[-1]
        assert "Authorization" not in other.headers[-1]


async def test_a_file_of_passwords_that_is_not_valid_is_named(
    netrc: WriteNetrc,
) -> None:
    netrc("machine\n")
    with pytest.raises(PeerError, match="netrc cannot be read; correct it"):
        await read("http://127.0.0.1:9/f")


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
async def test_a_proxy_is_used_for_a_host_that_the_user_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy looks up the name, which exists nowhere."""
    async with web_origin({"f": DATA}) as proxy:
        monkeypatch.setenv(name, proxy.url.replace("//", "//ann:secret@"))
        assert await read("http://files.invalid/f") == DATA[:9]
        (headers,) = proxy.headers
        assert headers["Host"] == "files.invalid"
        expected = ANN
        assert headers["Proxy-Authorization"] == expected
        # Neither for a host of a link, nor for one in NO_PROXY.
        with pytest.raises(PeerError, match="looked up"):
            await read("http://files.invalid/f", is_trusted=False)
        monkeypatch.setenv("NO_PROXY", ".invalid")
        with pytest.raises(PeerError, match="looked up"):
            await read("http://files.invalid/f")
        assert len(proxy.headers) == 1


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:1080", "http://", "http://host:port", "nonsense://h"]
)
def test_a_proxy_of_another_kind_is_named(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(PeerError, match="not an HTTP proxy; set https_proxy"):
        proxy_of(URL("https://host/"))
    assert proxy_of(URL("http://host/")) is None


def test_a_proxy_may_have_no_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "proxy:3128")
    assert proxy_of(URL("https://host/")) == URL("http://proxy:3128")


def test_without_a_file_there_is_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert user_of(URL("http://host/")) is None


LIMIT = 100_000  # bytes of a response, header included
START = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@asynccontextmanager
async def read_session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = limited(aiohttp.TCPConnector(limit=1), are_read_whole=True)
    async with aiohttp.ClientSession(connector=connector) as opened:
        yield opened


@asynccontextmanager
async def server(announced: int, sent: int) -> AsyncIterator[str]:
    """Run a server that announces so many bytes, and sends so many, each time.

    Its clients must have closed their connections at the end of the block.
    """
    answering = set()

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        answering.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError), closing(writer):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(START % announced)
                for _ in range(0, sent, 1000):
                    writer.write(bytes(1000))
                    await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        await asyncio.gather(*(each for each in answering if each is not None))


async def test_a_long_response_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "MAX_RESPONSE", LIMIT)
    async with server(1 << 40, 200 * LIMIT) as url, read_session() as client:
        with pytest.raises(aiohttp.ClientError):
            await (await client.get(url)).read()


async def test_each_response_of_a_connection_may_have_as_many_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "MAX_RESPONSE", LIMIT)
    size = LIMIT - 10_000
    async with server(size, size) as url, read_session() as client:
        for _ in range(3):
            assert len(await (await client.get(url)).read()) == size
