"""Decide what concerns several parts of a swarm at once.

The `Coordinator` receives the results of the download: a verified chunk is served from
then on, and a peer whose chunk is wrong is told so or banned. It looks at the clock for
all parts. It also combines their states, which the `Dispatcher` holds, for callers.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from shoal.core.manifest.blocks import Run, run_span
from shoal.core.manifest.manifest import Manifest
from shoal.core.report.events import Preparing
from shoal.core.report.stall import DownloadState, Search
from shoal.core.report.status import SwarmStatus
from shoal.errors import LyingPeerError, ProtocolError
from shoal.origin.parts import OriginReader
from shoal.origin.source import Origin
from shoal.resources import Resources
from shoal.storage.chunk_cache import ChunkCache
from shoal.swarm.peer import Peer
from shoal.transfer.conditions import Conditions
from shoal.transfer.download import Download, Watcher
from shoal.transfer.monitor import Monitor

if TYPE_CHECKING:  # it is never created here
    from shoal.swarm.dispatcher import Dispatcher

__all__ = ["ChunkSource", "Coordinator"]

ChunkSource: TypeAlias = Peer | Origin


class Coordinator(Watcher[ChunkSource]):
    """Act on the results of a swarm's download, and combine the states of its parts."""

    def __init__(
        self,
        parts: "Dispatcher",
        resources: Resources,
        monitor: Monitor,
        waiting: Conditions,
        search: Callable[[], Search],
        readers: Sequence[OriginReader],
    ) -> None:
        """Start before there is a download.

        `parts` holds the parts of the swarm, `monitor` is told when chunks are
        verified, `waiting` are the callers that wait for chunks, `search` returns the
        state of discovery, and `readers` are those of the share's origins.
        """
        self._parts = parts
        self._counters = resources.counters
        self._monitor = monitor
        self._waiting = waiting
        self._search = search
        self._readers = readers
        self._senders: set[bytes | str] = set()  # of chunks that verified

    @property
    def is_used(self) -> bool:
        """Return False if the share is only served, and to no peer at the moment.

        A node can have 10,000 such shares.
        """
        parts = self._parts
        is_served_only = parts.upload is not None and parts.download is None
        return not is_served_only or len(parts.connections) > 0

    @property
    def is_complete(self) -> bool:
        """Return True if nothing more is to be fetched."""
        # After a download of some of the files, the upload is not complete.
        parts = (self._parts.download, self._parts.upload)
        return any(part is not None and part.is_complete for part in parts)

    def ban(self, peer: Peer, what: str) -> None:
        """Ban a peer that sent wrong data; `what` says which."""
        self._counters.failures += 1
        self._parts.connections.ban(peer, LyingPeerError(what))

    # The clock.

    def on_tick(self, now: float, manifest: Manifest | None) -> None:
        """Look for sources that stall, and end the callers' waits that take too long.

        Call it every second at least while a caller waits.
        """
        parts, connections = self._parts, self._parts.connections
        download, origins = parts.download, parts.origins
        parts.try_peers()
        if download is not None and origins is not None and not download.is_complete:
            origins.on_tick(now)
            self.report_progress(download)
            for source in download.on_tick(now):
                if isinstance(source, Peer):
                    connections.watch_silence(source)
                else:
                    origins.on_stalled(source)
        for peer in parts.blocks.on_tick(now) if parts.blocks is not None else ():
            connections.watch_silence(peer)
        if parts.upload is not None:
            parts.upload.on_tick()
        connections.drop_duplicates(is_complete=self.is_complete)
        if self._waiting.is_awaited:
            if download is None:  # the manifest is being loaded
                self.report_preparing(manifest)
            error = self._monitor.check(self.download_state())
            if error is not None:
                # Not `fail`: a later read may succeed.
                self._waiting.end(error)

    # The state of all parts.

    def status(self, manifest: Manifest | None) -> SwarmStatus:
        """Return the state of the swarm; it refers to live data, so use it at once."""
        parts, download = self._parts, self._parts.download
        owner = parts.upload or download
        origins = parts.origins.used if parts.origins is not None else ()
        return SwarmStatus(
            manifest,
            owner.have if owner is not None else None,
            download.scheduler.picker.requested if download else frozenset(),
            tuple(each.status() for each in (*parts.connections, *origins)),
        )

    def report_preparing(
        self, manifest: Manifest | None, *, is_loaded: bool = False
    ) -> None:
        """Report what a download that has not started waits for, if that is new.

        With `is_loaded`, the pages of the manifest that it needs are here.
        """
        found, ready = self._parts.connections.found, len(self._parts.connections)
        if manifest is not None:
            step = "checking" if is_loaded else "listing"
            state = Preparing(step, manifest.root.name, peers=ready)
        elif ready:
            state = Preparing("asking", peers=ready)
        else:
            step = "connecting" if found else "searching"
            state = Preparing(step, looked=self._search().looked, found=found)
        self._monitor.report_preparing(state)

    def report_progress(self, download: Download[ChunkSource]) -> None:
        """Report how much of a download is here."""
        parts, senders = self._parts, len(self._senders)
        sent = parts.upload.sent if parts.upload is not None else 0
        ready = len(parts.connections)
        self._monitor.report_progress(download, ready, sent, sources=senders)

    def download_state(self) -> DownloadState:
        """Return how the download stands, to explain why nothing arrives."""
        readers = self._readers
        connections, origins = self._parts.connections, self._parts.origins
        download = self._parts.download
        has_only_liars = connections.has_only_liars
        if readers:
            # A peer was connected, or no origin could be asked for anything.
            lied = origins is not None and origins.has_only_liars
            has_only_liars = not len(connections) and lied
        idle = "The origin {} is used once a peer has described the share."
        return DownloadState(
            found=connections.found,
            ready=len(connections),
            is_out_of_files=connections.is_out_of_files,
            has_only_liars=has_only_liars,
            is_size_unknown=False,
            is_begun=download is not None and download.done > 0,
            search=self._search(),
            unavailable=download.scheduler.unavailable if download else None,
            unwritten=download.unwritten if download is not None else 0,
            origins=tuple(idle.format(reader.name) for reader in readers)
            if origins is None
            else origins.problems(),
        )

    # The results of the download.

    def on_verified(
        self, source: ChunkSource, indexes: Sequence[int], size: int
    ) -> None:
        """Serve chunks from now on."""
        parts = self._parts
        self._senders.add(
            source.node_id if isinstance(source, Peer) else source.reader.name
        )
        source.on_verified(len(indexes), size)
        if isinstance(source, Origin) and parts.origins is not None:
            parts.origins.on_verified(source)
            self._counters.received[source.path] += size
        if parts.upload is not None:
            if isinstance(source, Peer):
                parts.upload.on_verified(source, len(indexes))
            parts.upload.on_stored(indexes)

    def on_batch_verified(self) -> None:
        """Announce the chunks soon, the last ones at once; end the callers' waits."""
        download, upload = self._parts.download, self._parts.upload
        self._monitor.on_verified()
        if upload is not None:
            upload.announce_soon()
            if download is not None and download.is_complete:
                upload.announce()
        self._waiting.check()

    def on_blocks_verified(self, cache: ChunkCache, peer: Peer, run: Run) -> None:
        """Note blocks that `cache` keeps; the last ones of a chunk complete it."""
        first, end = run_span(cache.chunks, run)
        self._senders.add(peer.node_id)
        peer.on_verified(1, end - first)
        download = self._parts.download
        if download is not None and run.index in cache.have:
            download.adopt(run.index)
        self._monitor.on_verified()
        self._waiting.check()

    def on_forged_chunk(self, source: ChunkSource) -> None:
        """Disconnect a peer: one of its messages was changed on the way."""
        if isinstance(source, Peer):
            source.close(ProtocolError("a message that was changed on its way"))

    def on_wrong_chunk(self, source: ChunkSource, index: int) -> None:
        """Ban a peer, or leave an origin unused, whose chunk did not verify.

        A peer that has sent right chunks is told of the first wrong one instead.
        """
        download, origins = self._parts.download, self._parts.origins
        if isinstance(source, Peer):
            is_first = not source.wrong and source.verified > 0
            source.wrong.add(index)
            if is_first and download is not None:
                # Its disk may have changed: it checks, and others send this chunk.
                download.refuse(source, (index,))
                source.report_wrong(index)
            else:
                self.ban(source, f"chunk {index} did not verify")
        elif origins is not None:
            self._counters.failures += 1
            origins.on_wrong_chunk(source, index)

    def on_error(self, error: BaseException) -> None:
        """End the callers' waits with an error, now and later."""
        self._waiting.fail(error)
