"""Strangers at the gateway keep no user out, and many requests at once are answered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from shoal.gateway import guard
from shoal.gateway.guard import FEW_STRANGERS, MAX_KNOWN, MAX_STRANGERS
from shoal.gateway.server import Gateway
from tests.helpers.gateway import FILE, FILM, get, parse, request, say, serving
from tests.helpers.holder import Holder

MANY = 300  # requests at once
MANY_STRANGERS = MAX_STRANGERS + 50  # connections at once, more than there may be
PATIENCE = 20.0  # seconds


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let hundreds of connections begin, however slow this machine is."""
    monkeypatch.setattr(guard, "HEADER_TIME", 2 * PATIENCE)


@contextlib.asynccontextmanager
async def strangers(
    gateway: Gateway, number: int, said: bytes = b""
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open connections that send no token."""
    async with contextlib.AsyncExitStack() as stack:
        readers = []
        for _ in range(number):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            stack.callback(writer.close)
            writer.write(said)
            readers.append(reader)
        yield readers


@pytest.mark.parametrize(
    "said",
    [b"", b"GET /x", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"],
    ids=["silent", "slow", "without the token"],
)
async def test_strangers_keep_no_user_out(gateway: Gateway, said: bytes) -> None:
    said = said.replace(b"%d", b"%d" % gateway.port)
    async with strangers(gateway, MANY_STRANGERS, said):
        for _ in range(3):
            assert (await get(gateway, FILE)).status == 200


async def test_strangers_leave_the_places_of_users_alone(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for _ in range(2):
        writer.write(request(gateway, FILE, method="HEAD"))
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        async with strangers(gateway, MANY_STRANGERS):
            pass
    writer.close()


async def test_of_many_strangers_those_that_were_silent_for_long_go(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "TOKEN_TIME", 0.0)
    async with strangers(gateway, FEW_STRANGERS) as old, asyncio.timeout(PATIENCE):
        async with strangers(gateway, 1):
            for reader in old:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""


async def test_the_number_of_connections_with_the_token_is_limited(
    gateway: Gateway,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        ends = []
        for _ in range(MAX_KNOWN):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            stack.callback(writer.close)
            writer.write(request(gateway, FILE, method="HEAD"))
            await reader.readuntil(b"\r\n\r\n")
            ends.append((reader, writer))
        # One more takes the place of the one that has been idle longest.
        assert (await get(gateway, FILE)).status == 200
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                assert await ends[0][0].read() == b""
        reader, writer = ends[1]
        writer.write(request(gateway, FILE, method="HEAD"))
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")


async def test_many_ranges_at_once_are_all_answered(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To open all connections may take longer where other tests run.
    monkeypatch.setattr(guard, "TOKEN_TIME", 2 * PATIENCE)
    data = request(gateway, FILE, b"Range: bytes=7-16", b"Connection: close")

    # A program may open all of its connections before it sends the first request.
    pairs = [
        await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(MANY)
    ]
    for _, writer in pairs:
        writer.write(data)
    async with asyncio.timeout(2 * PATIENCE):
        bodies = [parse(await reader.read()).body for reader, _ in pairs]
    for _, writer in pairs:
        writer.close()
    assert set(bodies) == {FILM.chunk(0)[7:17]}


@pytest.mark.parametrize("sent", [b"", b"GET /", b"GET / HTTP/1.1\r\nX: "])
async def test_a_client_that_does_not_finish_a_request_is_disconnected(
    holder: Holder, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "HEADER_TIME", 0.2)
    async with serving(holder) as gateway:
        assert (await say(gateway, sent)).status == 0


async def test_a_client_that_drips_its_second_request_is_disconnected(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "HEADER_TIME", 0.2)
    async with serving(holder) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(gateway, FILE, method="HEAD"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /")

        async def drip() -> None:
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        dripping.cancel()
        writer.close()
