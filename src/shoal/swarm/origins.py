"""The origins of one share: what is requested from them, and what peers are told of it.

`Origins` owns the state of each origin: whether it is used, why not, and when it is
tried again. An origin that fails is left unused for longer each time, one that sent a
wrong chunk for as long as a peer is banned.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from shoal.core.bans import BAN_TIME
from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey
from shoal.core.report.events import Notice
from shoal.core.session.session import ChunkReceived
from shoal.errors import PeerError, PeerTimeoutError
from shoal.origin.source import Origin, OriginFileError, OriginReader
from shoal.swarm.peer import Peer
from shoal.transfer.download import Download

__all__ = ["Origins"]

SETTLE_TIME = 0.05  # seconds in which peers announce that they request the same
HEAD_START = 0.3  # seconds in which peers announce chunks before origins are used
FIRST_BACKOFF = 1.0  # seconds without an origin that failed; doubled each time
MAX_BACKOFF = 60.0  # seconds
MAX_MISSING = 8  # missing files in a row until the origin counts as failed


class _State:
    """The state of one origin."""

    def __init__(self, origin: Origin, not_before: float) -> None:
        self.origin = origin
        self.is_used = False
        self.is_liar = False
        self.not_before = not_before
        self.failures = 0  # since a chunk from it last verified
        self.missing_files = 0  # in a row
        self.retry_files_at: float | None = None  # when they may exist
        self.problem: str | None = None

    @property
    def why_nothing(self) -> str | None:
        """Return why it sends nothing, as a sentence, where that is known."""
        if self.problem is None and self.origin.outstanding:
            name = self.origin.reader.name
            return f"The origin {name} was asked and does not answer."
        return self.problem


class Origins:
    """Request from origins the chunks that no peer has; the client of each `Origin`."""

    def __init__(
        self,
        sources: Iterable[OriginReader],
        manifest: Manifest,
        download: Download[Peer | Origin],
        peers: Iterable[Peer],
        *,
        node_id: bytes,
        kept: Bitfield | None = None,
        on_notice: Callable[[Notice], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Request nothing yet.

        `peers` are the connected peers, which are told what is requested. Of two nodes
        that are about to request the same chunk, the one with the lower id does. With
        `kept`, only these chunks are served on, so peers are told only of these.
        """
        self._kept = kept
        self._manifest = manifest
        self._download = download
        self._peers = peers
        self._node_id = node_id
        self._on_notice = on_notice
        self._on_error = on_error
        self._clock = asyncio.get_running_loop().time
        start = self._clock() + HEAD_START
        self._states = [
            _State(Origin(source, manifest, self), start) for source in sources
        ]

    async def aclose(self) -> None:
        """Request nothing more and close the connections; idempotent."""
        for state in self._states:
            await state.origin.aclose()

    def __len__(self) -> int:
        return len(self._states)

    @property
    def has_only_liars(self) -> bool:
        """Return True if every origin sent a wrong chunk; False without origins."""
        return bool(self._states) and all(each.is_liar for each in self._states)

    @property
    def used(self) -> list[Origin]:
        """Return the origins that chunks are requested from."""
        return [state.origin for state in self._states if state.is_used]

    def problems(self) -> tuple[str, ...]:
        """Return why origins send nothing, in sentences for the user."""
        return tuple(filter(None, (each.why_nothing for each in self._states)))

    def missing_pages(self) -> Iterator[PageKey]:
        """Yield the pages to request now, without which the files are not known."""
        return self._manifest.missing_files() if self._states else iter(())

    def on_tick(self, now: float) -> None:
        """Use the origins whose time has come."""
        if any(True for _ in self.missing_pages()):
            return
        for state in self._states:
            if state.retry_files_at is not None and now >= state.retry_files_at:
                state.retry_files_at = None
                state.is_used = False  # to be added again, as a source of every chunk
            if state.is_used or now < state.not_before:
                continue
            state.is_used = True
            state.is_liar = False
            state.origin.stop()
            self._download.add_origin(state.origin)

    # What peers and we request from origins.

    @property
    def _outstanding(self) -> set[int]:
        return set().union(*(state.origin.outstanding for state in self._states))

    def announce_to(self, peer: Peer) -> None:
        """Tell a new peer which chunks we are fetching from origins."""
        outstanding = self._passed_on(self._outstanding)
        if outstanding:
            peer.announce_origin_requests(outstanding)

    def on_peer_requests(self, peer: Peer, indexes: Iterable[int]) -> None:
        """Note chunks that a peer is fetching from an origin.

        It will not fetch those that we are fetching if our id is the lower one.
        """
        if self._node_id < peer.node_id:
            outstanding = self._outstanding
            indexes = [index for index in indexes if index not in outstanding]
        self._download.scheduler.on_origin_fetch(peer, indexes, self._clock())

    def _is_left_to_peer(self, origin: Origin, index: int) -> bool:
        """Return True if a peer fetches a chunk that we are about to fetch."""
        scheduler = self._download.scheduler
        if origin not in scheduler:
            return False
        source = scheduler.origin_fetcher_of(index, origin, self._clock())
        return isinstance(source, Peer) and source.node_id < self._node_id

    # Results.

    def on_wrong_chunk(self, origin: Origin, index: int) -> None:
        """Leave an origin unused because a chunk from it did not verify."""
        state = self._of(origin)
        state.is_liar = True
        what = f"sent what the id does not name (chunk {index})"
        self._leave(state, BAN_TIME, f"The origin {origin.reader.name} {what}.")

    def on_verified(self, origin: Origin) -> None:
        """Reset the back-off of an origin."""
        state = self._of(origin)
        state.failures = state.missing_files = 0
        state.problem = None

    def on_stalled(self, origin: Origin) -> None:
        """Leave an origin unused for a while that has stopped answering."""
        self.on_failed(origin, PeerTimeoutError("it stopped answering"))

    def on_failed(self, origin: Origin, error: PeerError) -> None:
        """Leave an origin unused for a while."""
        state = self._of(origin)
        if not state.is_used:
            return
        wait = min(FIRST_BACKOFF * 2**state.failures, MAX_BACKOFF)
        state.failures = min(state.failures + 1, 16)
        name = origin.reader.name
        self._leave(state, wait, f"The origin {name} cannot be used: {error}.")

    def _leave(self, state: _State, seconds: float, problem: str) -> None:
        state.is_used = False
        state.not_before = self._clock() + seconds
        state.missing_files = 0
        if problem != state.problem:
            self._on_notice(Notice(problem))
        state.problem = problem
        state.retry_files_at = None
        state.origin.stop()
        self._download.remove(state.origin)

    def _of(self, origin: Origin) -> _State:
        return next(each for each in self._states if each.origin is origin)

    # What an origin does.

    def on_requested(self, origin: Origin, indexes: Sequence[int]) -> None:
        """Tell peers which chunks they need not fetch from an origin."""
        announced = self._passed_on(indexes)
        for peer in self._peers if announced else ():
            peer.announce_origin_requests(announced)

    def _passed_on(self, indexes: Iterable[int]) -> list[int]:
        """Return the chunks that peers can request from us once they are here."""
        return [i for i in indexes if self._kept is None or i in self._kept]

    async def wait_for_peers(self, origin: Origin, run: range) -> list[int]:
        """Wait for peers' announcements; return the chunks that we still request."""
        if any(peer.have is not None for peer in self._peers):
            await asyncio.sleep(SETTLE_TIME)
            theirs = [i for i in run if self._is_left_to_peer(origin, i)]
            if theirs:
                origin.outstanding.difference_update(theirs)
                self._download.take_back(origin, theirs)
        return [index for index in run if index in origin.outstanding]

    def on_bytes(self, origin: Origin) -> None:
        """Note that an origin is alive."""
        self._download.scheduler.on_heard(origin, self._clock())

    def on_chunk(self, origin: Origin, chunk: ChunkReceived) -> None:
        """Have a chunk verified, and request more."""
        self._download.on_read(origin, [chunk])
        self._download.on_answers_done(origin)

    def on_missing_file(
        self, origin: Origin, run: range, error: OriginFileError
    ) -> None:
        """Request elsewhere the chunks of a file that an origin lacks or has wrong.

        An origin that can send no other file either counts as failed.
        """
        state = self._of(origin)
        state.missing_files += 1
        if not self._manifest.root.is_folder or state.missing_files >= MAX_MISSING:
            self.on_failed(origin, error)
            return
        state.problem = f"The origin {origin.reader.name} is not whole: {error}."
        if state.retry_files_at is None:
            state.retry_files_at = self._clock() + MAX_BACKOFF
        refused = origin.outstanding.intersection(run)
        origin.cancel(refused)
        now = self._clock()
        for index in sorted(refused):
            self._download.scheduler.on_refused(origin, index, now, is_busy=False)
        self._download.on_answers_done(origin)

    def on_broken(self, error: BaseException) -> None:
        """End the download with an error that is no origin's fault."""
        self._on_error(error)
