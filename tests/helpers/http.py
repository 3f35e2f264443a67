"""Ask an HTTP server as curl does, or byte by byte as no client would.

async with serving(holder) as gateway:
    status, headers, body = await get(gateway, "files/0/data", "-r", "0-9")
    answer = await say(gateway, request(gateway, "files/0/data", b"X: y"))
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import shoal
from shoal.core.names.address import Address
from shoal.gateway.server import Gateway
from tests.helpers.exchange import exchange
from tests.helpers.fetching import here
from tests.helpers.holder import Holder
from tests.helpers.requirements import require

__all__ = ["Answer", "curl", "get", "nginx", "parse", "request", "say", "serving"]

PATIENCE = 20.0  # seconds


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    """By their names in small letters."""
    body: bytes
    code: int = 0
    """What curl exited with."""


@asynccontextmanager
async def serving(
    *holders: Holder, peers: Iterable[Address] = (), **options: Any
) -> AsyncIterator[Gateway]:
    """Serve what these have, and know `peers`, too.

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
    """Return what curl gets of a URL, HEAD with `-I`."""
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
    """Return what curl gets of a path below the gateway's page."""
    return await curl(gateway.url + path, *options)


def request(gateway: Gateway, path: str, *lines: bytes, method: str = "GET") -> bytes:
    """Return the bytes of a request for a path below the page, with more headers."""
    first = f"{method} /{gateway.token}/{path} HTTP/1.1".encode()
    host = f"Host: 127.0.0.1:{gateway.port}".encode()
    return b"\r\n".join((first, host, *lines, b"", b""))


async def say(gateway: Gateway, data: bytes) -> Answer:
    """Send these bytes, and return the first answer once the server hangs up.

    Without an answer its status is 0.
    """
    return parse(await exchange("127.0.0.1", gateway.port, data, PATIENCE))


def parse(data: bytes) -> Answer:
    """Return the first answer in `data`; one of status 0 if there is none."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    if not first:
        return Answer(0, {}, b"")
    if first.split()[1] == "100":
        return parse(body)
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Answer(int(first.split()[1]), headers, body)


_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;
events {{ }}
http {{
    access_log off; etag on; types {{ }} default_type application/octet-stream;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2;
    fastcgi_temp_path {folder}/3; uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{ listen 127.0.0.1:{port}; root {root}; max_ranges 1; }}
}}
"""


@asynccontextmanager
async def nginx(root: Path, folder: Path) -> AsyncIterator[str]:
    """Serve the files in `root` with nginx; give the URL of the folder."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    require(None if program else "nginx is not installed")
    assert program is not None
    # It binds the port that a socket of ours had until now.
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, root=root, port=port))
    running = await asyncio.create_subprocess_exec(
        program, "-p", str(folder), "-c", str(config), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while not await _listens(port):
                assert running.returncode is None
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}/"
    finally:
        running.terminate()
        await running.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    return True
