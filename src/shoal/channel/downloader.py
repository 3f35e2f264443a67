"""The swarm of one open channel, as a downloader sees it.

`Swarm` decides on the event loop, synchronously; hashing, writing and flushing
happen in worker threads. In short:

    server ready -> its sizes are tried -> the store is opened for them
                 -> a `Download` asks every server that claims the same sizes

The sizes of a hash channel are not committed to by its id. Those of the first
server are tried; the last chunk is asked for first, and a chunk with the right
hash and another length convicts all who claimed them.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable

from msgspec import Struct

from shoal.channel.servers import Server, ServerPool
from shoal.core.manifest.chunks import Chunks
from shoal.core.names.channel_id import Channel
from shoal.core.report.events import (
    DownloadEvent,
    PeerJoined,
    PeerLeft,
)
from shoal.core.report.outlook import Outlook, Search
from shoal.core.session.session import ChunkReceived, InfoReceived
from shoal.core.wire.handshake import Offer
from shoal.errors import LyingPeerError, PeerTimeoutError
from shoal.resources import Resources
from shoal.storage.store import DownloadStore
from shoal.transfer.dialler import Found
from shoal.transfer.download import Download, Watcher
from shoal.transfer.monitor import Monitor

__all__ = ["Fetched", "OpenStore", "Swarm"]

TICK = 0.25  # seconds between looks at stalled servers and at the clock
STALL_LIMIT = 30.0  # seconds after which a stalled server is dropped
PROOF_TIME = 5.0  # seconds for sizes to be proven when somebody claims others
WRONG_SIZES = "its handshake claims sizes that are wrong"

OpenStore = Callable[[Chunks, Offer | None, Callable[[], bool]], DownloadStore]
"""Open the store for these sizes, in a worker thread, until told to stop."""


class Fetched(Struct, frozen=True):
    """Say what was fetched."""

    chunks: Chunks
    offer: Offer | None
    """What it was verified against; None for a named channel."""


class Swarm(Watcher[Server]):
    """Fetch one open channel from all of its servers."""

    def __init__(
        self,
        channel: Channel,
        open_store: OpenStore,
        resources: Resources,
        *,
        timeout: float | None = None,
        on_event: Callable[[DownloadEvent], None] = lambda event: None,
        search: Callable[[], Search] = Search,
    ) -> None:
        """Prepare to fetch; `timeout` is the longest wait without a new chunk."""
        self._channel = channel
        self._open_store = open_store
        self._resources = resources
        self._on_event = on_event
        self._search = search
        self._loop = asyncio.get_running_loop()
        self._pool_of_servers = ServerPool(
            channel, self, rng=resources.rng, pool=resources.buffers
        )
        self._claims: dict[Server, Chunks] = {}  # the sizes each server claims
        self._verified: dict[Server, int] = {}  # chunks each server gave
        self._convicted: set[Chunks] = set()
        self._layout: Chunks | None = None  # the sizes that are being tried
        self._tried: set[Chunks | None] = set()
        self._tried_since = 0.0
        self._offer: Offer | None = None  # of the sizes that are being tried
        self._download: Download[Server] | None = None
        self._changing: asyncio.Task[None] | None = None
        self._monitor = Monitor(timeout, on_event)
        self._ended = asyncio.Event()
        self._is_over = threading.Event()
        self._error: BaseException | None = None

    async def run(self, found: Iterable[Found]) -> Fetched:
        """Fetch everything and finish the store.

        Raises `NotFoundError`, `UnfinishedError`, `VerificationError` or what the
        store raised. What was verified stays in the store.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                working = [
                    tasks.create_task(self._pool_of_servers.run(found)),
                    tasks.create_task(self._tick_forever()),
                ]
                await self._ended.wait()
                for each in working:
                    each.cancel()
            if self._error is not None:
                raise self._error
            assert self._download is not None
            await self._download.stop()
            await self._in_thread(self._download.store.finish)
            return Fetched(self._download.chunks, self._offer)
        finally:
            self._is_over.set()
            if self._changing is not None:
                await asyncio.wait([self._changing])
            await self._drop_download()

    def _in_thread(self, work: Callable[[], None]) -> asyncio.Future[None]:
        return self._loop.run_in_executor(self._resources.threads, work)

    async def _drop_download(self) -> None:
        download, self._download = self._download, None
        if download is not None:
            await download.stop()
            await self._in_thread(download.store.close)

    # What the pool of servers tells its client.

    def on_server_ready(self, server: Server) -> None:
        """Take a server in; a named channel's says its sizes only when asked."""
        self._verified[server] = 0
        self._on_event(PeerJoined(server.address, server.source))
        if server.offer is None:
            server.ask_info()
        elif server.offer.chunks is not None:
            self._on_claim(server, server.offer.chunks)

    def on_info(self, server: Server, info: InfoReceived) -> None:
        """Take in what a named channel's server says of its sizes."""
        if server not in self._claims:
            self._on_claim(server, info.chunks)

    def on_heard(self, server: Server) -> None:
        """Note that a server is alive."""
        if self._download is not None:
            self._download.scheduler.on_heard(server, self._loop.time())

    def on_chunk(self, server: Server, chunk: ChunkReceived) -> None:
        """Pass on a chunk."""
        if self._download is not None:
            self._download.on_chunk(server, chunk)

    def on_read_done(self, server: Server) -> None:
        """Ask for more after all chunks of one read."""
        if self._download is not None:
            self._download.on_answers_done(server)

    def on_server_lost(self, server: Server, error: Exception | None) -> None:
        """Ask others for what a lost server was asked for."""
        self._claims.pop(server, None)
        verified = self._verified.pop(server, None)
        is_banned = self._pool_of_servers.is_banned(server)
        if verified is None and not is_banned:
            return
        if self._download is not None:
            self._download.remove(server)
        reason = str(error) if error is not None else None
        self._on_event(PeerLeft(server.address, reason, is_banned, verified or 0))
        self._reconsider()

    # Which sizes to believe.

    def _on_claim(self, server: Server, claim: Chunks) -> None:
        if claim in self._convicted:
            self._ban(server, WRONG_SIZES)
            return
        self._claims[server] = claim
        if self._download is not None and claim == self._layout:
            self._download.add(server)
        else:
            self._reconsider()

    def _reconsider(self) -> None:
        """Try other sizes, when those being tried are of no use and not proven."""
        if self._changing is not None or self._ended.is_set():
            return
        others = set(self._claims.values()) - {self._layout}
        if not others or (self._download is not None and self._download.is_proven):
            return
        is_claimed = self._layout in self._claims.values()
        is_late = self._loop.time() - self._tried_since > PROOF_TIME
        if not is_claimed or (self._channel.is_hash and is_late):
            self._changing = self._loop.create_task(self._change_layout())

    async def _change_layout(self) -> None:
        """Open a store for sizes that somebody claims, in place of any other."""
        try:
            await self._drop_download()
            fresh = [c for c in self._claims.values() if c not in self._tried]
            if not fresh:
                self._tried = {self._layout}
                fresh = [c for c in self._claims.values() if c not in self._tried]
            if fresh:
                self._layout = fresh[0]
                self._tried.add(self._layout)
                await self._try_layout(self._layout)
        except Exception as error:
            self._end(error)
        finally:
            self._changing = None
            self._reconsider()

    async def _try_layout(self, layout: Chunks) -> None:
        offers = [server.offer for server, c in self._claims.items() if c == layout]
        store = await self._loop.run_in_executor(
            self._resources.threads,
            self._open_store,
            layout,
            offers[0],
            self._is_over.is_set,
        )
        self._tried_since = self._loop.time()
        self._offer = offers[0]
        self._begin(store, offers[0])

    def _begin(self, store: DownloadStore, offer: Offer | None) -> None:
        """Ask all servers that claim the sizes of the open store."""
        self._download = Download(store, offer, self, self._resources)
        self._monitor.on_started(self._download)
        if self._download.is_complete:
            self.on_complete()
        for server, claim in list(self._claims.items()):
            if claim == store.chunks:
                self._download.add(server)

    # Results of the download.

    def on_verified(self, server: Server, index: int) -> None:
        """Count a chunk for its server."""
        self._monitor.on_verified()
        if server in self._verified:
            self._verified[server] += 1

    def on_wrong_chunk(self, server: Server, index: int) -> None:
        """Drop a server whose chunk did not verify."""
        self._ban(server, f"chunk {index} did not verify")

    def on_wrong_sizes(self) -> None:
        """Drop all who claimed the sizes that were tried, and try others."""
        assert self._layout is not None
        self._convicted.add(self._layout)
        for server, claim in list(self._claims.items()):
            if claim == self._layout:
                self._claims.pop(server)
                self._ban(server, WRONG_SIZES)
        self._reconsider()

    def on_complete(self) -> None:
        """End well."""
        self._tell_progress()
        self._end(None)

    def on_error(self, error: BaseException) -> None:
        """End because the store failed."""
        self._end(error)

    def _ban(self, server: Server, what: str) -> None:
        self._pool_of_servers.ban(server, LyingPeerError(what))

    def _end(self, error: BaseException | None) -> None:
        if not self._ended.is_set():
            self._error = error
            self._ended.set()

    # The clock.

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = self._loop.time()
            if self._download is not None:
                self._tell_progress()
                for server in self._download.on_tick(now):
                    self._loop.call_later(STALL_LIMIT, self._drop_if_silent, server)
            self._reconsider()
            error = self._monitor.check(self._outlook())
            if error is not None:
                self._end(error)

    def _drop_if_silent(self, server: Server) -> None:
        connection = server.connection
        if connection is not None and not connection.is_closing:
            if self._loop.time() - connection.last_heard >= STALL_LIMIT:
                server.close(PeerTimeoutError(f"{server.address} stopped answering"))

    def _tell_progress(self) -> None:
        if self._download is None:
            return
        self._monitor.report_progress(self._download, len(self._verified))

    def _outlook(self) -> Outlook:
        servers, download = self._pool_of_servers, self._download
        return Outlook(
            found=servers.found,
            ready=len(servers.ready),
            has_only_liars=servers.has_only_liars,
            lacks_sizes=bool(servers.ready) and self._layout is None,
            is_begun=download is not None and download.done > 0,
            search=self._search(),
            lack=download.scheduler.lack if download is not None else None,
            unwritten=download.unwritten if download is not None else 0,
        )
