"""The swarm of one sealed share: the same object downloads and uploads.

A share that is complete from the start is served with `serve`. Otherwise `load`
fetches the manifest, then `begin` or `fetch` downloads chunks and serves them on:

    peer proven -> hello -> root record -> pages -> store -> download
    chunk verified -> announced to all peers, sent to those that request it

Each part owns one kind of state: the `Dispatcher` the connections, on whose messages it
acts, `ManifestFetcher` the manifest, `Download` what is fetched, `Upload` what is
served, `Origins` the state of each origin. The `Coordinator` decides what follows from
a result or the time; `Swarm` connects the parts and ends the callers' waits.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

from msgspec.structs import replace

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest, Missing
from shoal.core.manifest.pages import PageKey
from shoal.core.report.events import DownloadEvent
from shoal.core.report.stall import Search
from shoal.core.report.stall_timer import StallTimer
from shoal.core.report.status import SwarmStatus
from shoal.core.session.sealed_session import SealedSession, ranges_of
from shoal.errors import ShoalError, first_error
from shoal.origin.parts import OriginReader
from shoal.resources import Resources
from shoal.storage.chunk_cache import ChunkCache
from shoal.storage.store import ChunkReader, DownloadStore
from shoal.swarm.completed import CompletePeers
from shoal.swarm.coordinator import ChunkSource, Coordinator
from shoal.swarm.dispatcher import Dispatcher
from shoal.swarm.manifest_fetcher import ManifestFetcher
from shoal.swarm.origins import Origins
from shoal.swarm.peer import Peer
from shoal.swarm.upload import Upload
from shoal.transfer.block_fetcher import BlockFetcher
from shoal.transfer.conditions import Conditions
from shoal.transfer.dialler import Found
from shoal.transfer.download import Download
from shoal.transfer.monitor import Monitor
from shoal.transfer.writer import ChunkWriter, SealedWriter
from shoal.transport.connection import Connection
from shoal.transport.sealed.proven import Dial, ProvenPeer

__all__ = ["Swarm"]

TICK = 0.25  # seconds between looks at stalled peers and at the clock
IDLE_TICK = 2.0  # the same for a share that is only served, while no peer is connected
MAX_WANTED = 256  # pages requested at once


class Swarm:
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
        self._loop = asyncio.get_running_loop()
        self._waiting = Conditions()  # callers that wait for chunks and pages
        self.completed = CompletePeers(on_event)
        """The peers that have finished."""
        self._pages: ManifestFetcher[Peer] = ManifestFetcher(
            share_id, on_page=self._on_page, on_wrong_page=self._on_wrong_page
        )
        self._monitor = Monitor(timeout, on_event)
        self._dispatcher = Dispatcher(
            self._pages,
            dial,
            resources,
            node_id=node_id,
            port=port,
            waiting=self._waiting,
            completed=self.completed,
            on_event=on_event,
        )
        self._connections = self._dispatcher.connections
        self._coordinator = Coordinator(
            self._dispatcher, resources, self._monitor, self._waiting, search, sources
        )

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
            self.completed.fail(error)
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
            manifest,
            kept,
        )
        self._connections.know_share(manifest)
        for peer in self._connections:
            self._dispatcher.say_hello(peer)

    def finish(self) -> None:
        """Tell every peer, now and later, that we need none of them any more.

        Our copy must be whole, flushed to the disk, and have its final name
        (docs/protocol.md, "Announcements").
        """
        self._dispatcher.finish()

    def know(self, manifest: Manifest) -> None:
        """Start with a manifest that this node has verified before."""
        self._pages.manifest = manifest
        self._connections.know_share(manifest)

    async def load(self, missing: Missing) -> Manifest:
        """Fetch the root record, then pages until `missing` returns none.

        Raises `ManifestError` if it is hostile, `NotFoundError` if no peer has it.
        """
        self._connections.on_caller()
        await self._waiting.wait(lambda: self.manifest is not None)
        while not await self.load_some(missing):
            pass
        assert self.manifest is not None
        return self.manifest

    async def load_some(self, missing: Missing) -> bool:
        """Wait for more pages that `missing` returns; return True if it returns none.

        The root record must be known. Raises as `load` does.
        """
        assert self.manifest is not None
        wanted = list(islice(missing(self.manifest), MAX_WANTED))
        self.want_pages(wanted)
        # To find out what is missing takes time, so it is not done for every page.
        enough = max(0, len(wanted) - max(1, len(wanted) // 8))
        await self._waiting.wait(lambda: self._pages.count_missing(wanted) <= enough)
        return not any(True for _ in missing(self.manifest))

    def want_pages(self, keys: Iterable[PageKey]) -> None:
        """Fetch these pages of the manifest, without waiting for them."""
        self._pages.want(keys, self._loop.time())

    async def fetch(
        self,
        store: DownloadStore,
        wanted: Sequence[int] | None = None,
        kept: Bitfield | None = None,
        size: int | None = None,
    ) -> None:
        """Fetch the chunks that `store` is missing, or the `wanted`, and serve them.

        With `kept`, only those are served: the others will not stay. `size` is reported
        as the size in bytes, if given. Raises `UnfinishedError`, `VerificationError` or
        what the store raises.
        """
        download = self.begin(store, wanted, kept=kept, size=size)
        try:
            await self._waiting.wait(lambda: download.is_complete)
        finally:
            await self.stop()

    def begin(
        self,
        store: DownloadStore,
        wanted: Sequence[int] | None = None,
        *,
        serves: bool = True,
        kept: Bitfield | None = None,
        size: int | None = None,
        make_writer: type[ChunkWriter[ChunkSource]] = SealedWriter,
    ) -> Download[ChunkSource]:
        """Start to fetch the chunks that `store` is missing, or of these the `wanted`.

        With `serves`, its chunks are served on. `kept` and `size` are as in `fetch`.
        """
        manifest = self.manifest
        assert manifest is not None
        if wanted is not None and serves:
            self._dispatcher.wanted = ranges_of(wanted)
        download = Download(
            store,
            manifest.hash_table,
            self._coordinator,
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
            kept=kept,
            on_notice=self._resources.on_notice,
            on_error=self.on_error,
        )
        self._dispatcher.download, self._dispatcher.origins = download, origins
        self._monitor.on_started(download, manifest.root.name, size, wanted)
        if serves:
            self.serve(manifest, store, kept)
        for peer in self._connections:
            self._dispatcher.request_from(peer)
        self._on_page()
        return download

    def begin_blocks(
        self, cache: ChunkCache, on_unavailable: Callable[[int], None]
    ) -> BlockFetcher[Peer]:
        """Start to fetch blocks into the cache that `begin` fetches chunks into.

        `on_unavailable` is called with a chunk whose blocks no peer has.
        """
        manifest = self.manifest
        assert manifest is not None
        blocks: BlockFetcher[Peer] = BlockFetcher(
            cache,
            manifest.hash_table,
            self._resources,
            on_verified=partial(self._coordinator.on_blocks_verified, cache),
            on_wrong=self._coordinator.on_wrong_chunk,
            on_unavailable=on_unavailable,
            on_error=self.on_error,
        )
        self._dispatcher.blocks = blocks
        for peer in self._connections:
            if peer.have is not None and peer.is_used:
                blocks.add(peer, peer.have)
        return blocks

    async def until(self, is_met: Callable[[], bool]) -> None:
        """Wait for what is being fetched; raises as `fetch` does."""
        self._connections.on_caller()
        await self._waiting.wait(is_met)

    async def stop(self) -> None:
        """Stop fetching, and wait until what has arrived is written."""
        download, blocks = self._dispatcher.download, self._dispatcher.blocks
        if blocks is not None:
            await blocks.stop()
        if download is not None:
            await download.stop()
            self._coordinator.report_progress(download)

    def report_checking(self) -> None:
        """Report that what is on the disk already is checked."""
        self._coordinator.report_preparing(self.manifest, is_loaded=True)

    async def read_from(self, store: ChunkReader) -> None:
        """Serve chunks from another store; then the first one can be closed."""
        assert self._dispatcher.upload is not None
        await self._dispatcher.upload.read_from(store)

    def why_nothing_came(self, seconds: float) -> ShoalError:
        """Return the error for a caller that has waited `seconds` and gives up."""
        state = replace(self._coordinator.download_state(), is_begun=False)
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

    @property
    def is_complete(self) -> bool:
        """Return True if nothing more is to be fetched."""
        return self._coordinator.is_complete

    def status(self) -> SwarmStatus:
        """Return the state of the swarm; it refers to live data, so use it at once."""
        return self._coordinator.status(self.manifest)

    def accept(self, proven: ProvenPeer) -> Connection[SealedSession]:
        """Return the connection for a peer that dialled us; raises `PeerError`."""
        return self._connections.accept(proven)

    def _on_page(self) -> None:
        """Fetch more pages with files, if those are needed to ask an origin."""
        origins = self._dispatcher.origins
        if origins is not None:
            self.want_pages(islice(origins.missing_pages(), MAX_WANTED))
        self._waiting.check()

    def _on_wrong_page(self, peer: Peer, key: PageKey) -> None:
        what = f"page {key.number} of the {key.table} did not verify"
        self._coordinator.ban(peer, what)

    def on_error(self, error: BaseException) -> None:
        """End the callers' waits with an error, now and later."""
        self._waiting.fail(error)

    async def _tick_forever(self) -> None:
        while True:
            is_used = self._coordinator.is_used or self._waiting.is_awaited
            await asyncio.sleep(TICK if is_used else IDLE_TICK)
            now = self._loop.time()
            self._pages.on_tick(now)
            self._coordinator.on_tick(now, self.manifest)
