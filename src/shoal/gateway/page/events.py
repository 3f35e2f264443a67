"""Keep open pages up to date: server-sent events, each with the fields that changed.

`Sampler` owns the peers' transfer rates and takes one sample for all open pages
together; while no page is open, nothing is measured. `EventStreams` sends each page its
events. The next event is made only when the client has read the one before, so a slow
client needs the memory of one event and gets fewer of them. HTML Living Standard,
section 9.2.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec
from aiohttp import web

from shoal.core.names.link import Link
from shoal.core.report.rate import RateMeter
from shoal.core.report.status import PeerStatus, ShareStatus
from shoal.gateway.page.view import (
    ShareView,
    changed_fields,
    full_fields,
    known_view,
    unknown_view,
)
from shoal.gateway.request import refusal
from shoal.gateway.shares import ServedShare

__all__ = ["MAX_STREAMS", "PERIOD", "EventStreams", "Sampler"]

PERIOD = 0.5  # seconds between two samples
MAX_STREAMS = 16  # pages that are kept up to date
HEARTBEAT = 15.0  # seconds without a change after which a page gets a comment
STALL_TIME = 30.0  # seconds a page may read nothing


class Sampler:
    """Sample the status of all shares and measure the rate of each connected peer."""

    def __init__(
        self,
        shares: Sequence[ServedShare],
        status: Callable[[Link], ShareStatus],
        clock: Callable[[], float],
    ) -> None:
        """Sample `shares`, whose status `status` returns."""
        self._shares = shares
        self._status = status
        self._clock = clock
        self._meters: dict[tuple[int, int], tuple[RateMeter, RateMeter]] = {}
        self._views: list[ShareView] = []
        self._sampled_at: float | None = None

    def sample(self) -> list[ShareView]:
        """Return a view of each share, at most half a `PERIOD` old."""
        now = self._clock()
        # Pages have their own timers but share a sample.
        if self._sampled_at is None or now - self._sampled_at >= PERIOD / 2:
            self._sampled_at = now
            self._views = list(self._sample_all(now))
        return self._views

    def _sample_all(self, now: float) -> Iterable[ShareView]:
        seen: set[tuple[int, int]] = set()
        for share in self._shares:
            manifest = share.manifest
            if manifest is None:
                problem = share.problem
                yield unknown_view(share.number, str(problem) if problem else None)
                continue
            status = self._status(share.link)
            rates = {}
            for peer in status.peers:
                seen.add((share.number, peer.key))
                rates[peer.key] = self._measure(share.number, peer, now)
            yield known_view(share.number, manifest, status, rates)
        self._meters = {key: self._meters[key] for key in seen}

    def _measure(
        self, number: int, peer: PeerStatus, now: float
    ) -> tuple[float, float]:
        """Return the bytes per second received from a peer and sent to it."""
        key = (number, peer.key)
        if key not in self._meters:
            self._meters[key] = (
                RateMeter(now, peer.received),
                RateMeter(now, peer.sent),
            )
        down, up = self._meters[key]
        return down.rate(now, peer.received), up.rate(now, peer.sent)


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
            changes = (
                full_fields(views) if sent is None else changed_fields(sent, views)
            )
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
