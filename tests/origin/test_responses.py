"""A server cannot send more in one response than a library may read at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

import aiohttp
import pytest

from shoal.origin import responses
from shoal.origin.responses import limited

LIMIT = 100_000  # bytes of a response, header included
START = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
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
    monkeypatch.setattr(responses, "MAX_RESPONSE", LIMIT)
    async with server(1 << 40, 200 * LIMIT) as url, session() as client:
        with pytest.raises(aiohttp.ClientError):
            await (await client.get(url)).read()


async def test_each_response_of_a_connection_may_have_as_many_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE", LIMIT)
    size = LIMIT - 10_000
    async with server(size, size) as url, session() as client:
        for _ in range(3):
            assert len(await (await client.get(url)).read()) == size
