"""The bytes of a file on their way to a client, as they are verified.

What is sent cannot be taken back, so whatever goes wrong once it has begun ends the
connection: the client sees fewer bytes than were promised, never other ones.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from shoal.errors import ShoalError
from shoal.gateway.range import Span
from shoal.reading.file import AsyncFile

__all__ = ["BLOCK_SIZE", "STALL_TIME", "send"]

BLOCK_SIZE = 256 * 1024  # bytes handed to a socket at once
STALL_TIME = 600.0  # seconds a client may take nothing, as a player that is paused does


async def send(
    request: web.Request,
    response: web.StreamResponse,
    file: AsyncFile,
    span: Span,
    stall_time: float = STALL_TIME,
) -> None:
    """Send these bytes of a file; the headers are out.

    A client that takes nothing for `stall_time` seconds is left. One that goes away
    cancels this, and with it what was being fetched. Raises `ShoalError`, with the
    connection ended, when the bytes cannot be had.
    """
    try:
        async with aclosing(_blocks(file, span)) as blocks:
            async for block in blocks:
                async with asyncio.timeout(stall_time):
                    await response.write(block)
    except (ShoalError, TimeoutError) as error:
        if request.transport is not None:
            request.transport.abort()
        if isinstance(error, ShoalError):
            raise


async def _blocks(file: AsyncFile, span: Span) -> AsyncGenerator[memoryview, None]:
    """Yield the bytes of a span, chunk by chunk, none of them copied."""
    # For who may stop anywhere no more is fetched ahead than it has read.
    until = None if span.may_stop else span.end
    place = span.first
    while place < span.end:
        end = min(place + file.reader.rest_of_chunk(place), span.end)
        for piece in await file.reader.get(place, end, until):
            for start in range(0, len(piece), BLOCK_SIZE):
                yield piece[start : start + BLOCK_SIZE]
        place = end
