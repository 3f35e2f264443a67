"""Fetch one chunk of an open channel, as the workshop's client does.

The chunk is requested from one server after another: from the next one when a server
sends a wrong chunk, disconnects or is slow. The first chunk that verifies is returned.
On a named channel, which cannot be verified, it is the first chunk that arrives.
"""

import asyncio
from collections import deque

from shoal.channel.servers import Server, Servers
from shoal.core.manifest.chunks import check_index
from shoal.core.names.channel_id import Channel
from shoal.core.report.stall import DownloadState
from shoal.core.report.stall_timer import StallTimer
from shoal.core.session.events import ChunkReceived, Event, InfoReceived
from shoal.errors import LyingPeerError, UsageError
from shoal.resources import Resources

__all__ = ["fetch_chunk"]

WAIT = 3.0  # seconds before the chunk is requested from one more server; doubled then


async def fetch_chunk(
    resources: Resources, channel: Channel, index: int, timeout: float | None
) -> bytes:
    """Return one chunk of an open channel.

    Raises `UsageError` for an index that a server reports as too large,
    `NotFoundError` or `VerificationError` when no server sends the chunk in time.
    """
    async with resources.call():
        fetcher = _ChunkFetcher(resources, channel, index, timeout)
        found = resources.networks.find(channel.topic)
        return await fetcher.servers.run(found, fetcher.chunk)


class _ChunkFetcher:
    """Request one chunk from servers until one of them sends it."""

    def __init__(
        self,
        resources: Resources,
        channel: Channel,
        index: int,
        timeout: float | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._channel = channel
        self._index = index
        self._networks = resources.networks
        self._clock = loop.time
        self.servers = Servers(channel, self, resources)
        self._stall_timer = StallTimer(timeout, loop.time())
        self._untried: deque[Server] = deque()
        self._requested: set[Server] = set()
        self._next_request_at = 0.0
        self.chunk: asyncio.Future[bytes] = loop.create_future()

    def on_server_ready(self, server: Server) -> None:
        """Request the chunk, unless another server is about to send it."""
        if server.offer is not None and not self._check_index(server.offer.count):
            return
        self._untried.append(server)
        if not self._requested:
            self._request_next()

    def on_events(self, server: Server, events: list[Event]) -> None:
        """Return the chunk if it is right; ban the server if it is wrong."""
        for event in events:
            if isinstance(event, InfoReceived):
                self._check_index(event.chunks.count)
            elif isinstance(event, ChunkReceived):
                offer = server.offer
                if offer is not None and not offer.verifies(self._index, event.data):
                    error = f"chunk {self._index} did not verify"
                    self.servers.ban(server, LyingPeerError(error))
                elif not self.chunk.done():
                    self.chunk.set_result(bytes(event.data))

    def on_server_lost(self, server: Server, error: Exception | None) -> None:
        """Request the chunk from another server instead."""
        if server in self._untried:
            self._untried.remove(server)
        if server in self._requested:
            self._requested.remove(server)
            if not self._requested:
                self._request_next()

    def on_tick(self, now: float) -> None:
        """Try one more server if the others are slow; end when the time is over."""
        if now >= self._next_request_at:
            self._request_next()
        self._stall_timer.on_check(now)
        error = self._stall_timer.reason_to_end(now, self._outlook())
        if error is not None and not self.chunk.done():
            self.chunk.set_exception(error)

    def _request_next(self) -> None:
        if self._untried:
            server = self._untried.popleft()
            self._requested.add(server)
            wait = WAIT * 2 ** (len(self._requested) - 1)
            self._next_request_at = self._clock() + wait
            if not self._channel.is_hash:
                # Shoal answers this before the request; a Node.js server ignores it.
                server.request_info()
            server.request([self._index])

    def _check_index(self, count: int) -> bool:
        """Return True if the chunk exists; otherwise end with a `UsageError`."""
        try:
            check_index(self._index, count)
        except UsageError as error:
            if not self.chunk.done():
                self.chunk.set_exception(error)
            return False
        return True

    def _outlook(self) -> DownloadState:
        return DownloadState(
            found=len(self.servers.dialler),
            ready=len(self.servers.ready),
            has_only_liars=self.servers.dialler.has_only_liars,
            is_out_of_files=self.servers.dialler.is_out_of_files,
            search=self._networks.search(),
        )
