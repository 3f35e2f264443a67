"""Send one peer of a sealed share what it requests.

A `PeerReceiver` has the peer's queue of requests, and is what an `Uploader` serves in
turns. The `Upload` of the share decides which chunks may be sent.
"""

import asyncio
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING

from shoal.core.limits import work_of
from shoal.core.names.address_scope import host_key
from shoal.core.session.request_queue import BlocksToSend, RequestQueue
from shoal.core.wire.sealed_messages import Reason, blocks_header, response_frame
from shoal.errors import PeerTimeoutError
from shoal.storage.store import Span
from shoal.swarm.peer import Peer
from shoal.transfer.receiver import LONE_SIZE, Sent
from shoal.transfer.responses import make_parts, write_responses
from shoal.transfer.store_reader import Read, Requests
from shoal.transport.making import Making, Room

if TYPE_CHECKING:
    from shoal.swarm.upload import Upload

__all__ = ["PeerReceiver"]

FIRST_PART = 32 * 1024  # bytes of a single chunk that are sent before the rest
# Waking up the peer early gains little where the rest takes long.
MAX_SPLIT = 256 * 1024  # bytes of a chunk that is sent in two parts


class PeerReceiver:
    """Serve the requests of one peer; the `Receiver` of an `Uploader`."""

    def __init__(self, peer: Peer, upload: "Upload") -> None:
        """Start without requests; `upload` is that of the share."""
        self.peer = peer
        """The peer that is served."""
        self.queue = RequestQueue()
        """Its requests."""
        self._upload = upload
        self._chosen: set[Hashable] = set()  # chunks that we chose and have not sent

    @property
    def is_writable(self) -> bool:
        """Return True if the peer's socket accepts more."""
        return self.peer.connection.is_writable

    @property
    def owner(self) -> Hashable:
        """Return the host and node id of the peer."""
        return host_key(self.peer.connection.address.host), self.peer.node_id

    @property
    def is_urgent(self) -> bool:
        """Return True if the peer requests blocks, or only a little."""
        requests = self.queue.requests
        if any(isinstance(each, BlocksToSend) for each in requests):
            return True
        # A request for any chunk is for as much as the first one has.
        wanted = [each or 0 for each in requests if not isinstance(each, BlocksToSend)]
        return len(wanted) == 1 and self._upload.length(wanted[0]) <= LONE_SIZE

    @property
    def is_alone(self) -> bool:
        """Return True if no other peer is connected."""
        return self._upload.receivers == 1

    def next_requests(self, limit: int) -> list[tuple[int | Span, Hashable]]:
        """Return the next chunks and blocks to send.

        The chunk for a request that accepts any is chosen here, as late as possible.
        """
        upload = self._upload
        chunks: list[tuple[int | Span, Hashable]] = []
        while self.queue.requests and len(chunks) < limit:
            index, was_any = self.queue.take(
                lambda: upload.rarest.next_for(self, self.peer.wanted)
            )
            if index is None:
                # All chunks were searched for one that it lacks.
                work = work_of(0, 0, upload.have.size)
                self.peer.connection.message_limit.add(work)
                self.peer.refuse(None, Reason.NOTHING)
                continue
            if isinstance(index, BlocksToSend):
                chunks.append((upload.span_of(index), index))
                continue
            if was_any:
                self._chosen.add(index)
            upload.on_sending(self, index)
            chunks.append((index, index))
        return chunks

    def send(self, chunks: list[tuple[Hashable, bytes]]) -> None:
        """Send chunks and blocks."""
        write_responses(
            self.peer.connection,
            [(_header(note, len(data)), data) for note, data in chunks],
        )
        self._chosen.difference_update(note for note, _ in chunks)
        self.peer.on_sent(sum(len(data) for _, data in chunks))
        self._upload.on_served(self)

    @property
    def can_send_read(self) -> bool:
        """Return True if the peer's connection encrypts in threads, and is not."""
        return self.peer.connection.can_write_made

    def send_read(
        self,
        requests: Requests,
        read: Callable[[int | Span], Read],
        room: Room,
    ) -> asyncio.Future[list[Sent]]:
        """Read, encrypt and send chunks and blocks, part by part, in threads."""
        making: Making[Sent] = Making(
            len(requests),
            partial(make_parts, requests, read, self._upload.length, _header),
            room,
        )
        self.peer.connection.write_made(making)
        return making.notes

    @property
    def queued(self) -> int:
        """Return how many bytes in memory wait for the peer's socket."""
        return self.peer.connection.queued

    @property
    def accepted(self) -> int:
        """Return how many bytes the peer's socket has accepted."""
        return self.peer.connection.accepted

    def hang_up(self) -> None:
        """Disconnect the peer: it takes too little of what it requested."""
        self.peer.close(PeerTimeoutError("it takes too little of what it requested"))

    def on_sent(self, sent: list[tuple[Hashable, int]]) -> None:
        """Note chunks that `send_read` has sent."""
        self.peer.connection.on_chunks_sent(len(sent))
        self._chosen.difference_update(note for note, _ in sent)
        self.peer.on_sent(sum(size for _, size in sent))
        self._upload.on_served(self)

    def send_now(self, note: int | BlocksToSend, data: bytes) -> None:
        """Send the only thing that the peer has requested, without `next_requests`.

        In two parts: the peer wakes up for the first while the second is encrypted.
        """
        connection = self.peer.connection
        self.queue.requests.clear()
        connection.on_chunks_sent(1)
        header = _header(note, len(data))
        if len(data) > MAX_SPLIT:
            connection.writelines((header, data))
        else:
            connection.write(header + data[:FIRST_PART])
            if len(data) > FIRST_PART:
                connection.write(memoryview(data)[FIRST_PART:])
        if isinstance(note, int):
            self._upload.on_sending(self, note)
        self.peer.on_sent(len(data))
        self._upload.on_served(self)

    def refuse(self, notes: list[Hashable], error: Exception) -> None:
        """Refuse chunks and blocks that cannot be read."""
        for index in notes:
            if isinstance(index, BlocksToSend):
                request = index.request
                self._upload.on_unreadable(request.index, error)
                self.peer.refuse(request.index, Reason.MISSING, request.read)
                continue
            assert isinstance(index, int)
            self._upload.on_unreadable(index, error)
            if index in self._chosen:
                self._chosen.discard(index)
                self.peer.refuse(None, Reason.NOTHING)
            else:
                self.peer.refuse(index, Reason.MISSING)
        self._upload.on_served(self)


def _header(note: Hashable, length: int) -> bytes:
    """Return the frame of an answer up to its `length` bytes of data."""
    if isinstance(note, BlocksToSend):
        return blocks_header(note.request.read, note.hashes, length)
    assert isinstance(note, int)
    return response_frame(note, length)
