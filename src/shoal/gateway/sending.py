"""Send bytes of shares in responses: a limited number at a time, and never wrong ones.

Bytes are sent as they are verified, and the status together with the first of them:
without any, the status is 504, or 502, and the body gives the reason. A failure after
that closes the connection, so a client may get fewer bytes than announced but never
wrong ones.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiohttp import web

from shoal.core.crypto.hashes import Bytes
from shoal.errors import NotFoundError, ShoalError
from shoal.gateway.guard import refusal
from shoal.gateway.range import ByteRange
from shoal.gateway.shares import RETRY

if TYPE_CHECKING:
    from shoal.reading.file import AsyncFile

__all__ = ["STALL_TIME", "Sender", "failure", "read_blocks", "send"]

MAX_STREAMS = 32  # responses sent at the same time; each holds a chunk in memory
WAIT_TIME = 60.0  # seconds that a request waits for one of them to end, at most
BLOCK_SIZE = 256 * 1024  # bytes per write to a socket
STALL_TIME = 600.0  # seconds a client may read nothing, as a paused player does


class Sender:
    """Send the bodies of responses, a limited number at a time, in order of arrival."""

    def __init__(self, on_problem: Callable[[str], None]) -> None:
        """Call `on_problem` with a sentence when something could not be sent."""
        self._on_problem = on_problem
        self._places = asyncio.Semaphore(MAX_STREAMS)  # first come, first served

    async def send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        blocks: AsyncGenerator[Bytes, None],
        name: str,
    ) -> web.StreamResponse:
        """Send the blocks of what is called `name`; return the response that was sent.

        That is another one if no place becomes free or no block arrives.
        """
        try:
            async with asyncio.timeout(WAIT_TIME):
                await self._places.acquire()
        except TimeoutError:
            refused = refusal(503, "Too many files are being read; close some first.")
            refused.headers["Retry-After"] = "1"
            return refused
        try:
            await send(request, response, blocks)
        except ShoalError as error:
            self._on_problem(f"{name} was not sent: {error}")
            if not response.prepared:
                return failure(error)
        finally:
            self._places.release()
        return response


def failure(error: ShoalError) -> web.Response:
    """Return the response to a request for what the share's peers do not send."""
    if not isinstance(error, NotFoundError):
        return refusal(502, str(error))
    refused = refusal(504, str(error))
    refused.headers["Retry-After"] = f"{RETRY:.0f}"
    return refused


async def send(
    request: web.Request,
    response: web.StreamResponse,
    blocks: AsyncGenerator[Bytes, None],
    stall_time: float = STALL_TIME,
) -> None:
    """Send blocks of bytes, at least one; with the first, the response's headers.

    A client that reads nothing for `stall_time` seconds is disconnected. When a client
    disconnects, aiohttp cancels this, which also cancels the fetching. Raises
    `ShoalError` if the bytes cannot be fetched, after closing the connection if
    anything has been sent.
    """
    try:
        async with aclosing(blocks):
            async for block in blocks:
                async with asyncio.timeout(stall_time):
                    if not response.prepared:
                        await response.prepare(request)
                    await response.write(block)
    except (ShoalError, TimeoutError) as error:
        if response.prepared and request.transport is not None:
            request.transport.abort()
        if isinstance(error, ShoalError):
            raise


async def read_blocks(
    file: "AsyncFile", wanted: ByteRange
) -> AsyncGenerator[memoryview, None]:
    """Yield the bytes of a range as they arrive, without copying them."""
    # A client that may stop anywhere gets no more prefetched than it has read.
    until = None if wanted.is_open_ended else wanted.end
    position = wanted.first
    while position < wanted.end:
        piece = await file.reader.piece(position, wanted.end, until)
        for start in range(0, len(piece), BLOCK_SIZE):
            yield piece[start : start + BLOCK_SIZE]
        position += len(piece)
