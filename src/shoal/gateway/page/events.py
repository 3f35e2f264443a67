"""Keep open pages up to date: server-sent events, each with the fields that changed.

The next event is made only when the client has read the one before, so a slow client
needs the memory of one event and gets fewer of them. HTML Living Standard, section 9.2.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from aiohttp import web

from shoal.gateway.guard import refusal
from shoal.gateway.page.sampler import PERIOD
from shoal.gateway.page.view import ShareView, changed_fields, full_fields

__all__ = ["MAX_STREAMS", "EventStreams"]

MAX_STREAMS = 16  # pages that are kept up to date
HEARTBEAT = 15.0  # seconds without a change after which a page gets a comment
STALL_TIME = 30.0  # seconds a page may read nothing


class EventStreams:
    """Send events to open pages until `closing` is set."""

    def __init__(
        self,
        sample: Callable[[], Sequence[ShareView]],
        closing: asyncio.Event,
        *,
        period: float = PERIOD,
        heartbeat: float = HEARTBEAT,
        stall_time: float = STALL_TIME,
    ) -> None:
        """Call `sample` every `period` seconds, and send what changed."""
        self.streams = 0
        """The number of open streams."""
        self._sample = sample
        self._closing = closing
        self._period = period
        self._heartbeat = heartbeat
        self._stall_time = stall_time

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Send one page its events until it disconnects."""
        if self.streams >= MAX_STREAMS:
            refused = refusal(503, "Too many pages are open; close some first.")
            refused.headers["Retry-After"] = "5"
            return refused
        response = web.StreamResponse()
        response.headers["Content-Type"] = "text/event-stream"
        response.headers["Cache-Control"] = "no-store"
        self.streams += 1
        try:
            await response.prepare(request)
            if request.method == "GET":
                await self._send_events(response)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        finally:
            self.streams -= 1
        return response

    async def _send_events(self, response: web.StreamResponse) -> None:
        """Send the changes; raises `TimeoutError` if the client reads nothing."""
        sent: Sequence[ShareView] | None = None
        silence = 0.0
        while not self._closing.is_set():
            views = self._sample()
            if sent is not None and len(sent) == len(views):
                changes = changed_fields(sent, views)
            else:  # a page that lacks a share loads itself again
                changes = full_fields(views)
            sent = views
            if changes or silence >= self._heartbeat:
                silence = 0.0
                async with asyncio.timeout(self._stall_time):
                    await response.write(_event(changes))
            silence += self._period
            try:
                async with asyncio.timeout(self._period):
                    await self._closing.wait()
            except TimeoutError:
                continue


def _event(changes: Sequence[object]) -> bytes:
    """Return an event as it is sent; without changes, a comment."""
    if not changes:
        return b":\n\n"
    return b"data: " + msgspec.json.encode(changes) + b"\n\n"
