"""Fetch one chunk of an open channel: what the workshop's client does.

Servers are asked one after the other, the next when one lies, leaves or is slow,
and the first chunk that verifies wins. Of a named channel nothing can be verified.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from random import Random

from shoal.channel.servers import Server, ServerPool
from shoal.core.manifest.chunks import check_index
from shoal.core.names.channel_id import Channel
from shoal.core.report.outlook import Outlook, Search
from shoal.core.report.patience import Patience
from shoal.core.session.session import ChunkReceived, InfoReceived
from shoal.core.wire.framing import BufferPool
from shoal.errors import LyingPeerError, UsageError
from shoal.resources import Resources
from shoal.transfer.dialler import Found

__all__ = ["fetch_chunk"]

PATIENCE = 3.0  # seconds until a second server is asked as well; doubled for each
TICK = 0.25  # seconds between looks at the clock


async def fetch_chunk(
    resources: Resources, channel: Channel, index: int, timeout: float | None
) -> bytes:
    """Return one chunk of an open channel.

    Raises `UsageError` for an index that a server reports as too large,
    `NotFoundError` or `VerificationError` when no server sends the chunk in time.
    """
    networks = resources.networks
    query = ChunkQuery(
        channel, index, rng=resources.rng, timeout=timeout, search=networks.search
    )
    return await query.run(networks.find(channel.topic))


class ChunkQuery:
    """Ask for one chunk until somebody gives it."""

    def __init__(
        self,
        channel: Channel,
        index: int,
        *,
        rng: Random,
        timeout: float | None,
        search: Callable[[], Search] = Search,
    ) -> None:
        self._channel = channel
        self._index = index
        self._search = search
        self._clock = asyncio.get_running_loop().time
        self._servers = ServerPool(channel, self, rng=rng, pool=BufferPool())
        self._patience = Patience(timeout, self._clock())
        self._unasked: deque[Server] = deque()
        self._asked: set[Server] = set()
        self._ask_another_at = 0.0
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def run(self, found: Iterable[Found]) -> bytes:
        """Return the chunk.

        Raises `UsageError` for an index that a server says does not exist,
        `NotFoundError` or `VerificationError` when nobody gives it in time.
        """
        async with asyncio.TaskGroup() as tasks:
            working = [
                tasks.create_task(self._servers.run(found)),
                tasks.create_task(self._tick_forever()),
            ]
            await asyncio.wait([self._answer])
            for each in working:
                each.cancel()
        return self._answer.result()

    def on_server_ready(self, server: Server) -> None:
        """Ask a server, unless another is about to answer."""
        if server.offer is not None and not self._check_range(server.offer.count):
            return
        self._unasked.append(server)
        if not self._asked:
            self._ask_next()

    def on_info(self, server: Server, info: InfoReceived) -> None:
        """Learn from a named channel's server which chunks there are."""
        self._check_range(info.chunks.count)

    def on_heard(self, server: Server) -> None:
        """Do nothing: bytes that drip are no reason to wait longer."""

    def on_read_done(self, server: Server) -> None:
        """Do nothing: one chunk is all that is asked for."""

    def on_chunk(self, server: Server, chunk: ChunkReceived) -> None:
        """Take the chunk if it is right."""
        if server.offer is None or server.offer.verifies(self._index, chunk.data):
            if not self._answer.done():
                self._answer.set_result(bytes(chunk.data))
            return
        self._servers.ban(server, LyingPeerError(f"chunk {self._index} did not verify"))

    def on_server_lost(self, server: Server, error: Exception | None) -> None:
        """Ask another instead."""
        if server in self._unasked:
            self._unasked.remove(server)
        if server in self._asked:
            self._asked.remove(server)
            if not self._asked:
                self._ask_next()

    def _ask_next(self) -> None:
        if self._unasked:
            server = self._unasked.popleft()
            self._asked.add(server)
            wait = PATIENCE * 2 ** (len(self._asked) - 1)
            self._ask_another_at = self._clock() + wait
            if not self._channel.is_hash:
                # Answered first by a shoal, ignored by a Node server.
                server.ask_info()
            server.request([self._index])

    def _check_range(self, count: int) -> bool:
        """Say whether the chunk exists; end with its range if it does not."""
        try:
            check_index(self._index, count)
        except UsageError as error:
            if not self._answer.done():
                self._answer.set_exception(error)
            return False
        return True

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = self._clock()
            if now >= self._ask_another_at:
                self._ask_next()
            error = self._patience.reason_to_end(now, self._outlook())
            if error is not None and not self._answer.done():
                self._answer.set_exception(error)

    def _outlook(self) -> Outlook:
        return Outlook(
            found=self._servers.found,
            ready=len(self._servers.ready),
            has_only_liars=self._servers.has_only_liars,
            lacks_sizes=False,
            is_begun=False,
            search=self._search(),
        )
