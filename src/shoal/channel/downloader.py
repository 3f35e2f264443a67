"""Download one open channel from all of its servers.

`ChannelDownloader` decides on the event loop; hashing, writing and flushing run in
worker threads. The steps:

    a server is ready -> its sizes are tried -> the store is opened for these sizes
                      -> a `Download` requests chunks from all servers that claim them

The id of a hash channel does not commit to the sizes (docs/protocol.md, "Hash
channels"). Those of the first server are tried, and the last chunk is requested first:
a chunk with the right hash and another length shows that these sizes are wrong, and
bans every server that claims them. A server of a hash channel that claims no sizes is
first asked for the first and last chunk, which show them. If an existing target is not
the file with these sizes, those of other servers are tried before that is an error.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from shoal.channel.servers import Server, Servers
from shoal.core.manifest.chunks import Chunks
from shoal.core.names.address import Address
from shoal.core.names.channel_id import Channel
from shoal.core.report.events import DownloadEvent, PeerJoined, PeerLeft
from shoal.core.report.stall import DownloadState
from shoal.core.report.status import path_of
from shoal.core.session.events import ChunkReceived, Event, InfoReceived
from shoal.core.wire.handshake import Offer
from shoal.errors import (
    LyingPeerError,
    PeerTimeoutError,
    ProtocolError,
    ShoalError,
    TargetExistsError,
    told,
)
from shoal.resources import Resources
from shoal.storage.store import DownloadStore
from shoal.transfer.dialler import Found
from shoal.transfer.download import Download, Watcher
from shoal.transfer.monitor import Monitor

__all__ = ["ChannelDownloader", "Fetched", "OpenStore"]

STALL_LIMIT = 30.0  # seconds after which a stalled server is disconnected
PROOF_TIME = 5.0  # seconds to prove sizes while another server claims different ones
PROBE_TIME = 1.0  # seconds for the sizes of a named channel until a chunk is requested
WRONG_SIZES = "its handshake claims wrong sizes"

OpenStore = Callable[[Chunks, Offer | None, Callable[[], bool]], DownloadStore]
"""Open the store for these sizes, in a worker thread, until the function is true."""


class Fetched(Struct, frozen=True):
    """The sizes and hashes of a complete download."""

    chunks: Chunks
    offer: Offer | None
    """The hashes that verified it; None for a named channel."""


class ChannelDownloader(Watcher[Server]):
    """Fetch one open channel from all of its servers."""

    def __init__(
        self,
        channel: Channel,
        open_store: OpenStore,
        resources: Resources,
        *,
        timeout: float | None,
        on_event: Callable[[DownloadEvent], None],
    ) -> None:
        """Prepare to fetch; `timeout` is the longest wait for a new chunk."""
        self._channel = channel
        self._open_store = open_store
        self._resources = resources
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._servers = Servers(channel, self, resources)
        self._verified: dict[Server, int] = {}  # chunks from each ready server
        self._senders: set[Address] = set()  # of chunks that verified
        self._claims: dict[Server, Chunks] = {}  # the sizes that each server claims
        # The lengths of the first and last chunk, of servers that claim no sizes.
        self._measured: dict[Server, dict[int, int]] = {}
        self._wrong: set[Chunks] = set()  # sizes that a chunk has disproved
        self._asked: dict[Server, float] = {}  # for the sizes of a named channel, when
        self._silent_on_sizes: set[Server] = set()  # they sent a chunk, but no sizes
        self._misfit: dict[Chunks, TargetExistsError] = {}  # the target exists
        self._tried: set[Chunks | None] = set()
        self._sizes: Chunks | None = None  # being tried, since:
        self._tried_since = 0.0
        self._offer: Offer | None = None  # of a server that claims these sizes
        self._download: Download[Server] | None = None  # with these sizes
        self._changing: asyncio.Task[None] | None = None  # to other sizes
        self._monitor = Monitor(timeout, on_event)
        self._result: asyncio.Future[None] = self._loop.create_future()
        self._is_over = threading.Event()

    async def run(self, found: Iterable[Found]) -> Fetched:
        """Fetch everything and finish the store.

        Raises `NotFoundError`, `UnfinishedError`, `VerificationError` or what the store
        raised. Verified chunks stay in the store.
        """
        try:
            await self._servers.run(found, self._result)
            assert self._download is not None
            await self._download.stop()
            await self._resources.in_thread(self._download.store.finish)
            return Fetched(self._download.chunks, self._offer)
        finally:
            self._result.cancel()
            self._is_over.set()
            if self._changing is not None:
                await asyncio.wait([self._changing])
            await self._close_download()

    async def _close_download(self) -> None:
        download, self._download = self._download, None
        if download is not None:
            await download.stop()
            await self._resources.in_thread(download.store.close)

    def _end(self, error: BaseException | None) -> None:
        if self._result.done():
            return
        if error is None:
            self._result.set_result(None)
        else:
            self._result.set_exception(error)

    # The client of every server.

    def on_server_ready(self, server: Server) -> None:
        """Try the sizes in a handshake; request those of a named channel."""
        self._verified[server] = 0
        path = path_of(server.source, server.address.host)
        self._on_event(PeerJoined(server.address, server.source, path))
        if server.offer is None:
            server.request_info()
            self._asked[server] = self._loop.time()
        elif server.offer.chunks is not None:
            self._on_claim(server, server.offer.chunks)
        else:
            # The verified first and last chunk show the sizes.
            self._measured[server] = {}
            server.request(sorted({0, server.offer.count - 1}))

    def on_events(self, server: Server, events: list[Event]) -> None:
        """Take chunks, and the sizes of a named channel; request more chunks."""
        download = self._download
        chunks = [event for event in events if isinstance(event, ChunkReceived)]
        if download is not None:
            download.on_read(server, chunks)
        for event in events:
            if isinstance(event, ChunkReceived):
                if server in self._measured:
                    self._on_measured(server, event)
                elif server not in self._claims:
                    self._silent_on_sizes.add(server)  # it answers in order
            elif isinstance(event, InfoReceived):
                if server in self._verified and server not in self._claims:
                    self._on_claim(server, event.chunks)
        if download is not None:
            download.on_answers_done(server)

    def on_server_lost(self, server: Server, error: Exception | None) -> None:
        """Request its chunks from other servers."""
        self._claims.pop(server, None)
        self._measured.pop(server, None)
        self._asked.pop(server, None)
        self._silent_on_sizes.discard(server)
        verified = self._verified.pop(server, None)
        is_banned = self._servers.dialler.is_banned(server.address)
        if verified is None and not is_banned:
            return
        if self._download is not None:
            self._download.remove(server)
        reason = str(error) if error is not None else None
        self._on_event(PeerLeft(server.address, reason, is_banned, verified or 0))
        self._reconsider()

    def on_tick(self, now: float) -> None:
        """Report progress; drop stalled servers; end if the wait was too long."""
        if self._download is not None:
            self._report_progress(self._download)
            for server in self._download.on_tick(now):
                self._loop.call_later(STALL_LIMIT, self._drop_if_silent, server)
        self._probe(now)
        self._reconsider()
        if self._changing is not None:
            return  # a store is being opened, and what it has verified: no wait
        error = self._monitor.check(self._outlook())
        if error is not None:
            self._end(error)

    def _probe(self, now: float) -> None:
        """Request a chunk from servers that have not sent their sizes.

        One that sends it ignores the request for the sizes, as those of the workshop
        do. One that sends nothing may be slow, or stopped.
        """
        late = [s for s, asked in self._asked.items() if now - asked > PROBE_TIME]
        for server in late:
            del self._asked[server]
            if server not in self._claims:
                server.request([0])

    def _drop_if_silent(self, server: Server) -> None:
        connection = server.connection
        if connection is not None and not connection.is_closing:
            if self._loop.time() - connection.last_heard >= STALL_LIMIT:
                server.close(PeerTimeoutError(f"{server.address} stopped answering"))

    def _outlook(self) -> DownloadState:
        servers, download = self._servers, self._download
        return DownloadState(
            found=len(servers.dialler),
            ready=len(servers.ready),
            has_only_liars=servers.dialler.has_only_liars,
            is_out_of_files=servers.dialler.is_out_of_files,
            is_size_unknown=bool(self._silent_on_sizes) and self._sizes is None,
            is_begun=download is not None and download.done > 0,
            search=self._resources.networks.search(),
            unavailable=download.scheduler.unavailable
            if download is not None
            else None,
            unwritten=download.unwritten if download is not None else 0,
        )

    # Which sizes to try.

    def _on_measured(self, server: Server, chunk: ChunkReceived) -> None:
        """Note the length of a verified chunk; both of them are as good as a claim."""
        assert server.offer is not None
        is_right = server.offer.verifies(chunk.index, chunk.data)
        lengths = self._measured[server]
        lengths[chunk.index] = len(chunk.data)
        if chunk.buffer is not None:
            self._resources.buffers.give(chunk.buffer)
        last = server.offer.count - 1
        if not is_right:
            self._ban(server, f"chunk {chunk.index} did not verify")
        elif lengths.keys() == {0, last}:
            del self._measured[server]
            try:
                claim = server.offer.measure(lengths[0], lengths[last])
            except ProtocolError:
                self._end(
                    ShoalError(
                        "The chunks of this channel have different sizes, so they are "
                        "not those of a file; fetch them one by one with "
                        f"{told('shoal chunk', 'fetch_chunk()')}."
                    )
                )
                return
            self._on_claim(server, claim)

    def _on_claim(self, server: Server, claim: Chunks) -> None:
        if claim in self._wrong:
            self._ban(server, WRONG_SIZES)
            return
        self._claims[server] = claim
        if self._download is not None and claim == self._sizes:
            self._download.add(server)
        else:
            self._reconsider()

    def _reconsider(self) -> None:
        """Try other sizes if no server claims these, or if proving them takes long."""
        if self._changing is not None or self._result.done():
            return
        others = set(self._claims.values()) - {self._sizes, *self._misfit}
        if self._misfit and self._sizes is None and not others:
            self._end_if_none_fits()
        if not others or (self._download is not None and self._download.is_proven):
            return
        is_claimed = self._sizes in self._claims.values()
        is_late = self._loop.time() - self._tried_since > PROOF_TIME
        if not is_claimed or (self._channel.is_hash and is_late):
            self._changing = self._loop.create_task(self._change_sizes())

    def _end_if_none_fits(self) -> None:
        """End with the error of the existing target, once other servers had time."""
        is_late = self._loop.time() - self._tried_since > PROOF_TIME
        if is_late or not self._channel.is_hash:
            self._end(next(iter(self._misfit.values())))

    async def _change_sizes(self) -> None:
        """Open a store for other sizes that a server claims.

        An error ends the whole download: its caller waits for the result, not for this.
        """
        try:
            await self._close_download()
            claims = [c for c in self._claims.values() if c not in self._misfit]
            fresh = [c for c in claims if c not in self._tried]
            if not fresh:
                self._tried = {self._sizes}
                fresh = [c for c in claims if c not in self._tried]
            if fresh:
                self._sizes = fresh[0]
                self._tried.add(self._sizes)
                await self._try_sizes(self._sizes)
            self._changing = None
            self._reconsider()
        except Exception as error:
            self._end(error)

    async def _try_sizes(self, sizes: Chunks) -> None:
        """Open the store, then request chunks from all servers that claim its sizes."""
        offers = [server.offer for server, c in self._claims.items() if c == sizes]
        try:
            store = await self._loop.run_in_executor(
                self._resources.long_threads,
                self._open_store,
                sizes,
                offers[0],
                self._is_over.is_set,
            )
        except TargetExistsError as error:
            self._misfit[sizes] = error
            self._sizes, self._tried_since = None, self._loop.time()
            return
        self._tried_since = self._loop.time()
        self._offer = offers[0]
        self._download = self._make_download(store)
        self._monitor.on_started(self._download)
        if self._download.is_complete:
            self._on_complete(self._download)
        for server, claim in list(self._claims.items()):
            if claim == store.chunks:
                self._download.add(server)

    def _make_download(self, store: DownloadStore) -> Download[Server]:
        """Return a download of every chunk, in any order."""
        return Download(store, self._offer, self, self._resources)

    # The watcher of the download.

    def on_verified(self, source: Server, indexes: Sequence[int], size: int) -> None:
        """Count chunks for their server."""
        self._senders.add(source.address)
        if source in self._verified:
            self._verified[source] += len(indexes)

    def on_batch_verified(self) -> None:
        """End once all chunks are verified and written."""
        self._monitor.on_verified()
        if self._download is not None and self._download.is_complete:
            self._on_complete(self._download)

    def on_wrong_chunk(self, source: Server, index: int) -> None:
        """Ban a server whose chunk did not verify."""
        self._ban(source, f"chunk {index} did not verify")

    def on_wrong_sizes(self) -> None:
        """Ban all servers that claim the sizes being tried, and try others."""
        assert self._sizes is not None
        self._wrong.add(self._sizes)
        for server, claim in list(self._claims.items()):
            if claim == self._sizes:
                self._claims.pop(server)
                self._ban(server, WRONG_SIZES)
        self._reconsider()

    def _on_complete(self, download: Download[Server]) -> None:
        self._report_progress(download)
        self._end(None)

    def _report_progress(self, download: Download[Server]) -> None:
        ready = len(self._verified)
        self._monitor.report_progress(download, ready, sources=len(self._senders))

    def on_error(self, error: BaseException) -> None:
        """End: the store failed."""
        self._end(error)

    def _ban(self, server: Server, reason: str) -> None:
        self._servers.ban(server, LyingPeerError(reason))
