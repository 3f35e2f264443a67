"""What this node fetches of one sealed share, from the first request to the last.

`Fetching` owns the transfer and the watch over it. There is no transfer before it is
known what to fetch. Who is asked, and what becomes of liars, is the swarm's to say.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from shoal.core.manifest.chunks import Bitfield
from shoal.core.report.events import DownloadEvent
from shoal.core.report.outlook import Lack, Outlook
from shoal.core.session.request_queue import MAX_WANTED
from shoal.core.session.session import ChunkReceived
from shoal.errors import ShoalError
from shoal.resources import Means
from shoal.storage.store import DownloadStore
from shoal.swarm.peer import SealedPeer
from shoal.transfer.download import Giver, Transfer, Watcher
from shoal.transfer.monitor import Vigil
from shoal.transfer.writer import ChunkWriter, Verifier

__all__ = ["Fetching", "SealedGiver"]


class SealedGiver(Giver, Protocol):
    """Give chunks of a sealed share: a peer or an origin."""

    verified: int
    """Chunks that it gave and that verified."""

    def on_verified(self, size: int) -> None:
        """Note a chunk of `size` bytes that it gave and that verified."""


class Fetching:
    """Fetch chunks of one share; until `begin`, nothing."""

    def __init__(
        self,
        watcher: Watcher[SealedGiver],
        means: Means,
        *,
        timeout: float | None,
        on_event: Callable[[DownloadEvent], None],
    ) -> None:
        """Prepare; `timeout` is the longest wait for a new chunk, in seconds."""
        self._watcher = watcher
        self._means = means
        self._clock = asyncio.get_running_loop().time
        self._vigil = Vigil(timeout, self._clock(), on_event)
        self._transfer: Transfer[SealedGiver] | None = None

    def begin(
        self,
        store: DownloadStore,
        verifier: Verifier,
        wanted: Iterable[int] | None,
        make_writer: type[ChunkWriter[SealedGiver]] = ChunkWriter,
    ) -> None:
        """Fetch what `store` is missing, or of that what is `wanted`, from now on."""
        self._transfer = Transfer(
            store,
            verifier,
            self._watcher,
            self._means.threads,
            rng=self._means.rng,
            pool=self._means.pool,
            bucket=self._means.down,
            wanted=wanted,
            make_writer=make_writer,
            tally=self._means.tally,
        )
        done, resumed = self._transfer.done, len(store.have)
        self._vigil.begin(store.chunks, resumed, done, self._clock(), verified=True)

    async def stop(self, peers: int, uploaded: int) -> None:
        """Fetch nothing more, and wait for what is being written."""
        if self._transfer is not None:
            await self._transfer.stop()
            self._tell_progress(peers, uploaded)

    @property
    def is_active(self) -> bool:
        """Say whether something that is wanted is not here yet."""
        return self._transfer is not None and not self._transfer.is_complete

    @property
    def is_complete(self) -> bool:
        """Say whether all that is wanted is here."""
        return self._transfer is not None and self._transfer.is_complete

    @property
    def is_under_way(self) -> bool:
        """Say whether something is here, of what was fetched or before."""
        return self._transfer is not None and self._transfer.done > 0

    @property
    def lack(self) -> Lack | None:
        """Return what no peer has, if nothing else is left to ask for."""
        return self._transfer.lack if self._transfer is not None else None

    @property
    def unwritten(self) -> int:
        """Return how many bytes came and are not verified and written."""
        return self._transfer.unwritten if self._transfer is not None else 0

    @property
    def have(self) -> Bitfield | None:
        """Return which chunks are verified and written; None before `begin`."""
        return self._transfer.have if self._transfer is not None else None

    @property
    def asked(self) -> frozenset[int]:
        """Return which chunks are on their way, or wait for their verdict."""
        return self._transfer.asked if self._transfer is not None else frozenset()

    def length(self, index: int) -> int:
        """Return how many bytes a chunk that is being fetched has."""
        assert self._transfer is not None
        return self._transfer.chunks.length(index)

    def want(self, indexes: Iterable[int]) -> None:
        """Fetch these chunks as well, in this order."""
        assert self._transfer is not None
        self._transfer.want(indexes)

    def want_first(self, index: int) -> None:
        """Fetch a chunk before all others: somebody waits for it."""
        assert self._transfer is not None
        self._transfer.want_first(index)

    def unwant(self, indexes: Iterable[int]) -> None:
        """Fetch these no more, as far as they have not come."""
        assert self._transfer is not None
        self._transfer.unwant(indexes)

    def forget(self, index: int) -> None:
        """Note that the store has let go of a chunk."""
        assert self._transfer is not None
        self._transfer.forget(index)

    # What peers have and give.

    def add(self, peer: SealedPeer) -> None:
        """Ask a peer, too, once it has said what it has."""
        if self._transfer is not None and peer.have is not None:
            have = Bitfield.from_bytes(bytes(peer.have), peer.have.size)
            self._transfer.add(peer, have, gives_any=True, most=MAX_WANTED)

    def add_origin(self, origin: SealedGiver) -> None:
        """Ask an origin for what no peer has nor is about to have."""
        if self._transfer is not None:
            self._transfer.add_origin(origin)

    def remove(self, peer: SealedGiver) -> None:
        """Ask others for what a peer was asked for."""
        if self._transfer is not None:
            self._transfer.remove(peer)

    def on_have(self, peer: SealedPeer, indexes: Iterable[int]) -> None:
        """Note what a peer has since."""
        if self._transfer is not None:
            self._transfer.on_have(peer, indexes)

    def on_pulling(self, peer: SealedPeer, indexes: Iterable[int]) -> None:
        """Note what a peer is asking an origin for."""
        if self._transfer is not None:
            self._transfer.on_pulling(peer, indexes)

    def puller(self, index: int) -> SealedGiver | None:
        """Return which peer says that it asks an origin for a chunk, if one does."""
        return None if self._transfer is None else self._transfer.puller(index)

    def take_back(self, origin: SealedGiver, indexes: Iterable[int]) -> None:
        """Ask whomever else for these, which an origin was to give."""
        if self._transfer is not None:
            self._transfer.take_back(origin, indexes)

    def on_heard(self, peer: SealedGiver, *, is_ahead: bool = False) -> None:
        """Note that a peer is alive, and whether it sends more than we can take."""
        if self._transfer is not None:
            self._transfer.on_heard(peer, is_ahead=is_ahead)

    def on_chunk(self, peer: SealedGiver, chunk: ChunkReceived) -> None:
        """Have a chunk verified and written."""
        if self._transfer is not None:
            self._transfer.on_chunk(peer, chunk)

    def on_refused(
        self, peer: SealedGiver, index: int | None, *, is_busy: bool
    ) -> None:
        """Ask others for what a peer will not give; one that is busy, later."""
        if self._transfer is not None:
            self._transfer.on_refused(peer, index, is_busy=is_busy)

    def on_answers_done(self, peer: SealedGiver) -> None:
        """Ask for more after all that came in one read."""
        if self._transfer is not None:
            self._transfer.on_answers_done(peer)

    def on_verified(self) -> None:
        """Note that there is a new chunk: nobody has waited in vain."""
        self._vigil.on_news(self._clock())

    # The clock.

    def on_tick(self, peers: int, uploaded: int) -> list[SealedGiver]:
        """Ask others for what stalled peers owe; return those that stall now.

        How many `peers` there are and how many bytes were `uploaded` is told.
        """
        assert self._transfer is not None
        self._tell_progress(peers, uploaded)
        return self._transfer.on_tick(self._clock())

    def look(self, outlook: Outlook) -> ShoalError | None:
        """Tell a stall when it is time to; return the error to end with, if any."""
        return self._vigil.look(outlook, self._clock())

    def _tell_progress(self, peers: int, uploaded: int) -> None:
        assert self._transfer is not None
        done, size = self._transfer.done, self._transfer.chunks.size
        self._vigil.tell_progress(done, size, peers, self._clock(), uploaded)
