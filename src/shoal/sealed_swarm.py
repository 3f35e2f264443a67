"""The swarm of one sealed share: the same object leeches and seeds.

`SealedSwarm` owns the peers of the share, what is known of its manifest and, through
them, the transfer and the uploads. It decides on the event loop, synchronously:

    peer proven -> hellos -> the root record -> pages -> the store -> the transfer
    chunk verified -> announced to all, given to whoever asks

Whoever has everything from the start begins with `serve`, everybody else with
`load` and `fetch`.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from random import Random

from shoal.acquaintances import Dial, Found
from shoal.core.bucket import TokenBucket
from shoal.core.chunks import Bitfield
from shoal.core.framing import BufferPool
from shoal.core.manifest import Manifest
from shoal.core.patience import Outlook
from shoal.core.sealed_messages import (
    Ask,
    Cancel,
    Have,
    Hello,
    Page,
    Peers,
    Reason,
    Refuse,
)
from shoal.core.sealed_session import SealedSession
from shoal.core.session import ChunkReceived, Event
from shoal.errors import (
    LyingPeerError,
    ManifestError,
    PeerError,
    ProtocolError,
    StoreError,
)
from shoal.giving import Giving
from shoal.goal import Goal
from shoal.pages import PageFetcher
from shoal.progress import (
    DownloadEvent,
    Notice,
    PeerJoined,
    PeerLeft,
    Started,
)
from shoal.roster import Roster
from shoal.sealed_peer import MAX_WANTED, SealedPeer
from shoal.storage.download import DownloadStore
from shoal.storage.store import ChunkReader
from shoal.transfer import Transfer
from shoal.transport.connection import Connection
from shoal.transport.proven import ProvenPeer
from shoal.vigil import Vigil

__all__ = ["SealedSwarm"]

TICK = 0.25  # seconds between looks at stalled peers and at the clock


class SealedSwarm:
    """Exchange the chunks of one share with everyone who has its link."""

    def __init__(
        self,
        share_id: bytes,
        dial: Dial,
        executor: Executor,
        *,
        node_id: bytes,
        port: int,
        rng: Random,
        pool: BufferPool,
        bucket: TokenBucket,
        bucket_down: TokenBucket,
        timeout: float | None = None,
        on_event: Callable[[DownloadEvent], None] = lambda event: None,
        on_notice: Callable[[Notice], None] = lambda notice: None,
        problems: Callable[[], tuple[str, ...]] = lambda: (),
    ) -> None:
        """Prepare; `node_id` and `port` are what others know us by."""
        self.manifest: Manifest | None = None
        """What is known of the share; None before the root record came."""
        self.shared = asyncio.Event()
        """Set once a peer has, or had, everything."""
        self._id = share_id
        self._executor = executor
        self._port = port
        self._rng = rng
        self._pool = pool
        self._bucket_down = bucket_down
        self._on_event = on_event
        self._on_notice = on_notice
        self._problems = problems
        self._loop = asyncio.get_running_loop()
        self._giving = Giving(
            executor, bucket, rng, lambda: self.peers, self._on_problem
        )
        self._roster = Roster(
            self,
            dial,
            node_id,
            rng=rng,
            pool=pool,
            giving=self._giving,
        )
        self._pages: PageFetcher[SealedPeer] | None = None
        self._transfer: Transfer[SealedPeer] | None = None
        self._goal = Goal()
        self._told: set[str] = set()
        self._vigil = Vigil(timeout, self._loop.time(), on_event)

    # What others do with a swarm.

    def serve(self, manifest: Manifest, store: ChunkReader) -> None:
        """Give the chunks that `store` has from now on."""
        self.manifest = manifest
        self._giving.begin(store)
        for peer in self.peers:
            peer.connection.session.expect_chunks(manifest.chunks.chunk_size)
            self._say_hello(peer)

    async def run(self, found: Iterable[Found]) -> None:
        """Talk to peers until cancelled; then close every connection."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._roster.run(found))
                while True:
                    await asyncio.sleep(TICK)
                    self._on_tick(self._loop.time())
        finally:
            await self._giving.aclose()

    async def load(self, numbers: Callable[[Manifest], Iterable[int]]) -> Manifest:
        """Fetch the root record and the pages that `numbers` names of a manifest.

        Raises `ManifestError` for a hostile one, `NotFoundError` when nobody has it.
        """
        await self._goal.reach(lambda: self.manifest is not None)
        assert self.manifest is not None
        assert self._pages is not None
        wanted = list(numbers(self.manifest))
        self._pages.want(wanted, self._loop.time())
        manifest = self.manifest
        await self._goal.reach(
            lambda: all(manifest.page(n) is not None for n in wanted)
        )
        return manifest

    async def fetch(
        self, store: DownloadStore, wanted: Iterable[int] | None = None
    ) -> None:
        """Fetch what `store` is missing, or of that what is `wanted`, and serve it.

        Raises `UnfinishedError`, `VerificationError` or what the store raises.
        """
        self.begin(store, wanted)
        try:
            await self._goal.reach(lambda: self._is_fetched)
        finally:
            await self.stop()

    async def until_verified(self, index: int) -> None:
        """Wait for a chunk that is being fetched; raises as `fetch` does."""
        transfer = self._transfer
        assert transfer is not None
        await self._goal.reach(lambda: index in transfer.have)

    async def stop(self) -> None:
        """Fetch nothing more, and wait for what is being written."""
        if self._transfer is not None:
            await self._transfer.stop()
            self._tell_progress()

    def begin(
        self,
        store: DownloadStore,
        wanted: Iterable[int] | None = None,
        *,
        gives: bool = True,
    ) -> None:
        """Start to fetch what `store` is missing, or of that what is `wanted`.

        With `gives`, what it has is given on.
        """
        assert self.manifest is not None
        self._transfer = Transfer(
            store,
            self.manifest.hash_table,
            self,
            self._executor,
            rng=self._rng,
            pool=self._pool,
            bucket=self._bucket_down,
            wanted=wanted,
        )
        chunks = store.chunks
        resumed = len(store.have)
        self._on_event(
            Started(chunks.size, chunks.chunk_size, chunks.count, resumed, True)
        )
        self._vigil.begin(self._transfer.done, self._loop.time())
        if gives:
            self.serve(self.manifest, store)
        for peer in self.peers:
            self._add_giver(peer)

    def want(self, indexes: Iterable[int]) -> None:
        """Fetch these chunks as well, before others and in this order."""
        assert self._transfer is not None
        self._transfer.want(indexes)

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

    @property
    def peers(self) -> list[SealedPeer]:
        """Return who we are connected with."""
        return list(self._roster.peers.values())

    @property
    def uploaded(self) -> int:
        """Return how many bytes of chunks were sent."""
        return self._giving.sent

    def accept(self, proven: ProvenPeer) -> Connection[SealedSession]:
        """Return the connection for a peer that dialled us and proved the id.

        Raises `PeerError` when there are too many.
        """
        return self._roster.accept(proven)

    @property
    def _is_fetched(self) -> bool:
        return self._transfer is not None and self._transfer.is_complete

    # Peers come and go.

    def on_connected(self, connection: Connection[SealedSession]) -> None:
        """Greet a peer."""
        peer = self._roster.peers[connection]
        if self.manifest is not None:
            connection.session.expect_chunks(self.manifest.chunks.chunk_size)
        self._say_hello(peer)

    def on_lost(
        self,
        connection: Connection[SealedSession],
        error: PeerError | OSError | None,
    ) -> None:
        """Forget a peer; ask others for what it was asked for."""
        peer = self._roster.remove(connection, error)
        if peer is None:
            return
        if self._pages is not None:
            self._pages.remove(peer, self._loop.time())
        if self._transfer is not None:
            self._transfer.remove(peer)
        self._giving.on_peer_left(peer)
        is_banned = self._roster.is_banned(peer.address)
        reason = str(error) if error is not None else None
        self._on_event(PeerLeft(peer.address, reason, is_banned, peer.verified))

    def _say_hello(self, peer: SealedPeer) -> None:
        if self.manifest is None or self._giving.have is None:
            peer.say_hello(self._port, None, None)
        else:
            peer.say_hello(self._port, self.manifest.root_record, self._giving.have)

    # What peers say.

    def on_events(
        self, connection: Connection[SealedSession], events: list[Event]
    ) -> None:
        """Act on what a peer said; what it may not say ends it."""
        peer = self._roster.peers.get(connection)
        if peer is None:
            return
        if self._transfer is not None:
            self._transfer.on_heard(peer)
        try:
            for event in events:
                self._on_event_of(peer, event)
        except PeerError as error:
            peer.close(error)
            return
        except ManifestError as error:
            self._goal.fail(error)
            return
        if self._transfer is not None:
            self._transfer.on_answers_done(peer)
        self._giving.wake(peer)
        self._give_pages(peer)
        # Whoever does not read what it asked for is not asked what else it wants.
        connection.flush()
        if not connection.is_writable:
            connection.pause_reading()

    def _on_event_of(self, peer: SealedPeer, event: Event) -> None:
        match event:
            case ChunkReceived():
                if self._transfer is not None:
                    self._transfer.on_chunk(peer, event)
            case Ask():
                peer.on_wanted(event)
            case Have():
                self._on_have(peer, event)
            case Hello():
                self._on_hello(peer, event)
            case Page(index=number, data=None):
                peer.on_page_wanted(number)
            case Page(index=number, data=bytes() as data):
                if self._pages is not None:
                    self._pages.on_page(peer, number, data, self._loop.time())
            case Cancel(index=index):
                peer.on_cancelled(index)
            case Refuse(index=index, reason=reason):
                if self._transfer is not None:
                    is_busy = reason == Reason.BUSY
                    self._transfer.on_refused(peer, index, is_busy=is_busy)
            case Peers(addresses=addresses):
                self._roster.on_addresses(peer, addresses)

    def _on_hello(self, peer: SealedPeer, hello: Hello) -> None:
        is_first, peer.is_greeted = not peer.is_greeted, True
        peer.port = hello.port
        if self._roster.is_banned(peer.address):
            raise PeerError("it sent what does not verify a while ago")
        if is_first:
            self._on_event(PeerJoined(peer.address, peer.source))
            self._roster.on_greeted(peer)
            self._roster.introduce(peer)
        if hello.root is None or hello.bitfield is None:
            return
        if self.manifest is None:
            self.manifest = Manifest(self._id, hello.root)
            self._pages = PageFetcher(
                self.manifest,
                on_lie=self._on_page_lie,
                on_page=self._goal.check,
            )
            for each in self.peers:
                each.connection.session.expect_chunks(self.manifest.chunks.chunk_size)
        elif hello.root != self.manifest.root_record:
            raise LyingPeerError("a root record that does not give the id")
        self._on_bitfield(peer, hello.bitfield)
        self._goal.check()

    def _on_bitfield(self, peer: SealedPeer, bits: bytes) -> None:
        assert self.manifest is not None
        try:
            have = Bitfield.from_bytes(bits, self.manifest.chunks.count)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        if peer.have is not None:
            raise ProtocolError("a second bitfield")
        peer.have = have
        if self._pages is not None:
            self._pages.add(peer, self._loop.time())
        self._giving.on_bitfield(peer)
        if have.is_complete:
            self.shared.set()
        self._add_giver(peer)

    def _add_giver(self, peer: SealedPeer) -> None:
        if self._transfer is not None and peer.have is not None:
            have = Bitfield.from_bytes(bytes(peer.have), peer.have.size)
            self._transfer.add(peer, have, gives_any=True, most=MAX_WANTED)

    def _on_have(self, peer: SealedPeer, message: Have) -> None:
        if peer.have is None:
            raise ProtocolError("chunks announced before a bitfield")
        fresh: list[int] = []
        end = 0
        for first, number in message.ranges:
            # Checked before looping: ranges could name the same chunks for ever.
            if first < end or not number or first + number > peer.have.size:
                raise ProtocolError("chunks announced twice, or that do not exist")
            end = first + number
            fresh.extend(i for i in range(first, first + number) if peer.have.add(i))
        self._giving.on_have(peer, fresh)
        if peer.have.is_complete:
            self.shared.set()
        if self._transfer is not None:
            self._transfer.on_have(peer, fresh)

    def _give_pages(self, peer: SealedPeer) -> None:
        if self.manifest is not None:
            peer.give_pages(self.manifest.page)

    def _on_page_lie(self, peer: SealedPeer, number: int) -> None:
        what = f"manifest page {number} did not verify"
        self._roster.ban(peer, LyingPeerError(what))

    def on_writable(self, connection: Connection[SealedSession]) -> None:
        """Go on giving to a peer that takes more."""
        peer = self._roster.peers.get(connection)
        if peer is not None:
            connection.resume_reading()
            self._give_pages(peer)
            self._giving.wake(peer)

    # What the transfer reports.

    def on_verified(self, giver: SealedPeer, index: int) -> None:
        """Give a chunk on, and announce it soon."""
        self._vigil.on_news(self._loop.time())
        giver.verified += 1
        self._giving.on_verified(index)
        self._goal.check()

    def on_lie(self, giver: SealedPeer, index: int) -> None:
        """Drop a peer whose chunk did not verify."""
        what = f"chunk {index} did not verify"
        self._roster.ban(giver, LyingPeerError(what))

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
        if self._pages is not None:
            self._pages.on_tick(now)
        if self._transfer is not None and not self._transfer.is_complete:
            self._tell_progress()
            for peer in self._transfer.on_tick(now):
                self._roster.watch_silence(peer)
            self._roster.drop_slower()
        if not self._goal.is_set:
            return
        error = self._vigil.look(self._outlook(), now)
        if error is not None:
            self._goal.fail(error)

    def _tell_progress(self) -> None:
        assert self._transfer is not None
        done, size = self._transfer.done, self._transfer.chunks.size
        self._vigil.tell_progress(done, size, len(self._roster), self._loop.time())

    def _outlook(self) -> Outlook:
        return Outlook(
            found=self._roster.found,
            ready=len(self._roster),
            has_only_liars=self._roster.has_only_liars,
            lacks_sizes=False,
            is_begun=self._transfer is not None and self._transfer.done > 0,
            problems=self._problems(),
        )
