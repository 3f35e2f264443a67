"""The swarm of one sealed share: the same object leeches and seeds.

`SealedSwarm` decides, on the event loop and synchronously, over five that each keep
one thing: who is here (`Roster`), what is known of the share (`Learning`), what is
given (`Giving`), what is fetched (`Fetching`) and which origins are asked (`Pulling`).
What peers say to each other goes through its `Conversations`:

    peer proven -> hellos -> the root record -> pages -> the store -> the transfer
    chunk verified -> announced to all, given to whoever asks

Whoever has everything from the start begins with `serve`, everybody else with
`load` and `fetch`.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.report.events import DownloadEvent, Notice
from shoal.core.report.outlook import Outlook, Search
from shoal.core.report.patience import Patience
from shoal.core.report.status import SwarmStatus
from shoal.core.session.sealed_session import SealedSession
from shoal.errors import LyingPeerError, ShoalError, StoreError
from shoal.origin.source import Origin, OriginReader
from shoal.resources import Means
from shoal.storage.store import ChunkReader, DownloadStore
from shoal.swarm.fetching import Fetching, SealedGiver
from shoal.swarm.learning import Learning
from shoal.swarm.origins import Pulling
from shoal.swarm.peer import SealedPeer
from shoal.swarm.protocol import Conversations
from shoal.swarm.upload import Giving
from shoal.transfer.conditions import Goal
from shoal.transfer.dialler import Found
from shoal.transfer.writer import ChunkWriter
from shoal.transport.connection import Connection
from shoal.transport.sealed.proven import Dial, ProvenPeer

__all__ = ["SealedSwarm"]

TICK = 0.25  # seconds between looks at stalled peers and at the clock


class SealedSwarm:
    """Exchange the chunks of one share with everyone who has its link."""

    def __init__(
        self,
        share_id: bytes,
        dial: Dial,
        means: Means,
        *,
        sources: Sequence[OriginReader] = (),
        timeout: float | None = None,
        on_event: Callable[[DownloadEvent], None] = lambda event: None,
        on_notice: Callable[[Notice], None] = lambda notice: None,
        search: Callable[[], Search] = Search,
    ) -> None:
        """Prepare; `dial` is how others are reached.

        `sources` are the share's origins; they are closed with the swarm.
        """
        self.shared = asyncio.Event()
        """Set once a peer has, or had, everything."""
        self._tally = means.tally
        self._on_notice = on_notice
        self._search = search
        self._loop = asyncio.get_running_loop()
        self._goal = Goal()
        self._told: set[str] = set()
        self._learning = Learning(
            share_id, on_news=self._goal.check, on_lie=self._on_page_lie
        )
        self._giving = Giving(means, lambda: self.peers, self._on_problem)
        self._fetching = Fetching(self, means, timeout=timeout, on_event=on_event)
        self._pulling = Pulling(
            sources,
            self._fetching,
            lambda: self.peers,
            node_id=means.node_id,
            on_notice=on_notice,
            on_error=self.on_error,
        )
        self._conversations = Conversations(
            dial,
            self._learning,
            self._giving,
            self._fetching,
            self._pulling,
            means,
            shared=self.shared,
            on_event=on_event,
            on_hostile=self._goal.fail,
        )
        self._roster = self._conversations.roster

    # What others do with a swarm.

    def serve(
        self,
        manifest: Manifest,
        store: ChunkReader,
        lasting: Bitfield | None = None,
    ) -> None:
        """Give what `store` has from now on, or of that only what is `lasting`."""
        self._learning.begin(manifest)
        self._giving.begin(store, lasting)
        self._roster.know_share(manifest)
        for peer in self.peers:
            self._conversations.say_hello(peer)

    async def run(self, found: Iterable[Found]) -> None:
        """Talk to peers until cancelled; then close every connection."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._roster.run(found))
                while True:
                    await asyncio.sleep(TICK)
                    self._on_tick(self._loop.time())
        finally:
            await self._pulling.aclose()
            await self._giving.aclose()

    async def load(self, numbers: Callable[[Manifest], Iterable[int]]) -> Manifest:
        """Fetch the root record and the pages that `numbers` names of a manifest.

        Raises `ManifestError` for a hostile one, `NotFoundError` when nobody has it.
        """
        await self._goal.reach(lambda: self.manifest is not None)
        assert self.manifest is not None
        manifest = self.manifest
        wanted = list(numbers(manifest))
        self._learning.want(wanted)
        await self._goal.reach(lambda: self._learning.has(wanted))
        return manifest

    async def fetch(
        self,
        store: DownloadStore,
        wanted: Iterable[int] | None = None,
        lasting: Bitfield | None = None,
    ) -> None:
        """Fetch what `store` is missing, or of that what is `wanted`, and serve it.

        With `lasting`, only that is served: the rest will not stay. Raises
        `UnfinishedError`, `VerificationError` or what the store raises.
        """
        self.begin(store, wanted, lasting=lasting)
        try:
            await self._goal.reach(lambda: self._fetching.is_complete)
        finally:
            await self.stop()

    async def until_verified(self, index: int) -> None:
        """Wait for a chunk that is being fetched; raises as `fetch` does."""
        have = self._fetching.have
        assert have is not None
        await self._goal.reach(lambda: index in have)

    async def stop(self) -> None:
        """Fetch nothing more, and wait for what is being written."""
        await self._fetching.stop(len(self._roster), self.uploaded)

    def begin(
        self,
        store: DownloadStore,
        wanted: Iterable[int] | None = None,
        *,
        gives: bool = True,
        lasting: Bitfield | None = None,
        make_writer: type[ChunkWriter[SealedGiver]] = ChunkWriter,
    ) -> None:
        """Start to fetch what `store` is missing, or of that what is `wanted`.

        With `gives`, what it has is given on, or of that only what is `lasting`.
        """
        assert self.manifest is not None
        verifier = self.manifest.hash_table
        self._fetching.begin(store, verifier, wanted, make_writer)
        if gives:
            self.serve(self.manifest, store, lasting)
        for peer in self.peers:
            self._fetching.add(peer)
        self._pulling.begin(self.manifest)
        if self._pulling.lacks_pages():
            self._learning.want(self._pulling.lacks_pages())

    async def read_from(self, store: ChunkReader) -> None:
        """Give what was fetched out of another store; the first may be closed then."""
        await self._giving.read_from(store)

    def want(self, indexes: Iterable[int]) -> None:
        """Fetch these chunks as well, in this order."""
        self._fetching.want(indexes)

    def want_first(self, index: int) -> None:
        """Fetch a chunk before all others: somebody waits for it."""
        self._fetching.want_first(index)

    def unwant(self, indexes: Iterable[int]) -> None:
        """Fetch these no more, as far as they have not come."""
        self._fetching.unwant(indexes)

    def forget(self, index: int) -> None:
        """Note that the store has let go of a chunk."""
        self._fetching.forget(index)

    def learn(self, numbers: Iterable[int]) -> None:
        """Fetch these pages of the manifest; nobody waits for them."""
        self._learning.want(numbers)

    def why_nothing_came(self, seconds: float) -> ShoalError:
        """Return the error for somebody who has waited so long, and no longer."""
        outlook = replace(self._outlook(), is_begun=False)
        error = Patience(seconds, 0.0).reason_to_end(seconds, outlook)
        assert error is not None
        return error

    async def drain(self, within: float) -> None:
        """Wait until nobody waits for a chunk of ours, for some seconds at most."""
        deadline = self._loop.time() + within
        while self._loop.time() < deadline:
            is_idle = self._giving.is_idle and not any(
                peer.has_wants or not peer.connection.is_drained for peer in self.peers
            )
            if is_idle:
                return
            await asyncio.sleep(TICK / 5)

    async def leave(self) -> None:
        """Say goodbye to everybody, and wait until they hang up; not for long."""
        await self._roster.leave()

    @property
    def manifest(self) -> Manifest | None:
        """Return what is known of the share; None before the root record came."""
        return self._learning.manifest

    @property
    def peers(self) -> list[SealedPeer]:
        """Return who we are connected with."""
        return list(self._roster.peers.values())

    @property
    def uploaded(self) -> int:
        """Return how many bytes of chunks were sent."""
        return self._giving.sent

    def status(self) -> SwarmStatus:
        """Return how it stands, for whoever shows it."""
        have = self._giving.have
        return SwarmStatus(
            self.manifest,
            self._fetching.have if have is None else have,
            self._fetching.asked,
            (
                *(peer.status() for peer in self.peers),
                *(origin.status() for origin in self._pulling.asked),
            ),
        )

    def accept(self, proven: ProvenPeer) -> Connection[SealedSession]:
        """Return the connection for a peer that dialled us and proved the id.

        Raises `PeerError` when there are too many.
        """
        return self._roster.accept(proven)

    # What the transfer reports.

    def on_verified(self, giver: SealedGiver, index: int) -> None:
        """Give a chunk on, and announce it soon."""
        self._fetching.on_verified()
        size = self._fetching.length(index)
        if isinstance(giver, Origin):
            self._pulling.on_verified(giver)
            self._tally.received[giver.path] += size
        giver.on_verified(size)
        self._giving.on_verified(index)
        self._goal.check()

    def on_lie(self, giver: SealedGiver, index: int) -> None:
        """Drop a peer, or an origin, whose chunk did not verify."""
        if isinstance(giver, Origin):
            self._tally.failures += 1
            self._pulling.ban(giver, index)
        elif isinstance(giver, SealedPeer):
            self._ban(giver, f"chunk {index} did not verify")

    def _on_page_lie(self, peer: SealedPeer, number: int) -> None:
        self._ban(peer, f"manifest page {number} did not verify")

    def _ban(self, peer: SealedPeer, what: str) -> None:
        self._tally.failures += 1
        self._roster.ban(peer, LyingPeerError(what))

    def on_wrong_sizes(self) -> None:
        """Do nothing: the id proves the sizes, so this cannot be."""

    def on_complete(self) -> None:
        """Tell whoever waits for it."""
        self._giving.announce()
        self._goal.check()

    def on_error(self, error: BaseException) -> None:
        """Tell whoever waits that the store failed."""
        self._goal.fail(error)

    def _on_problem(self, error: StoreError) -> None:
        """Tell the user, once, why chunks are not given."""
        if str(error) not in self._told:
            self._told.add(str(error))
            self._on_notice(Notice(str(error)))

    # The clock.

    def _on_tick(self, now: float) -> None:
        self._learning.on_tick(now)
        if self._fetching.is_active:
            self._pulling.on_tick(now)
            for giver in self._fetching.on_tick(len(self._roster), self.uploaded):
                if isinstance(giver, Origin):
                    self._pulling.on_stalled(giver)
                elif isinstance(giver, SealedPeer):
                    self._roster.watch_silence(giver)
            self._roster.drop_slower()
        if not self._goal.is_set:
            return
        error = self._fetching.look(self._outlook())
        if error is not None:
            # Not for ever: who reads here and there may have more luck later.
            self._goal.end(error)

    def _outlook(self) -> Outlook:
        has_only_liars = self._roster.has_only_liars
        if self._pulling.has_any:
            # Somebody was there, or nobody would know what to ask an origin for.
            has_only_liars = not self.peers and self._pulling.has_only_liars
        return Outlook(
            found=self._roster.found,
            ready=len(self._roster),
            has_only_liars=has_only_liars,
            lacks_sizes=False,
            is_begun=self._fetching.is_under_way,
            search=self._search(),
            lack=self._fetching.lack,
            unwritten=self._fetching.unwritten,
            origins=self._pulling.troubles(),
        )
