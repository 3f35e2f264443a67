"""What this node asks of the origins of one share, and says of that to its peers.

`Pulling` owns how each origin stands: whether it is asked, why not, and when again.
One that fails is left alone for longer and longer, one that lied as long as a peer.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from shoal.core.manifest.manifest import Manifest
from shoal.core.peers.peerbook import BAN_TIME
from shoal.core.report.events import Notice
from shoal.core.session.session import ChunkReceived
from shoal.errors import PeerError, PeerTimeoutError
from shoal.origin.source import Origin, OriginFileError, OriginReader
from shoal.swarm.fetching import Fetching
from shoal.swarm.peer import SealedPeer

__all__ = ["Pulling"]

SETTLE_TIME = 0.05  # seconds in which others say that they ask for the same
HEAD_START = 0.3  # seconds in which peers say what they have before origins are asked
FIRST_BACKOFF = 1.0  # seconds without an origin that failed; doubled each time
MAX_BACKOFF = 60.0  # seconds
MAX_LACKING = 8  # answers in a row that a file is not there


class _Standing:
    """Say how one origin stands."""

    def __init__(self, source: OriginReader, now: float) -> None:
        self.source = source
        self.origin: Origin | None = None
        self.is_asked = False
        self.is_liar = False
        self.not_before = now
        self.failures = 0  # since it last gave something right
        self.lacking = 0  # files in a row that are not there
        self.again_at: float | None = None  # when they may be there
        self.trouble: str | None = None

    @property
    def why_nothing(self) -> str | None:
        """Return why it gives nothing, in a sentence, where that is known."""
        is_waited_for = self.origin is not None and self.origin.outstanding
        if self.trouble is None and is_waited_for:
            return f"The origin {self.source.name} was asked and does not answer."
        return self.trouble


class Pulling:
    """Ask origins for what no peer has; the client of each `Origin`."""

    def __init__(
        self,
        sources: Sequence[OriginReader],
        fetching: Fetching,
        peers: Callable[[], Iterable[SealedPeer]],
        *,
        node_id: bytes,
        on_notice: Callable[[Notice], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Ask nobody yet; `peers` says who hears of what is pulled.

        Of two nodes that are about to pull the same, that with the lower id does.
        """
        self._node_id = node_id
        self._fetching = fetching
        self._peers = peers
        self._on_notice = on_notice
        self._on_error = on_error
        self._clock = asyncio.get_running_loop().time
        self._standings = [_Standing(source, self._clock()) for source in sources]
        self._manifest: Manifest | None = None

    def begin(self, manifest: Manifest) -> None:
        """Ask from now on for what is fetched."""
        self._manifest = manifest
        for standing in self._standings:
            standing.not_before = self._clock() + HEAD_START

    async def aclose(self) -> None:
        """Ask for nothing more; idempotent."""
        for standing in self._standings:
            if standing.origin is not None:
                await standing.origin.aclose()
            await standing.source.aclose()

    @property
    def has_any(self) -> bool:
        """Say whether there is an origin at all."""
        return bool(self._standings)

    @property
    def has_only_liars(self) -> bool:
        """Say whether all origins lied; false where there is none."""
        return self.has_any and all(each.is_liar for each in self._standings)

    @property
    def outstanding(self) -> set[int]:
        """Return the chunks that were asked for and have not come."""
        asked = (each.origin.outstanding for each in self._standings if each.origin)
        return set().union(*asked)

    def troubles(self) -> tuple[str, ...]:
        """Return why origins give nothing, in sentences for the user."""
        if self._manifest is None:
            return tuple(
                f"The origin {each.source.name} is asked once a peer has said what "
                "the share is."
                for each in self._standings
            )
        return tuple(filter(None, (each.why_nothing for each in self._standings)))

    def lacks_pages(self) -> range:
        """Return the pages without which it is not known what to ask for."""
        manifest = self._manifest
        if not self._standings or manifest is None or not manifest.root.is_folder:
            return range(0)
        pages = manifest.file_pages
        return range(0) if all(map(manifest.page, pages)) else pages

    @property
    def asked(self) -> list[Origin]:
        """Return the origins that are asked for chunks."""
        return [s.origin for s in self._standings if s.is_asked and s.origin]

    def on_tick(self, now: float) -> None:
        """Ask those again whose time has come."""
        if self._manifest is None or self.lacks_pages():
            return
        for standing in self._standings:
            if standing.again_at is not None and now >= standing.again_at:
                standing.again_at = None
                standing.is_asked = False  # to be added anew, as one that has all
            if standing.is_asked or now < standing.not_before:
                continue
            if standing.origin is None:
                standing.origin = Origin(standing.source, self._manifest, self)
            standing.is_asked = True
            standing.is_liar = False
            standing.origin.stop()
            self._fetching.add_origin(standing.origin)

    def say_to(self, peer: SealedPeer) -> None:
        """Tell a newcomer what is being pulled."""
        outstanding = self.outstanding
        if outstanding:
            peer.say_pulling(outstanding)

    def on_pulling(self, peer: SealedPeer, indexes: Iterable[int]) -> None:
        """Note what a peer pulls; it will not what we do and have the lower id."""
        if self._node_id < peer.node_id:
            outstanding = self.outstanding
            indexes = [index for index in indexes if index not in outstanding]
        self._fetching.on_pulling(peer, indexes)

    def _is_theirs(self, index: int) -> bool:
        """Say whether a chunk that we are about to pull is left to a peer."""
        puller = self._fetching.puller(index)
        return isinstance(puller, SealedPeer) and puller.node_id < self._node_id

    # What becomes of an origin.

    def ban(self, origin: Origin, index: int) -> None:
        """Leave an origin alone that sent what does not verify."""
        standing = self._of(origin)
        standing.is_liar = True
        why = f"sent what the id does not name (chunk {index})"
        self._leave(standing, BAN_TIME, f"The origin {origin.reader.name} {why}.")

    def on_verified(self, origin: Origin) -> None:
        """Forgive the failures of an origin."""
        standing = self._of(origin)
        standing.failures = standing.lacking = 0
        standing.trouble = None

    def on_stalled(self, origin: Origin) -> None:
        """Leave an origin alone for a while that has stopped answering."""
        self.on_failed(origin, PeerTimeoutError("it stopped answering"))

    def on_failed(self, origin: Origin, error: PeerError) -> None:
        """Leave an origin alone for a while."""
        standing = self._of(origin)
        if not standing.is_asked:
            return
        wait = min(FIRST_BACKOFF * 2**standing.failures, MAX_BACKOFF)
        standing.failures = min(standing.failures + 1, 16)
        name = origin.reader.name
        self._leave(standing, wait, f"The origin {name} cannot be used: {error}.")

    def _leave(self, standing: _Standing, seconds: float, trouble: str) -> None:
        assert standing.origin is not None
        standing.is_asked = False
        standing.not_before = self._clock() + seconds
        standing.lacking = 0
        if trouble != standing.trouble:
            self._on_notice(Notice(trouble))
        standing.trouble = trouble
        standing.again_at = None
        standing.origin.stop()
        self._fetching.remove(standing.origin)

    def _of(self, origin: Origin) -> _Standing:
        return next(each for each in self._standings if each.origin is origin)

    # What an origin does.

    def on_asked(self, origin: Origin, indexes: Sequence[int]) -> None:
        """Tell peers what they need not ask an origin for."""
        for peer in self._peers():
            peer.say_pulling(indexes)

    async def settle(self, origin: Origin, run: range) -> list[int]:
        """Wait for who is about to ask for the same; return what is ours to ask for."""
        if any(peer.have is not None for peer in self._peers()):
            await asyncio.sleep(SETTLE_TIME)
            theirs = list(filter(self._is_theirs, run))
            if theirs:
                origin.outstanding.difference_update(theirs)
                self._fetching.take_back(origin, theirs)
        return [index for index in run if index in origin.outstanding]

    def on_bytes(self, origin: Origin) -> None:
        """Note that it is alive."""
        self._fetching.on_heard(origin)

    def on_given(self, origin: Origin, chunk: ChunkReceived) -> None:
        """Have a chunk verified, and ask for more."""
        self._fetching.on_chunk(origin, chunk)
        self._fetching.on_answers_done(origin)

    def on_lacking(self, origin: Origin, run: range, error: OriginFileError) -> None:
        """Ask others for chunks of a file that is not there, or not as it should be.

        With nothing else to be had there the origin as a whole is of no use.
        """
        standing = self._of(origin)
        standing.lacking += 1
        assert self._manifest is not None
        if not self._manifest.root.is_folder or standing.lacking >= MAX_LACKING:
            self.on_failed(origin, error)
            return
        standing.trouble = f"The origin {origin.reader.name} is not whole: {error}."
        if standing.again_at is None:
            standing.again_at = self._clock() + MAX_BACKOFF
        refused = origin.outstanding.intersection(run)
        origin.cancel(refused)
        for index in sorted(refused):
            self._fetching.on_refused(origin, index, is_busy=False)
        self._fetching.on_answers_done(origin)

    def on_broken(self, error: BaseException) -> None:
        """End with an error that is nobody's but ours."""
        self._on_error(error)
