"""What open pages are told: server-sent events, each with what has changed.

What a page was told last is kept for each, and the next message is made only when it
has taken the one before. So a slow reader costs one message, and gets fewer of them.
HTML Living Standard, section 9.2.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from aiohttp import web

from shoal.gateway.guard import refusal
from shoal.gateway.page.snapshot import ShareView, changed, everything
from shoal.gateway.page.watch import PERIOD

__all__ = ["MAX_STREAMS", "Events"]

MAX_STREAMS = 16  # pages that are kept up to date
HEARTBEAT = 15.0  # seconds of silence after which a page is told that all is well
STALL_TIME = 30.0  # seconds a page may take nothing


class Events:
    """Keep pages up to date until `closing` is set."""

    def __init__(
        self,
        look: Callable[[], Sequence[ShareView]],
        closing: asyncio.Event,
        *,
        period: float = PERIOD,
        heartbeat: float = HEARTBEAT,
        stall_time: float = STALL_TIME,
    ) -> None:
        """Tell what `look` returns, every `period` seconds if it has changed."""
        self.streams = 0
        """How many pages listen."""
        self._look = look
        self._closing = closing
        self._period = period
        self._heartbeat = heartbeat
        self._stall_time = stall_time

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Tell one page what changes until it leaves."""
        if self.streams >= MAX_STREAMS:
            refused = refusal(503, "Too many pages listen; close some of them.")
            refused.headers["Retry-After"] = "5"
            return refused
        response = web.StreamResponse()
        response.headers["Content-Type"] = "text/event-stream"
        response.headers["Cache-Control"] = "no-store"
        self.streams += 1
        try:
            await response.prepare(request)
            if request.method == "GET":
                await self._tell(response)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        finally:
            self.streams -= 1
        return response

    async def _tell(self, response: web.StreamResponse) -> None:
        """Send what changes; raises `TimeoutError` when nobody takes it."""
        told: Sequence[ShareView] | None = None
        silence = 0.0
        while not self._closing.is_set():
            views = self._look()
            news = everything(views) if told is None else changed(told, views)
            told = views
            if news or silence >= self._heartbeat:
                silence = 0.0
                async with asyncio.timeout(self._stall_time):
                    await response.write(_message(news))
            silence += self._period
            try:
                async with asyncio.timeout(self._period):
                    await self._closing.wait()
            except TimeoutError:
                continue


def _message(news: Sequence[object]) -> bytes:
    """Return an event; without news, a comment."""
    return b"data: " + msgspec.json.encode(news) + b"\n\n" if news else b":\n\n"
