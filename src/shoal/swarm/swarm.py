"""The swarm of one sealed share: the same object downloads and uploads.

A share that is complete from the start is served with `serve`. Otherwise `load`
fetches the manifest, then `begin` or `fetch` downloads chunks and serves them on:

    peer proven -> hello -> root record -> pages -> store -> download
    chunk verified -> announced to all peers, sent to those that request it

`Swarm` connects the parts, which each own one kind of state: the `Dispatcher` acts on
messages and holds the connections, `ManifestFetcher` the manifest, `Download` what is
fetched, `Upload` what is served, `Origins` the state of each origin. The swarm itself
decides what follows from a result, watches the clock and ends the callers' waits.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.report.events import DownloadEvent, Notice
from shoal.core.report.stall import Search, StallTimer
from shoal.core.report.status import SwarmStatus
from shoal.core.session.sealed_session import SealedSession, ranges_of
from shoal.errors import LyingPeerError, ShoalError, first_error
from shoal.origin.source import Origin, OriginReader
from shoal.resources import Resources
from shoal.storage.store import ChunkReader, DownloadStore
from shoal.swarm.dispatcher import Dispatcher
from shoal.swarm.manifest_fetcher import ManifestFetcher
from shoal.swarm.origins import Origins
from shoal.swarm.peer import Peer
from shoal.swarm.upload import Upload
from shoal.transfer.conditions import Conditions
from shoal.transfer.dialler import Found
from shoal.transfer.download import Download, Watcher
from shoal.transfer.monitor import Monitor
from shoal.transfer.writer import ChunkWriter
from shoal.transport.connection import Connection
from shoal.transport.sealed.proven import Dial, ProvenPeer

__all__ = ["ChunkSource", "Swarm"]

TICK = 0.25  # seconds between looks at stalled peers and at the clock
IDLE_TICK = 2.0  # the same for a share that is only served, while no peer is connected
MAX_REPORTED = 100  # files of a share whose change is reported

ChunkSource: TypeAlias = Peer | Origin


class Swarm(Watcher[ChunkSource]):
    """Exchange the chunks of one share with all peers that have its link."""

    def __init__(
        self,
        share_id: bytes,
        dial: Dial,
        resources: Resources,
        *,
        node_id: bytes,
        port: int,
        sources: Sequence[OriginReader] = (),
        timeout: float | None = None,
        on_event: Callable[[DownloadEvent], None] = lambda event: None,
        search: Callable[[], Search] = Search,
    ) -> None:
        """Prepare; `dial` connects to peers, `node_id` and `port` are our own.

        `sources` are the share's origins, which are closed with the swarm. `timeout` is
        the longest wait for a new chunk, in seconds, `search` the state of discovery.
        """
        self._resources = resources
        self._node_id = node_id
        self._sources = sources
        self._search = search
        self._loop = asyncio.get_running_loop()
        self._waiting = Conditions()  # callers that wait for chunks and pages
        self._shared = Conditions()  # callers that wait for a peer to be complete
        self._reported: set[str] = set()  # problems that the user knows
        self._pages: ManifestFetcher[Peer] = ManifestFetcher(
            share_id, on_page=self._waiting.check, on_wrong_page=self._on_wrong_page
        )
        self._monitor = Monitor(timeout, on_event)
        self._dispatcher = Dispatcher(
            self._pages,
            dial,
            resources,
            node_id=node_id,
            port=port,
            readers=sources,
            waiting=self._waiting,
            shared=self._shared,
            on_event=on_event,
        )
        self._connections = self._dispatcher.connections

    async def run(self, found: Iterable[Found]) -> None:
        """Connect to peers until cancelled; then close every connection.

        An error in any task ends the swarm, and with that error every caller's wait.
        """
        error: BaseException = ShoalError(
            "This node has left the share; share or fetch it again."
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._connections.run(found))
                tasks.create_task(self._tick_forever())
        except BaseExceptionGroup as group:
            error = first_error(group)
            raise error from None
        finally:
            self._waiting.fail(error)
            self._shared.fail(error)
            await self._close()

    async def _close(self) -> None:
        origins, upload = self._dispatcher.origins, self._dispatcher.upload
        if origins is not None:
            await origins.aclose()
        else:
            for source in self._sources:
                await source.aclose()
        if upload is not None:
            await upload.aclose()

    def serve(
        self, manifest: Manifest, store: ChunkReader, kept: Bitfield | None = None
    ) -> None:
        """Serve the chunks in `store` from now on, or of these only those in `kept`."""
        download = self._dispatcher.download
        have = Bitfield.from_bytes(bytes(store.have), store.have.size)
        self._pages.manifest = manifest
        self._dispatcher.upload = Upload(
            store,
            # While we download, chunks are added to that bitfield.
            have if download is None else download.have,
            self._resources,
            self._on_problem,
            manifest,
            kept,
        )
        self._connections.know_share(manifest)
        for peer in self._connections:
            self._dispatcher.say_hello(peer)

    def know(self, manifest: Manifest) -> None:
        """Start with a manifest that this node has verified before."""
        self._pages.manifest = manifest

    async def load(self, numbers: Callable[[Manifest], Iterable[int]]) -> Manifest:
        """Fetch the root record, then the pages that `numbers` returns for it.

        Raises `ManifestError` if it is hostile, `NotFoundError` if no peer has it.
        """
        await self._waiting.wait(lambda: self.manifest is not None)
        assert self.manifest is not None
        manifest = self.manifest
        wanted = list(numbers(manifest))
        self.want_pages(wanted)
        await self._waiting.wait(lambda: self._pages.has_pages(wanted))
        return manifest

    async def load_some(self, numbers: Sequence[int]) -> bool:
        """Wait for another of these pages; return True once all have arrived.

        The root record must be known. Raises as `load` does.
        """
        self.want_pages(numbers)
        before = self._pages.count_missing(numbers)
        await self._waiting.wait(
            lambda: self._pages.count_missing(numbers) < max(before, 1)
        )
        return self._pages.has_pages(numbers)

    def want_pages(self, numbers: Iterable[int]) -> None:
        """Fetch these pages of the manifest, without waiting for them."""
        self._pages.want(numbers, self._loop.time())

    async def fetch(
        self,
        store: DownloadStore,
        wanted: Iterable[int] | None = None,
        kept: Bitfield | None = None,
    ) -> None:
        """Fetch the chunks that `store` is missing, or the `wanted`, and serve them.

        With `kept`, only those are served: the others will not stay. Raises
        `UnfinishedError`, `VerificationError` or what the store raises.
        """
        download = self.begin(store, wanted, kept=kept)
        try:
            await self._waiting.wait(lambda: download.is_complete)
        finally:
            await self.stop()

    def begin(
        self,
        store: DownloadStore,
        wanted: Iterable[int] | None = None,
        *,
        serves: bool = True,
        kept: Bitfield | None = None,
        make_writer: type[ChunkWriter[ChunkSource]] = ChunkWriter,
    ) -> Download[ChunkSource]:
        """Start to fetch the chunks that `store` is missing, or of these the `wanted`.

        With `serves`, its chunks are served on, or of these only those in `kept`.
        """
        manifest = self.manifest
        assert manifest is not None
        if wanted is not None and serves:
            wanted = list(wanted)
            self._dispatcher.wanted = ranges_of(wanted)
        download = Download(
            store,
            manifest.hash_table,
            self,
            self._resources,
            wanted=wanted,
            make_writer=make_writer,
        )
        origins = Origins(
            self._sources,
            manifest,
            download,
            self._connections,
            node_id=self._node_id,
            on_notice=self._resources.on_notice,
            on_error=self.on_error,
        )
        self._dispatcher.download, self._dispatcher.origins = download, origins
        self._monitor.on_started(download)
        if serves:
            self.serve(manifest, store, kept)
        for peer in self._connections:
            self._dispatcher.request_from(peer)
        if origins.missing_pages():
            self.want_pages(origins.missing_pages())
        return download

    async def until_verified(self, index: int) -> None:
        """Wait for a chunk that is being fetched; raises as `fetch` does."""
        download = self._dispatcher.download
        assert download is not None
        await self._waiting.wait(lambda: index in download.have)

    async def until_shared(self) -> None:
        """Wait until a peer has every chunk; raise the error if the swarm fails."""
        await self._shared.wait(lambda: self._dispatcher.is_shared)

    async def stop(self) -> None:
        """Stop fetching, and wait until what has arrived is written."""
        download = self._dispatcher.download
        if download is not None:
            await download.stop()
            peers = len(self._connections)
            self._monitor.report_progress(download, peers, self.uploaded)

    async def read_from(self, store: ChunkReader) -> None:
        """Serve chunks from another store; then the first one can be closed."""
        assert self._dispatcher.upload is not None
        await self._dispatcher.upload.read_from(store)

    def why_nothing_came(self, seconds: float) -> ShoalError:
        """Return the error for a caller that has waited `seconds` and gives up."""
        state = replace(self._dispatcher.download_state(self._search()), is_begun=False)
        error = StallTimer(seconds, 0.0).reason_to_end(seconds, state)
        assert error is not None
        return error

    async def drain(self, within: float) -> None:
        """Wait until no peer waits for a chunk from us, `within` seconds at most."""
        upload, deadline = self._dispatcher.upload, self._loop.time() + within
        while upload is not None and self._loop.time() < deadline:
            if upload.is_idle:
                return
            await asyncio.sleep(TICK / 5)

    async def leave(self) -> None:
        """Send goodbye to every peer, and wait for a moment until they hang up."""
        await self._connections.leave()

    @property
    def manifest(self) -> Manifest | None:
        """Return what is known of the share; None before the root record arrives."""
        return self._pages.manifest

    @property
    def peers(self) -> list[Peer]:
        """Return the connected peers."""
        return list(self._connections)

    @property
    def uploaded(self) -> int:
        """Return how many bytes of chunks were sent."""
        upload = self._dispatcher.upload
        return upload.sent if upload is not None else 0

    def status(self) -> SwarmStatus:
        """Return the state of the swarm; it refers to live data, so use it at once."""
        return self._dispatcher.status()

    def accept(self, proven: ProvenPeer) -> Connection[SealedSession]:
        """Return the connection for a peer that dialled us and has proven the id.

        Raises `PeerError` if there are too many.
        """
        return self._connections.accept(proven)

    def on_verified(self, source: ChunkSource, index: int, size: int) -> None:
        """Serve a chunk from now on."""
        parts = self._dispatcher
        source.on_verified(size)
        if isinstance(source, Origin) and parts.origins is not None:
            parts.origins.on_verified(source)
            self._resources.counters.received[source.path] += size
        if parts.upload is not None:
            if isinstance(source, Peer):
                parts.upload.on_verified(source)
            parts.upload.on_stored(index)

    def on_batch_verified(self) -> None:
        """Announce the chunks soon, the last ones at once; end the callers' waits."""
        download, upload = self._dispatcher.download, self._dispatcher.upload
        self._monitor.on_verified()
        if upload is not None:
            upload.announce_soon()
            if download is not None and download.is_complete:
                upload.announce()
        self._waiting.check()

    def on_wrong_chunk(self, source: ChunkSource, index: int) -> None:
        """Ban a peer, or leave an origin unused, whose chunk did not verify.

        A peer that has sent right chunks is told of the first wrong one instead.
        """
        download = self._dispatcher.download
        if isinstance(source, Peer):
            is_first = not source.wrong and source.verified > 0
            source.wrong.add(index)
            if is_first and download is not None:
                # Its disk may have changed: it checks, and others send this chunk.
                download.refuse(source, index)
                source.report_wrong(index)
            else:
                self._ban(source, f"chunk {index} did not verify")
        elif self._dispatcher.origins is not None:
            self._resources.counters.failures += 1
            self._dispatcher.origins.on_wrong_chunk(source, index)

    def _on_wrong_page(self, peer: Peer, number: int) -> None:
        self._ban(peer, f"manifest page {number} did not verify")

    def _ban(self, peer: Peer, what: str) -> None:
        self._resources.counters.failures += 1
        self._connections.ban(peer, LyingPeerError(what))

    def on_error(self, error: BaseException) -> None:
        """End the callers' waits with an error, now and later."""
        self._waiting.fail(error)

    def _on_problem(self, error: Exception) -> None:
        """Notify the user, once for each file, why chunks cannot be served."""
        text = str(error)
        if text not in self._reported and len(self._reported) <= MAX_REPORTED:
            self._reported.add(text)
            if len(self._reported) > MAX_REPORTED:
                text = "Chunks of more files are not sent; no more of them are named."
            self._resources.on_notice(Notice(text))

    async def _tick_forever(self) -> None:
        while True:
            is_used = self._dispatcher.is_used or self._waiting.is_awaited
            await asyncio.sleep(TICK if is_used else IDLE_TICK)
            self._on_tick(self._loop.time())

    def _on_tick(self, now: float) -> None:
        download, origins = self._dispatcher.download, self._dispatcher.origins
        self._pages.on_tick(now)
        self._dispatcher.try_peers()
        if download is not None and origins is not None and not download.is_complete:
            origins.on_tick(now)
            peers = len(self._connections)
            self._monitor.report_progress(download, peers, self.uploaded)
            for source in download.on_tick(now):
                if isinstance(source, Peer):
                    self._connections.watch_silence(source)
                else:
                    origins.on_stalled(source)
        upload = self._dispatcher.upload
        if upload is not None:
            upload.on_tick()
        # After a download of some of the files, the upload is not complete.
        is_complete = any(
            part is not None and part.is_complete for part in (download, upload)
        )
        self._connections.drop_duplicates(is_complete=is_complete)
        if self._waiting.is_awaited:
            error = self._monitor.check(self._dispatcher.download_state(self._search()))
            if error is not None:
                # Not `fail`: a later read may succeed.
                self._waiting.end(error)
