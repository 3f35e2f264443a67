"""What this node uploads of one sealed share.

An `Upload` exists once there is a store to read chunks from. It owns the bitfield that
peers are told, the queue of each peer's requests, the choice of the chunk for a
request that accepts any, and when new chunks are announced. In which order the peers
are served is decided by its `Uploader`.
"""

import asyncio
from collections.abc import Callable, Collection, Hashable

from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.manifest import Manifest
from shoal.core.schedule.announcements import Announcements
from shoal.core.schedule.rarest import RarestFirst
from shoal.core.schedule.turns import Contributions
from shoal.core.session.request_queue import RequestQueue
from shoal.core.wire.messages import response_header
from shoal.core.wire.sealed_messages import Reason, SealedRequest
from shoal.errors import ShoalError, StoreError
from shoal.resources import Resources
from shoal.storage.store import ChunkReader
from shoal.swarm.peer import Peer
from shoal.transfer.responses import write_chunks
from shoal.transfer.uploader import Receiver, Uploader

__all__ = ["Upload"]

FIRST_PART = 32 * 1024  # bytes of a single chunk that are sent before the rest
# Waking up the peer early gains little where the rest takes long.
MAX_SPLIT = 256 * 1024  # bytes of a chunk that is sent in two parts


class _Receiver:
    """Serve the requests of one peer; the `Receiver` of an `Uploader`."""

    def __init__(self, peer: Peer, upload: "Upload") -> None:
        self.peer = peer
        self.queue = RequestQueue()
        self._upload = upload
        self._chosen: set[Hashable] = set()  # chunks that we chose and have not sent

    @property
    def is_writable(self) -> bool:
        """Return True if the peer's socket accepts more."""
        return self.peer.connection.is_writable

    def next_requests(self, limit: int) -> list[tuple[int, Hashable]]:
        """Return the next chunks to send.

        The chunk for a request that accepts any is chosen here, as late as possible.
        """
        upload = self._upload
        chunks: list[tuple[int, Hashable]] = []
        while self.queue.requests and len(chunks) < limit:
            index, was_any = self.queue.take(
                lambda: upload.rarest.next_for(self, self.peer.wanted)
            )
            if index is None:
                self.peer.refuse(None, Reason.NOTHING)
                continue
            if was_any:
                self._chosen.add(index)
            upload.on_sending(self, index)
            chunks.append((index, index))
        return chunks

    def send(self, chunks: list[tuple[Hashable, bytes]]) -> None:
        """Send chunks."""
        write_chunks(self.peer.connection, chunks)
        self._chosen.difference_update(index for index, _ in chunks)
        self.peer.on_sent(sum(len(data) for _, data in chunks))
        self._upload.on_served(self)

    def send_now(self, index: int, data: bytes) -> None:
        """Send the only chunk that the peer has requested, without `next_requests`.

        In two parts: the peer wakes up for the first while the second is encrypted.
        """
        connection = self.peer.connection
        self.queue.cancel(index)
        connection.on_chunks_sent(1)
        header = response_header(index, len(data))
        if len(data) > MAX_SPLIT:
            connection.writelines((header, data))
        else:
            connection.write(header + data[:FIRST_PART])
            if len(data) > FIRST_PART:
                connection.write(memoryview(data)[FIRST_PART:])
        self._upload.on_sending(self, index)
        self.peer.on_sent(len(data))
        self._upload.on_served(self)

    def refuse(self, notes: list[Hashable], error: Exception) -> None:
        """Refuse chunks that cannot be read."""
        for index in notes:
            assert isinstance(index, int)
            self._upload.on_unreadable(index, error)
            if index in self._chosen:
                self._chosen.discard(index)
                self.peer.refuse(None, Reason.NOTHING)
            else:
                self.peer.refuse(index, Reason.MISSING)
        self._upload.on_served(self)


class Upload:
    """Serve the chunks of one share to its peers."""

    def __init__(
        self,
        store: ChunkReader,
        have: Bitfield,
        resources: Resources,
        on_problem: Callable[[Exception], None],
        manifest: Manifest,
        kept: Bitfield | None = None,
    ) -> None:
        """Serve the chunks in `have` out of `store`.

        The owner of `have` adds to it before calling `on_stored`. With `kept`, serve
        only those of them that will stay after the download. `on_problem` is called
        with the reason when a chunk cannot be read, or does not verify any more.
        """
        self.have = have
        """The chunks that peers are told we have."""
        self._kept = kept
        if kept is not None:
            self.have = Bitfield.from_bytes(bytes(have), have.size)
            for index in kept.missing():
                self.have.discard(index)
        self.rarest: RarestFirst[_Receiver] = RarestFirst(self.have, resources.rng)
        """Chooses the chunk for a request that accepts any."""
        self._contributions: Contributions[_Receiver] = Contributions(
            lambda: self.have.is_complete
        )
        self._announcements: Announcements[_Receiver] = Announcements(
            self.have, lambda receiver: receiver.peer.have, self._contributions.rank
        )
        self._on_problem = on_problem
        self._manifest = manifest
        self._threads = resources.threads
        self._store = store
        self._withheld: set[int] = set()  # chunks that do not verify any more
        self._checks: dict[int, asyncio.Future[bool]] = {}
        self._counters = resources.counters
        self._uploader = Uploader(store, resources, self._rank)
        self._receivers: dict[Peer, _Receiver] = {}
        self._timer: asyncio.Handle | None = None  # of the next announcement
        self._is_soon = False
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
    def is_idle(self) -> bool:
        """Return True if no peer waits for a chunk or for its delivery."""
        return self._uploader.is_idle and not any(
            each.queue.requests or not each.peer.connection.is_drained
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

    async def aclose(self) -> None:
        """Serve nothing more; idempotent."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._uploader.aclose()
        if self._checks:
            await asyncio.wait(list(self._checks.values()))
            self.on_tick()

    # Peers and their chunks.

    def on_hello_sent(self, peer: Peer) -> None:
        """Note a peer that was just told, in a hello, of all the chunks we have."""
        receiver = self._receivers[peer] = _Receiver(peer, self)
        self._announcements.on_peer_joined(receiver)
        if peer.have is not None:
            self.rarest.on_peer_joined(receiver, peer.have)

    def on_bitfield(self, peer: Peer, have: Bitfield) -> None:
        """Note the chunks that a peer announced first."""
        receiver = self._receivers.get(peer)
        if receiver is not None:
            self.rarest.on_peer_joined(receiver, have)
            self._contributions.on_peer_joined(receiver, have)

    def on_verified(self, peer: Peer) -> None:
        """Note a chunk that a peer sent and that verified."""
        receiver = self._receivers.get(peer)
        if receiver is not None:
            self._contributions.on_verified(receiver)

    def on_sending(self, receiver: _Receiver, index: int) -> None:
        """Note a chunk that is about to be sent to a peer."""
        self.rarest.on_sent(receiver, index)
        is_first = self.rarest.level(index) == 1
        self._contributions.on_sent(receiver, index, is_first=is_first)

    def _rank(self, receiver: Receiver) -> float:
        assert isinstance(receiver, _Receiver)
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

    def on_request(self, peer: Peer, request: SealedRequest) -> None:
        """Queue a request, or refuse it."""
        queue = self._receivers[peer].queue
        reason = queue.add(request.index, self._may_send)
        if reason is not None:
            peer.refuse(request.index, reason)

    def on_cancel(self, peer: Peer, index: int) -> None:
        """Remove a request from the queue."""
        self._receivers[peer].queue.cancel(index)

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

    def _serve_now(self, receiver: _Receiver) -> bool:
        """Answer a single request at once, if no other peer is waiting."""
        index = receiver.queue.lone
        if index is None or not receiver.is_writable:
            return False
        data = self._uploader.read_now(index)
        if data is None:
            return False
        receiver.send_now(index, data)
        self._uploader.on_sent(receiver, len(data))
        self._counters.turns.add(0.0)
        return True

    def on_served(self, receiver: _Receiver) -> None:
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
        self._withheld.add(index)
        self.rarest.discard(index)
        name = self._manifest.root.name
        self._on_problem(
            StoreError(
                f"{name} has changed on the disk since it was shared, though no file "
                "has a new time. Share it again; until then wrong chunks are not sent."
            )
        )

    # Announcements.

    def on_stored(self, index: int) -> None:
        """Serve a chunk from now on; `announce_soon` follows for several of them."""
        if self._kept is not None:
            if index not in self._kept:
                return  # it would be refused as soon as the download has ended
            self.have.add(index)
        self.rarest.add(index)
        self._announcements.on_chunk(index)

    def announce_soon(self) -> None:
        """Announce after the callbacks that are already due."""
        if not self._is_soon:
            self._is_soon = True
            self._announce_at(self._loop.time())

    def _announce_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_closed:
            self._timer = self._loop.call_at(when, self.announce)

    def announce(self) -> None:
        """Announce new chunks to the peers whose turn it is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_soon = False
        now = self._loop.time()
        for receiver, indexes in self._announcements.due(now):
            receiver.peer.announce(indexes)
        again = self._announcements.due_at(now)
        if again is not None:
            self._announce_at(again)
