"""Run a gateway and send it requests, with curl or as raw bytes.

async with serving(holder) as gateway:
    status, headers, body = await get(gateway, "files/0/data", "-r", "0-9")
    answer = await say(gateway, request(gateway, "files/0/data", b"X: y"))
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import shoal
from shoal.core.names.address import Address
from shoal.gateway.server import Gateway
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, make_holding
from tests.helpers.requirements import require

__all__ = [
    "FILE",
    "FILM",
    "Answer",
    "curl",
    "exchange",
    "get",
    "parse",
    "request",
    "say",
    "serving",
]

FILM = make_holding(50_000, name="film.mp4")
"""The share of the gateway in the tests that take one as a fixture."""
FILE = "files/0/film.mp4"
"""The path of its file at that gateway."""

PATIENCE = 20.0  # seconds


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    headers: dict[str, str]
    """Headers by their lower-case names."""
    body: bytes
    code: int = 0
    """The exit code of curl."""


@asynccontextmanager
async def serving(
    *holders: Holder, peers: Iterable[Address] = (), **options: Any
) -> AsyncIterator[Gateway]:
    """Run a gateway that serves the shares of these holders and also knows `peers`.

    A fault in the gateway fails the test.
    """
    links = [holder.holding.link for holder in holders]
    settings = here([*(holder.address for holder in holders), *peers])
    async with shoal.Node(settings) as node:
        problems: list[str] = []
        options.setdefault("on_problem", problems.append)
        async with Gateway(node, links, **options) as gateway:
            for share in gateway.shares:
                await share.run()
            yield gateway
        assert not any("fault" in problem for problem in problems), problems


async def curl(url: str, *options: str) -> Answer:
    """Request a URL with curl; with `-I`, only the headers."""
    require(None if shutil.which("curl") else "curl is not installed")
    words = ["-s", "-S", "-i", "--path-as-is", "-m", str(PATIENCE), *options, url]
    program = await asyncio.create_subprocess_exec(
        "curl",
        *words,
        env={"PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await program.communicate()
    return parse(out)._replace(code=program.returncode or 0)


async def get(gateway: Gateway, path: str, *options: str) -> Answer:
    """Request a path below the gateway's page with curl."""
    return await curl(gateway.url + path, *options)


def request(gateway: Gateway, path: str, *lines: bytes, method: str = "GET") -> bytes:
    """Return a request for a path below the page, with additional headers, as bytes."""
    first = f"{method} /{gateway.token}/{path} HTTP/1.1".encode()
    host = f"Host: 127.0.0.1:{gateway.port}".encode()
    return b"\r\n".join((first, host, *lines, b"", b""))


async def exchange(host: str, port: int, data: bytes, within: float) -> bytes:
    """Send bytes to a server; return its bytes up to the end of the connection.

    Raises `TimeoutError` if the connection lasts longer than `within` seconds.
    """
    reader, writer = await asyncio.open_connection(host, port)
    got = b""
    try:
        writer.write(data)
        async with asyncio.timeout(within):
            while block := await reader.read(1 << 16):
                got += block
    except ConnectionError:
        pass  # the server closed the connection before it read everything
    finally:
        writer.close()
    return got


async def say(gateway: Gateway, data: bytes) -> Answer:
    """Send bytes to a gateway; return the first answer at the end of the connection.

    Without an answer, the status is 0.
    """
    return parse(await exchange("127.0.0.1", gateway.port, data, PATIENCE))


def parse(data: bytes) -> Answer:
    """Return the first answer in `data`; without an answer, one with status 0."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    if not first:
        return Answer(0, {}, b"")
    if first.split()[1] == "100":
        return parse(body)
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Answer(int(first.split()[1]), headers, body)
