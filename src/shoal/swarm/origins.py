"""The origins of one share: what is requested from them, and what peers are told of it.

`Origins` owns the state of each origin: whether it is used, why not, and when it is
tried again. An origin that fails is left unused for longer each time. One that sent a
wrong chunk of a file is not asked for that file for as long as a peer is banned, and
for nothing if it sent several.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from shoal.core.bans import BAN_TIME
from shoal.core.limits import MAX_ORIGIN_FETCHES
from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey
from shoal.core.report.events import Notice
from shoal.core.session.events import ChunkReceived
from shoal.errors import PeerError, PeerTimeoutError
from shoal.origin.parts import (
    OriginBusyError,
    OriginFileError,
    OriginReader,
    parts_of,
)
from shoal.origin.source import Origin, OriginState
from shoal.swarm.peer import Peer
from shoal.transfer.download import Download

__all__ = ["Origins"]

SETTLE_TIME = 0.05  # seconds in which peers announce that they request the same
HEAD_START = 0.3  # seconds in which peers announce chunks before origins are used
REPEAT_TIME = 2.0  # seconds until peers are told again what we request
FIRST_BACKOFF = 1.0  # seconds without an origin that failed; doubled each time
MAX_BACKOFF = 60.0  # seconds
MAX_PAUSE = 3600.0  # seconds that an origin may ask to be left alone
MAX_MISSING = 8  # missing files in a row until the origin counts as failed
MAX_WRONG = 8  # wrong chunks until an origin of a folder is not used at all
MIN_AHEAD = 4  # chunks of a whole file that peers are told of before they come


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
        self._repeat_at = 0.0
        start = self._clock() + HEAD_START
        self._states = [
            OriginState(Origin(source, manifest, self), start) for source in sources
        ]

    async def aclose(self) -> None:
        """Request nothing more and close the connections; idempotent."""
        for state in self._states:
            await state.origin.aclose()

    def __len__(self) -> int:
        return len(self._states)

    @property
    def has_only_liars(self) -> bool:
        """Return True if all origins can only send wrong chunks; False without any."""
        return bool(self._states) and all(map(self._can_only_lie, self._states))

    def _can_only_lie(self, state: OriginState) -> bool:
        picker = self._download.scheduler.picker
        is_used = state.is_used and not state.origin.outstanding
        # Its right files are here, and only the wrong ones are missing.
        return state.is_liar or bool(
            state.wrong and is_used and not picker.can_request(state.origin)
        )

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
        if now >= self._repeat_at:
            self._announce()
        for state in self._states:
            is_due = state.retry_files_at is not None and now >= state.retry_files_at
            # A whole file would have to be read again from its beginning.
            if is_due and state.origin.stream is None:
                state.retry_files_at = None
                state.is_used = False  # to be added again, as a source of every chunk
            if state.is_used or now < state.not_before:
                continue
            state.is_used = True
            state.is_liar = False
            state.origin.stop()
            if now >= state.refused_until:
                state.refused.clear()
                state.wrong, state.file_problem = 0, None
            self._download.add_origin(state.origin, state.refused)

    # What peers and we request from origins.

    @property
    def _outstanding(self) -> set[int]:
        return set().union(*(state.origin.outstanding for state in self._states))

    def announce_to(self, peer: Peer) -> None:
        """Tell a new peer which chunks we are fetching from origins."""
        coming = (self._coming(each) for each in self._states)
        outstanding = self._passed_on(self._outstanding.union(*coming))
        if outstanding:
            peer.announce_origin_requests(outstanding)

    def _announce(self) -> None:
        self._repeat_at = self._clock() + REPEAT_TIME
        for peer in self._peers:
            self.announce_to(peer)

    def _coming(self, state: OriginState) -> list[int]:
        """Return the missing chunks of a whole file that come before we repeat them."""
        if state.origin.stream is None:
            return []
        elapsed = max(self._clock() - state.stream_began, SETTLE_TIME)
        chunks = self._download.chunks
        count = state.streamed / elapsed * 2 * REPEAT_TIME / chunks.chunk_size
        ahead = range(state.position + 1, state.origin.stream.span.stop)
        most = min(MIN_AHEAD + int(count), MAX_ORIGIN_FETCHES // 2)
        free = self._download.scheduler.picker.free
        coming = list(islice(filter(free.__contains__, ahead), most))
        state.announced = coming[-1] if coming else ahead.stop
        return coming

    def on_peer_requests(self, peer: Peer, indexes: Iterable[int]) -> None:
        """Note chunks that a peer is fetching from an origin.

        Of the nodes that announce the same chunk, the one with the lowest id fetches
        it, and the others leave it to that one.
        """
        outstanding, scheduler = self._outstanding, self._download.scheduler
        is_left_to_us = self._node_id < peer.node_id
        theirs = []
        for index in indexes:
            other = scheduler.for_origins.fetches.announcer(index)
            if is_left_to_us and index in outstanding:
                continue
            if isinstance(other, Peer) and peer.node_id < other.node_id:
                scheduler.for_origins.fetches.drop(index, other)
            theirs.append(index)
        scheduler.on_origin_fetch(peer, theirs, self._clock())

    def _is_left_to_peer(self, origin: Origin, index: int) -> bool:
        """Return True if a peer fetches a chunk that we are about to fetch."""
        scheduler = self._download.scheduler
        if origin not in scheduler:
            return False
        source = scheduler.for_origins.fetcher_of(index, origin, self._clock())
        return isinstance(source, Peer) and source.node_id < self._node_id

    # Results.

    def on_wrong_chunk(self, origin: Origin, index: int) -> None:
        """Do not ask an origin for a file of which it sent a wrong chunk.

        It is not asked for anything if it has sent several, or has no other files.
        """
        state = self._of(origin)
        if not state.is_used or index in state.refused:
            return  # requested before an earlier one did not verify
        what = f"sent a chunk that does not match the id (chunk {index})"
        problem = f"The origin {origin.reader.name} {what}."
        state.wrong += 1
        if not self._manifest.root.is_folder or state.wrong > MAX_WRONG:
            state.is_liar = True
            self._leave(state, BAN_TIME, problem)
            return
        self._note(state, problem)
        state.problem, state.file_problem = None, problem
        state.refused_until = self._clock() + BAN_TIME
        state.refused.update(self._around(index))
        origin.cancel(state.refused)
        self._download.refuse(origin, state.refused)

    def _around(self, index: int) -> range:
        """Return the chunks of the file that a chunk is in; of several, only itself."""
        parts = parts_of(self._manifest, range(index, index + 1))
        if len(parts) > 1:
            return range(index, index + 1)
        size = self._download.chunks.chunk_size
        begin, end = parts[0].begin, parts[0].begin + parts[0].file_size
        return range(begin // size, -(-end // size))

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
        if isinstance(error, OriginBusyError):
            wait = max(wait, min(error.seconds, MAX_PAUSE))
        state.failures = min(state.failures + 1, 16)
        name = origin.reader.name
        self._leave(state, wait, f"The origin {name} cannot be used: {error}.")

    def _leave(self, state: OriginState, seconds: float, problem: str) -> None:
        state.is_used = False
        state.not_before = self._clock() + seconds
        state.missing_files = 0
        self._note(state, problem)
        state.retry_files_at = None
        state.origin.stop()
        self._download.remove(state.origin)

    def _note(self, state: OriginState, problem: str) -> None:
        if problem != state.problem:
            self._on_notice(Notice(problem))
        state.problem = problem

    def _of(self, origin: Origin) -> OriginState:
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
        self._of(origin).asked_at = self._clock()
        return [index for index in run if index in origin.outstanding]

    def on_bytes(self, origin: Origin) -> None:
        """Note that an origin is alive."""
        self._download.scheduler.on_heard(origin, self._clock())

    def on_chunk(self, origin: Origin, chunk: ChunkReceived) -> None:
        """Have a chunk verified, and request more."""
        self._download.on_read(origin, [chunk])
        self._download.on_answers_done(origin)

    def on_read(self, origin: Origin, left: Iterable[int]) -> None:
        """Request elsewhere what the answer to a request did not have."""
        self._download.scheduler.set_streaming(origin, origin.stream is not None)
        self._download.take_back(origin, left)

    def on_missing_file(
        self, origin: Origin, indexes: Iterable[int], error: OriginFileError
    ) -> None:
        """Request elsewhere the chunks of a file that an origin lacks or has wrong.

        An origin that can send no other file either counts as failed.
        """
        state = self._of(origin)
        state.missing_files += 1
        if not self._manifest.root.is_folder or state.missing_files >= MAX_MISSING:
            self.on_failed(origin, error)
            return
        state.file_problem = f"The origin {origin.reader.name} lacks files: {error}."
        if state.retry_files_at is None:
            state.retry_files_at = self._clock() + MAX_BACKOFF
        refused = origin.outstanding.intersection(indexes)
        origin.cancel(refused)
        self._download.refuse(origin, refused)

    def on_broken(self, error: BaseException) -> None:
        """End the download with an error that is no origin's fault."""
        self._on_error(error)

    # An origin that ignores ranges sends whole files.

    def on_range(self, origin: Origin, *, is_ignored: bool) -> None:
        """Request from an origin without ranges only what has no better source."""
        self._download.scheduler.on_range(origin, is_ignored=is_ignored)

    def may_stream(self, origin: Origin) -> bool:
        """Return True to read a whole file, unless a peer already does so for all.

        Of two nodes that begin at the same time, the one with the lower id reads.
        """
        state, now = self._of(origin), self._clock()
        scheduler = self._download.scheduler
        if origin not in scheduler:
            return False
        for peer, since in scheduler.for_origins.fetchers(origin, now).items():
            assert isinstance(peer, Peer)
            lead = state.asked_at - since
            is_first = self._node_id < peer.node_id
            if lead > 2 * SETTLE_TIME or (lead > -2 * SETTLE_TIME and not is_first):
                return False
        return True

    def on_stream(self, origin: Origin) -> None:
        """Tell peers what comes, and request nothing else from the origin."""
        state = self._of(origin)
        assert origin.stream is not None
        state.stream_began, state.streamed = self._clock(), 0
        state.position = origin.stream.span.start - 1
        self._download.scheduler.set_streaming(origin, True)
        self._announce()

    def on_passed(self, origin: Origin, index: int) -> bool:
        """Take a chunk of a whole file, if it is missing and no other source has it."""
        state = self._of(origin)
        state.position = index
        if index >= state.announced:
            self._announce()
        return self._download.scheduler.on_passed(origin, index, self._clock())

    def wants_any(self, origin: Origin, indexes: range) -> bool:
        """Return True if one of these chunks of a whole file is missing."""
        return self._download.scheduler.picker.free.has_any_in(indexes)

    async def pace(self, origin: Origin, size: int) -> None:
        """Wait until the next `size` bytes of a whole file may be received."""
        self._of(origin).streamed += size
        await self._download.pace(origin, size)
