"""Attacks on the gateway of `shoal serve`, as pages in the user's browser could try.

Each is a coroutine that takes the URL of a file; a page does not know its token. The
last ones know it, like a program of the user that asks for too much.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

from tests.adversary.http import Target
from tests.helpers.gateway import exchange, parse

__all__ = ["GATEWAYS"]

HOLD_TIME = 4.0  # seconds for which connections are held
MANY = 500  # connections, more than strangers may have
RANGES = 300  # requests at once
PATIENCE = 40.0  # seconds

GatewayAttack = Callable[[Target], Coroutine[None, None, None]]


@asynccontextmanager
async def _connections(
    target: Target, number: int, said: bytes
) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Open connections that send this and read nothing."""
    writers = []
    try:
        for _ in range(number):
            _, writer = await asyncio.open_connection(target.host, target.port)
            assert isinstance(writer.transport, asyncio.Transport)
            writer.transport.pause_reading()
            writer.write(said)
            writers.append(writer)
        yield writers
    finally:
        for writer in writers:
            writer.transport.abort()


def _holding(said: Callable[[Target], bytes], number: int = MANY) -> GatewayAttack:
    async def attack(target: Target) -> None:
        async with _connections(target, number, said(target)):
            await asyncio.sleep(HOLD_TIME)

    return attack


async def gateway_slow_lines(target: Target) -> None:
    """Send a byte of the request line now and then, on many connections."""
    line = target.request()
    async with _connections(target, MANY, b"") as writers:
        for place in range(int(HOLD_TIME * 2)):
            for writer in writers:
                if not writer.transport.is_closing():
                    writer.write(line[place : place + 1])
            await asyncio.sleep(0.5)


async def gateway_preconnects(target: Target) -> None:
    """Open and close connections as fast as possible."""
    loop = asyncio.get_running_loop()
    end = loop.time() + HOLD_TIME
    while loop.time() < end:
        async with _connections(target, 50, b""):
            pass


async def gateway_ranges_at_once(target: Target) -> None:
    """Ask for many ranges at the same time: all must be answered."""
    asked = target.request(b"Range: bytes=5-14", b"Connection: close")

    async def ask() -> int:
        return parse(await exchange(target.host, target.port, asked, PATIENCE)).status

    statuses = await asyncio.gather(*(ask() for _ in range(RANGES)))
    assert set(statuses) == {206}, f"the statuses are {set(statuses)}"


def _wrong_token(target: Target) -> bytes:
    token = target.path.split("/")[1]
    return target.request(path=target.path.replace(token, "A" * len(token)))


GATEWAYS: dict[str, GatewayAttack] = {
    "gateway_silence": _holding(lambda target: b""),
    "gateway_wrong_tokens": _holding(_wrong_token),
    "gateway_half_requests": _holding(lambda target: target.request()[:-2]),
    "gateway_slow_lines": gateway_slow_lines,
    "gateway_preconnects": gateway_preconnects,
    "gateway_ranges_at_once": gateway_ranges_at_once,
    # Fewer than places, so that the user's own request is among those that wait.
    "gateway_files_never_read": _holding(lambda target: target.request(), 30),
}
"""All attacks on the gateway, by name."""
