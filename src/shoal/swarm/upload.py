"""What this node uploads of one sealed share.

An `Upload` exists once there is a store to read chunks from. It owns the bitfield that
peers are told, the queue of each peer's requests, the choice of the chunk for a
request that accepts any, and when new chunks are announced. In which order the peers
are served is decided by its `Uploader`, and what one peer is sent by `PeerReceiver`.
"""

import asyncio
from collections.abc import Collection, Sequence
from functools import partial

from shoal.core.manifest.blocks import Run, block_count, run_span
from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.report.events import Notice
from shoal.core.schedule.announcements import Announcements
from shoal.core.schedule.rarest import RarestFirst
from shoal.core.schedule.turns import Contributions
from shoal.core.session.request_queue import BlocksToSend
from shoal.core.wire.sealed_messages import (
    BlockRequest,
    Cancel,
    Reason,
    SealedRequest,
)
from shoal.errors import ShoalError, StoreError
from shoal.resources import Resources
from shoal.storage.store import ChunkReader, Span
from shoal.swarm.peer import Peer
from shoal.swarm.receiver import PeerReceiver
from shoal.swarm.served_hashes import ServedHashes, WrongCopyError
from shoal.transfer.receiver import Receiver
from shoal.transfer.uploader import Uploader

__all__ = ["Upload"]

MAX_REPORTED = 100  # files of a share whose change is reported
MAX_PENDING = 8  # requests of one peer that wait for block hashes to be computed


class Upload:
    """Serve the chunks of one share to its peers."""

    def __init__(
        self,
        store: ChunkReader,
        have: Bitfield,
        resources: Resources,
        manifest: Manifest,
        kept: Bitfield | None = None,
    ) -> None:
        """Serve the chunks in `have` out of `store`.

        The owner of `have` adds to it before calling `on_stored`. With `kept`, serve
        only those of them that will stay after the download. The user is notified of
        files whose chunks cannot be read, or do not verify any more.
        """
        self.have = have
        """The chunks that peers are told we have."""
        self._kept = kept
        if kept is not None:
            self.have = Bitfield.from_bytes(bytes(have), have.size)
            for index in kept.missing():
                self.have.discard(index)
        self.rarest: RarestFirst[PeerReceiver] = RarestFirst(self.have, resources.rng)
        """Chooses the chunk for a request that accepts any."""
        self._contributions: Contributions[PeerReceiver] = Contributions(
            lambda: self.have.is_complete
        )
        self._announcements: Announcements[PeerReceiver] = Announcements(
            self.have, lambda receiver: receiver.peer.have, self._contributions.rank
        )
        self._resources = resources
        self._reported: set[str] = set()  # problems that the user knows
        self._manifest = manifest
        self._threads = resources.threads
        self._store = store
        self._withheld: set[int] = set()  # chunks that do not verify any more
        self._checks: dict[int, asyncio.Future[bool]] = {}
        self._hashes = ServedHashes(store, manifest, resources)
        self._counters = resources.counters
        self._uploader = Uploader(store, resources, self._rank)
        self._receivers: dict[Peer, PeerReceiver] = {}
        self._timer_at = 0.0  # loop time
        self._timer: asyncio.Handle | None = None  # of the next announcement
        self._is_closed = False
        self._loop = asyncio.get_running_loop()

    @property
    def sent(self) -> int:
        """Return how many bytes of chunks were sent."""
        return self._uploader.sent

    @property
    def is_complete(self) -> bool:
        """Return True if we have every chunk."""
        return self.have.is_complete

    @property
    def receivers(self) -> int:
        """Return how many peers can request chunks."""
        return len(self._receivers)

    @property
    def is_idle(self) -> bool:
        """Return True if no peer waits for a chunk or for its delivery."""
        return self._uploader.is_idle and not any(
            each.queue.requests
            or each.queue.pending
            or not each.peer.connection.is_drained
            for each in self._receivers.values()
        )

    async def read_from(self, store: ChunkReader) -> None:
        """Read chunks from another store; then the old one may be closed.

        Chunks that the other store lacks are no longer served or announced.
        """
        for index in store.have.missing():
            if self.have.discard(index):
                self.rarest.discard(index)
        self._store = store
        await self._uploader.read_from(store)
        await self._hashes.read_from(store)

    async def aclose(self) -> None:
        """Serve nothing more; idempotent."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._uploader.aclose()
        await self._hashes.aclose()
        if self._checks:
            await asyncio.wait(list(self._checks.values()))
            self.on_tick()

    # Peers and their chunks.

    def on_hello_sent(self, peer: Peer) -> None:
        """Note a peer that was just told, in a hello, of all the chunks we have."""
        receiver = self._receivers[peer] = PeerReceiver(peer, self)
        self._announcements.on_peer_joined(receiver)
        if peer.have is not None:
            self.rarest.on_peer_joined(receiver, peer.have)

    def on_bitfield(self, peer: Peer, have: Bitfield) -> None:
        """Note the chunks that a peer announced first."""
        receiver = self._receivers.get(peer)
        if receiver is not None:
            self.rarest.on_peer_joined(receiver, have)
            self._contributions.on_peer_joined(receiver, have)

    def on_verified(self, peer: Peer, chunks: int) -> None:
        """Note how many chunks verified that a peer has sent."""
        receiver = self._receivers.get(peer)
        if receiver is not None:
            self._contributions.on_verified(receiver, chunks)

    def on_sending(self, receiver: PeerReceiver, index: int) -> None:
        """Note a chunk that is about to be sent to a peer."""
        self.rarest.on_sent(receiver, index)
        is_first = self.rarest.level(index) == 1
        self._contributions.on_sent(receiver, index, is_first=is_first)

    def _rank(self, receiver: Receiver) -> float:
        assert isinstance(receiver, PeerReceiver)
        return self._contributions.rank(receiver)

    def on_have(self, peer: Peer, indexes: Collection[int] | Bitfield) -> None:
        """Note chunks that a peer announced later."""
        receiver = self._receivers.get(peer)
        if receiver is None:
            return
        if isinstance(indexes, Bitfield):
            self.rarest.on_have_all(receiver, indexes)
        else:
            for index in indexes:
                self.rarest.on_have(receiver, index)
                self._contributions.on_have(receiver, index)

    def remove(self, peer: Peer) -> None:
        """Forget a peer that has left, and its requests."""
        receiver = self._receivers.pop(peer, None)
        if receiver is not None:
            self._announcements.on_peer_left(receiver)
            self.rarest.on_peer_left(receiver)
            self._contributions.remove(receiver)
            self._uploader.remove(receiver)

    # Requests.

    def length(self, wanted: int | Span) -> int:
        """Return the size of a chunk or span in bytes; 0 for a chunk beyond the end."""
        if isinstance(wanted, Span):
            return wanted.end - wanted.first
        chunks = self._store.chunks
        return chunks.length(wanted) if wanted < chunks.count else 0

    def on_request(self, peer: Peer, request: SealedRequest) -> None:
        """Queue a request, or refuse it."""
        queue = self._receivers[peer].queue
        reason = queue.add(request.index, self._may_send)
        if reason is not None:
            peer.refuse(request.index, reason)

    def on_block_request(self, peer: Peer, request: BlockRequest) -> None:
        """Queue a request for blocks, or refuse it.

        Their hashes may have to be computed first, which costs as much as reading the
        whole chunk, so a peer that causes that often has to wait.
        """
        receiver = self._receivers[peer]
        queue, index = receiver.queue, request.index
        reason = queue.refusal(index, self._may_send)
        hashes = self._hashes.find(index) if request.hashes and not reason else None
        if reason is None and (hashes is not None or not request.hashes):
            queue.requests.append(BlocksToSend(request, hashes))
            return
        if reason is None and len(queue.pending) >= MAX_PENDING:
            reason = Reason.BUSY
        if reason is not None:
            peer.refuse(index, reason, request.read)
            return
        queue.pending[request.read] = request
        peer.connection.message_limit.add(block_count(self._manifest.chunks, index))
        then = partial(self._on_hashed, receiver, request)
        self._hashes.compute(index, then)

    def _on_hashed(
        self, receiver: PeerReceiver, request: BlockRequest, result: bytes | Exception
    ) -> None:
        """Send the blocks that waited for their hashes, or refuse them."""
        peer, pending = receiver.peer, receiver.queue.pending
        if isinstance(result, WrongCopyError):
            self._withhold(request.index)
        if self._receivers.get(peer) is not receiver:
            return  # the peer has left
        if pending.get(request.read) is not request:
            return  # it was cancelled
        del pending[request.read]
        if isinstance(result, bytes):
            receiver.queue.requests.append(BlocksToSend(request, result))
            self.serve(peer)
            return
        if not isinstance(result, WrongCopyError):
            self.on_unreadable(request.index, result)
        peer.refuse(request.index, Reason.MISSING, request.read)

    def span_of(self, blocks: BlocksToSend) -> Span:
        """Return the bytes that a request for blocks asks for."""
        request = blocks.request
        run = Run(request.index, request.first, request.count)
        return Span(request.index, *run_span(self._manifest.chunks, run))

    def on_cancel(self, peer: Peer, cancel: Cancel) -> None:
        """Remove a request from the queue; one for blocks is refused then."""
        queue = self._receivers[peer].queue
        if cancel.read is None:
            queue.cancel(cancel.index)
        elif queue.cancel_blocks(cancel.read):
            peer.refuse(cancel.index, Reason.CANCELLED, cancel.read)

    def serve(self, peer: Peer) -> None:
        """Send a peer the chunks it requested, when its turn comes."""
        receiver = self._receivers[peer]
        if not receiver.queue.requests:
            self.on_served(receiver)
            if receiver.is_writable:
                self._uploader.on_writable(receiver)
            return
        self._announcements.on_receiving(receiver, self._loop.time())
        if not self._serve_now(receiver):
            self._uploader.wake(receiver)

    def _serve_now(self, receiver: PeerReceiver) -> bool:
        """Answer a single request at once, if no other peer is waiting."""
        lone = receiver.queue.lone
        if lone is None or not receiver.is_writable:
            return False
        wanted = self.span_of(lone) if isinstance(lone, BlocksToSend) else lone
        data = self._uploader.read_now(wanted)
        if data is None:
            return False
        receiver.send_now(lone, data)
        self._uploader.on_sent(receiver, [len(data)])
        self._counters.turns.add(0.0)
        return True

    def on_served(self, receiver: PeerReceiver) -> None:
        """Announce to the next peer once this one waits for nothing more."""
        if not receiver.queue.requests and receiver.is_writable:
            if self._announcements.on_served(receiver, self._loop.time()):
                self.announce_soon()

    def on_unreadable(self, index: int, error: Exception) -> None:
        """Stop choosing a chunk that cannot be read or is not what it was.

        A request for its index reads it again: the file may have been repaired.
        """
        self.rarest.discard(index)
        if not isinstance(error, KeyError):
            self._on_problem(error)

    # Chunks that a receiver reports as wrong.

    def _may_send(self, index: int) -> bool:
        return index in self.have and index not in self._withheld

    def on_wrong(self, index: int) -> None:
        """Check a chunk that did not verify at a receiver; withhold it if it is wrong.

        One check runs at a time, so that reports cannot keep the disk busy.
        """
        if not self._may_send(index) or self._checks:
            return
        check = self._loop.run_in_executor(self._threads, self._is_right, index)
        self._checks[index] = check

    def _is_right(self, index: int) -> bool:
        try:
            data = self._store.get(index)
        except (KeyError, ShoalError):
            return True  # it is refused when it is requested, with the reason
        return self._manifest.hash_table.verifies(index, data)

    def on_tick(self) -> None:
        """Act on the checks that have ended; raise the error of one that failed."""
        for index in [index for index, each in self._checks.items() if each.done()]:
            if not self._checks.pop(index).result():
                self._withhold(index)

    def _withhold(self, index: int) -> None:
        """Send a chunk no more that does not verify."""
        self._withheld.add(index)
        self.rarest.discard(index)
        name = self._manifest.root.name
        self._on_problem(
            StoreError(
                f"The data of {name} changed on the disk since it was shared, though "
                "no file has a new time. Chunks that changed are not sent; share it "
                "again."
            )
        )

    def _on_problem(self, error: Exception) -> None:
        """Notify the user, once for each file, why chunks cannot be served."""
        text = str(error)
        if text not in self._reported and len(self._reported) <= MAX_REPORTED:
            self._reported.add(text)
            if len(self._reported) > MAX_REPORTED:
                text = (
                    "More files changed; their chunks are not sent, "
                    "and they are not named."
                )
            self._resources.on_notice(Notice(text))

    # Announcements.

    def on_stored(self, indexes: Sequence[int]) -> None:
        """Serve chunks from now on; `announce_soon` follows."""
        if self._kept is not None:
            # Others would be refused as soon as the download has ended.
            indexes = [index for index in indexes if index in self._kept]
            for index in indexes:
                self.have.add(index)
        for index in indexes:
            self.rarest.add(index)
        self._announcements.on_chunks(indexes)

    def announce_soon(self) -> None:
        """Announce when it is time, after the callbacks that are already due."""
        when = self._announcements.soon_at(self._loop.time())
        if when is not None:
            self._announce_at(when)

    def _announce_at(self, when: float) -> None:
        """Announce then, unless that is due before."""
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        if not self._is_closed:
            self._timer_at = when
            self._timer = self._loop.call_at(when, self.announce)

    def announce(self) -> None:
        """Announce new chunks to the peers whose turn it is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        for receiver, indexes in self._announcements.due(now):
            receiver.peer.announce(indexes)
        again = self._announcements.due_at(now)
        if again is not None:
            self._announce_at(again)
