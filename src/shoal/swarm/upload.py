"""What this node has of one sealed share, and gives to its peers.

`Giving` owns the bitfield that peers are told, the order in which they are served
and the choice of what "any chunk" is.
"""

import asyncio
from collections.abc import Callable, Iterable

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.announcements import News
from shoal.core.schedule.rarest import Spread
from shoal.errors import StoreError
from shoal.resources import Means
from shoal.storage.store import ChunkReader
from shoal.swarm.peer import SealedPeer
from shoal.transfer.uploader import Uploader

__all__ = ["Giving"]


class Giving:
    """Give the chunks of one share that are here."""

    def __init__(
        self,
        means: Means,
        peers: Callable[[], Iterable[SealedPeer]],
        on_problem: Callable[[StoreError], None],
    ) -> None:
        """Have nothing yet; `peers` says who hears of what there is.

        `on_problem` hears why chunks cannot be given.
        """
        self._means = means
        self._on_problem = on_problem
        self.have: Bitfield | None = None
        """Which chunks are here; None before it is known how many there are."""
        self._peers = peers
        self._lasting: Bitfield | None = None  # what will stay here; None for all
        self._uploader: Uploader | None = None
        self._spread: Spread[SealedPeer] | None = None
        self._news: News[SealedPeer] | None = None
        self._announcing: asyncio.Handle | None = None
        self._is_soon = False
        self._loop = asyncio.get_running_loop()

    @property
    def sent(self) -> int:
        """Return how many bytes of chunks were given."""
        return self._uploader.sent if self._uploader is not None else 0

    def begin(self, store: ChunkReader, lasting: Bitfield | None = None) -> None:
        """Give what `store` has from now on, or of that only what is `lasting`."""
        self._lasting = lasting
        self.have = Bitfield.from_bytes(bytes(store.have), store.have.size)
        for index in lasting.missing() if lasting is not None else ():
            self.have.discard(index)
        means = self._means
        self._spread = Spread(self.have, means.rng)
        self._news = News(self.have, lambda peer: peer.have)
        self._uploader = Uploader(store, means.threads, means.up, means.tally)
        for peer in self._peers():
            self.on_bitfield(peer)

    async def read_from(self, store: ChunkReader) -> None:
        """Give chunks out of another store; then the old one may be closed.

        What the other has not got is given no more, and newcomers are not told of it.
        """
        if self.have is not None and self._spread is not None:
            for index in store.have.missing():
                if self.have.discard(index):
                    self._spread.on_gone(index)
        if self._uploader is not None:
            await self._uploader.read_from(store)

    async def aclose(self) -> None:
        """Give nothing more; idempotent."""
        self._news = None
        if self._announcing is not None:
            self._announcing.cancel()
        if self._uploader is not None:
            await self._uploader.aclose()

    # What peers have.

    def on_bitfield(self, peer: SealedPeer) -> None:
        """Note what a peer announced first."""
        if self._spread is not None and peer.have is not None:
            self._spread.on_peer_joined(peer, peer.have)

    def on_have(self, peer: SealedPeer, indexes: Iterable[int]) -> None:
        """Note what a peer announced since."""
        if self._spread is not None:
            for index in indexes:
                self._spread.on_have(peer, index)

    def on_peer_left(self, peer: SealedPeer) -> None:
        """Forget a peer."""
        if self._news is not None:
            self._news.on_peer_left(peer)
        if self._spread is not None:
            self._spread.on_peer_left(peer)
        if self._uploader is not None:
            self._uploader.remove(peer)

    # What peers are given.

    @property
    def is_whole(self) -> bool:
        """Say whether everything is here."""
        return self.have is not None and self.have.is_complete

    def has(self, index: int) -> bool:
        """Say whether a chunk can be given."""
        return self.have is not None and index in self.have

    def choose(self, peer: SealedPeer) -> int | None:
        """Return the chunk that a peer should be given when any will do."""
        return self._spread.next_for(peer) if self._spread is not None else None

    def on_given(self, peer: SealedPeer, index: int) -> None:
        """Note a chunk on its way that the peer chose."""
        if self._spread is not None:
            self._spread.on_given(peer, index)

    def on_gone(self, index: int, error: Exception) -> None:
        """Choose a chunk no more: it cannot be read, or is not what it was.

        Asked for by its index it is looked at again: a file may be mended.
        """
        if self._spread is not None:
            self._spread.on_gone(index)
        if isinstance(error, StoreError):
            self._on_problem(error)

    @property
    def is_idle(self) -> bool:
        """Say whether nothing is being read for anybody."""
        return self._uploader is None or self._uploader.is_idle

    def wake(self, peer: SealedPeer) -> None:
        """Serve a peer that wants something and takes it."""
        if self._uploader is None:
            return  # nothing is given here
        if peer.has_wants:
            if self._news is not None:
                self._news.on_taking(peer)
            if not self._give_at_once(peer, self._uploader):
                self._uploader.wake(peer)
        else:
            self.on_served(peer)

    def _give_at_once(self, peer: SealedPeer, uploader: Uploader) -> bool:
        """Answer the lone request of a peer, if nobody has to wait for that."""
        index = peer.lone_want
        if index is None or not peer.is_writable:
            return False
        data = uploader.give_now(index)
        if data is None:
            return False
        peer.give(index, data)
        self._means.tally.turns.add(0.0)
        return True

    # What is new here.

    def on_told_all(self, peer: SealedPeer) -> None:
        """Note a peer that was just told of all there is."""
        if self._news is not None:
            self._news.on_peer_joined(peer)

    def on_served(self, peer: SealedPeer) -> None:
        """Note a peer that may wait for nothing more: another may be told then."""
        if self._news is not None and not peer.is_taking:
            if self._news.on_served(peer):
                self._announce_soon()

    def on_verified(self, index: int) -> None:
        """Give a chunk from now on, and announce it soon."""
        if self.have is None or self._spread is None or self._news is None:
            return
        if self._lasting is not None and index not in self._lasting:
            return  # to be told of what will be refused soon helps nobody
        if self.have.add(index):
            self._spread.on_chunk(index)
            self._news.on_chunk(index)
            self._announce_soon()

    def _announce_soon(self) -> None:
        """Announce once all that is being done has been done."""
        if not self._is_soon:
            self._is_soon = True
            self._wake_at(self._loop.time())

    def _wake_at(self, when: float) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
        self._announcing = self._loop.call_at(when, self.announce)

    def announce(self) -> None:
        """Tell those whose turn it is what is new, and go on while others wait."""
        if self._announcing is not None:
            self._announcing.cancel()
            self._announcing = None
        self._is_soon = False
        if self._news is None:
            return
        now = self._loop.time()
        for peer, news in self._news.due(now):
            peer.announce(news)
        again = self._news.due_at(now)
        if again is not None:
            self._wake_at(again)
