"""Hold a conversation of a sealed share with one peer, after the handshake; pure.

Both ends follow the same rules, those of "Sealed messages" in docs/protocol.md: the
first message is `hello`; chunks and what announces them come after the root record is
known; and messages after a `goodbye` are ignored.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from shoal.core.crypto.hashes import DIGEST_SIZE
from shoal.core.limits import MAX_ORIGIN_FETCHES
from shoal.core.manifest.blocks import Run, block_count, run_span
from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks
from shoal.core.manifest.pages import PageKey
from shoal.core.session.events import (
    BlocksReceived,
    Event,
    SealedChunkReceived,
    keep_chunk,
)
from shoal.core.session.session import Session, SessionState
from shoal.core.wire.framing import LARGE_FRAME, BufferPool
from shoal.core.wire.messages import CONTROL_LIMIT, RESPONSE_OVERHEAD, encode_frame
from shoal.core.wire.sealed_messages import (
    MAX_RANGES,
    BitfieldPiece,
    BlockRequest,
    Blocks,
    Cancel,
    Finished,
    Goodbye,
    Have,
    Hello,
    Meeting,
    OriginFetch,
    Page,
    Peers,
    Reason,
    Refuse,
    SealedMessage,
    SealedRequest,
    SealedResponse,
    Want,
    WrongChunk,
    decode_sealed,
)
from shoal.errors import ProtocolError

if TYPE_CHECKING:  # it imports cryptography, which takes long
    from shoal.core.wire.noise_messages import SealedData

__all__ = ["SealedSession", "ranges_of"]

# A chunk that is longer than it may be convicts its sender, once it has been hashed.
LENIENCY = 64  # bytes that it may be too long to be received at all
MAX_INVALID = 3  # requests for what does not exist; the last one ends the conversation

_REQUEST_ANY = encode_frame(SealedRequest())
_WHILE_SWARMING: Mapping[type[Struct], SessionState] = {
    Hello: SessionState.SWARMING,
    BitfieldPiece: SessionState.SWARMING,
    Have: SessionState.SWARMING,
    OriginFetch: SessionState.SWARMING,
    SealedRequest: SessionState.SWARMING,
    SealedResponse: SessionState.SWARMING,
    BlockRequest: SessionState.SWARMING,
    Blocks: SessionState.SWARMING,
    Page: SessionState.SWARMING,
    Cancel: SessionState.SWARMING,
    Refuse: SessionState.SWARMING,
    Peers: SessionState.SWARMING,
    Meeting: SessionState.SWARMING,
    Want: SessionState.SWARMING,
    WrongChunk: SessionState.SWARMING,
    Finished: SessionState.SWARMING,
    Goodbye: SessionState.LEFT,
}


class _Read(NamedTuple):
    """A request for blocks that has no answer yet."""

    run: Run
    size: int  # bytes of the blocks
    hash_size: int | None  # bytes of the block hashes; None if not requested


class SealedSession(Session):
    """Exchange chunks with one peer of a sealed share."""

    TRANSITIONS = {
        SessionState.AWAITING_HELLO: {Hello: SessionState.SWARMING},
        SessionState.SWARMING: _WHILE_SWARMING,
        SessionState.LEFT: {},
    }

    def __init__(self, pool: BufferPool | None = None) -> None:
        """Begin after the handshake."""
        state = SessionState.AWAITING_HELLO
        super().__init__(state, decode_sealed, CONTROL_LIMIT, pool)
        self._owed: dict[int, int] = {}  # responses that have not arrived, by index
        self._owed_any = 0
        self._owed_pages: set[PageKey] = set()
        self._reads: dict[int, _Read] = {}  # requests for blocks, by their number
        self._next_read = 0
        self._chunks: Chunks | None = None  # until the share is known
        self._longest_chunk = LENIENCY  # bytes of data that are accepted
        self._coming = (0, False)  # the chunk whose data is awaited, and `was_any`
        self._chunk_count = 1 << 32  # until it is known
        self._may_have_page: Callable[[PageKey], bool] = lambda key: True
        self._invalid = 0  # requests for what does not exist

    def know_share(
        self, chunks: Chunks, may_have_page: Callable[[PageKey], bool]
    ) -> None:
        """Learn which chunks and pages exist, and how long the responses are."""
        assert chunks.chunk_size <= MAX_CHUNK_SIZE
        self._chunks, self._chunk_count = chunks, chunks.count
        self._may_have_page = may_have_page
        self._longest_chunk = chunks.chunk_size + LENIENCY
        # Data is only awaited from a peer that owes it ("Chunk data").
        self._reader.trusted = max(self._longest_chunk, LARGE_FRAME)

    def _set_limit(self) -> None:
        """Accept a long frame only while the peer owes blocks ("Blocks")."""
        sizes = (read.size + (read.hash_size or 0) for read in self._reads.values())
        longest = max(sizes, default=0) + RESPONSE_OVERHEAD
        self._reader.limit = max(longest, CONTROL_LIMIT)

    # Messages to the peer; the next `data_to_send` returns them.

    def send(self, message: SealedMessage) -> None:
        """Send a message that expects no answer."""
        self._outgoing.append(encode_frame(message))

    def send_have(self, indexes: Iterable[int]) -> None:
        """Announce new chunks."""
        ranges = ranges_of(indexes)
        for start in range(0, len(ranges), MAX_RANGES):
            self.send(Have(ranges[start : start + MAX_RANGES]))

    def send_origin_fetch(self, indexes: Iterable[int]) -> None:
        """Announce chunks that we fetch from an origin; peers ignore too many."""
        self.send(OriginFetch(ranges_of(sorted(indexes)[:MAX_ORIGIN_FETCHES])))

    def request(self, index: int) -> None:
        """Request a chunk."""
        self._owed[index] = self._owed.get(index, 0) + 1
        self._outgoing.append(encode_frame(SealedRequest(index)))

    def request_any(self) -> None:
        """Request any chunk that we have not announced."""
        self._owed_any += 1
        self._outgoing.append(_REQUEST_ANY)

    def cancel(self, index: int) -> None:
        """Cancel a request; a response that is on its way is still accepted."""
        self._outgoing.append(encode_frame(Cancel(index)))

    def request_blocks(self, run: Run, *, hashes: bool) -> int:
        """Request adjacent blocks of a chunk; return the number of the request.

        With `hashes`, the hashes of all blocks of the chunk are requested, too. The
        share must be known.
        """
        assert self._chunks is not None
        read, self._next_read = self._next_read, (self._next_read + 1) % (1 << 32)
        first, end = run_span(self._chunks, run)
        hash_size = DIGEST_SIZE * block_count(self._chunks, run.index)
        self._reads[read] = _Read(run, end - first, hash_size if hashes else None)
        self._set_limit()
        request = BlockRequest(read, run.index, run.first, run.count, hashes)
        self._outgoing.append(encode_frame(request))
        return read

    def cancel_blocks(self, read: int) -> None:
        """Cancel a request for blocks, which is then refused unless it was answered."""
        if read in self._reads:
            index = self._reads[read].run.index
            self._outgoing.append(encode_frame(Cancel(index, read)))

    def request_page(self, key: PageKey) -> None:
        """Request a manifest page."""
        self._owed_pages.add(key)
        self._outgoing.append(encode_frame(Page(*key)))

    # Messages from the peer.

    def _handle(self, message: SealedMessage, frame: memoryview) -> None:
        match message:
            case SealedResponse():
                self._handle_response(message)
                return
            case Blocks():
                self._handle_blocks(message, frame)
                return
            case BlockRequest() if not self._has_blocks(message):
                self._on_invalid_request()
                self.send(Refuse(message.index, Reason.MISSING, message.read))
                return
            case Refuse(read=int() as read):
                if self._reads.pop(read, None) is None:
                    raise ProtocolError("a refusal of blocks that were not requested")
                self._set_limit()
            case Refuse(index=None):
                self._owed_any = max(0, self._owed_any - 1)
            case Refuse(index=int() as index):
                self._settle(index)
            case SealedRequest(index=int() as index) if index >= self._chunk_count:
                self._on_invalid_request()
                self.send(Refuse(index, Reason.MISSING))
                return
            case Page(key=key, data=None) if not self._may_have_page(key):
                self._on_invalid_request()
                return
            case Page(key=key, data=bytes()):
                if key not in self._owed_pages:
                    raise ProtocolError("a page that was not requested")
                self._owed_pages.discard(key)
            # To check an address takes as long as to receive a message.
            case Peers(addresses=addresses):
                self.unpaid_messages += len(addresses)
            case Meeting(ports=ports):
                self.unpaid_messages += len(ports)
            case WrongChunk(index=index) if index >= self._chunk_count:
                self._on_invalid_request()
                return
        self._events.append(message)

    def _on_invalid_request(self) -> None:
        """Count a request for what does not exist; a few may be mistakes."""
        self._invalid += 1
        if self._invalid >= MAX_INVALID:
            raise ProtocolError("requests for chunks or pages that do not exist")

    def _handle_response(self, message: SealedResponse) -> None:
        """Expect the data of a chunk that the peer owes."""
        was_any = not self._settle(message.index)
        if was_any:
            if not self._owed_any:
                raise ProtocolError("a chunk that was not requested")
            self._owed_any -= 1
        if message.index >= self._chunk_count:
            raise ProtocolError("a chunk that does not exist")
        if message.length > self._longest_chunk:
            raise ProtocolError(f"a chunk of {message.length} bytes")
        self._coming = (message.index, was_any)
        self.awaited_data = message.length
        self.longest_data = max(self.longest_data, message.length)
        if message.length:
            self._reader.expect_data(message.length)
        else:
            self._handle_data(memoryview(b""))

    def _handle_data(self, data: memoryview) -> None:
        index, was_any = self._coming
        self.awaited_data = 0
        self.unpaid_messages -= 1
        self._events.append(keep_chunk(index, data, data, was_any))

    def sealed_updated(self, data: "SealedData", buffer: bytearray) -> list[Event]:
        """Take the `awaited_data`, not decrypted; no byte of it came another way.

        `buffer` is the memory of `data`.
        """
        assert len(data) == self.awaited_data
        self._reader.discard()
        index, was_any = self._coming
        self.awaited_data = 0
        self.unpaid_messages -= 1
        return [SealedChunkReceived(index, data, buffer, was_any)]

    def _has_blocks(self, request: BlockRequest) -> bool:
        """Return True if the requested blocks exist, as far as we know."""
        if self._chunks is None:
            return True
        if request.index >= self._chunk_count:
            return False
        blocks = block_count(self._chunks, request.index)
        return request.first + request.count <= blocks

    def _handle_blocks(self, message: Blocks, frame: memoryview) -> None:
        read = self._reads.pop(message.read, None)
        if read is None:
            raise ProtocolError("blocks that were not requested")
        self._set_limit()
        hashes, data = message.hashes, message.data
        if len(data) != read.size:
            raise ProtocolError("another number of bytes than were requested")
        if (None if hashes is None else len(hashes)) != read.hash_size:
            raise ProtocolError("block hashes that do not fit the request")
        self.unpaid_messages -= 1
        kept = data if len(frame) >= LARGE_FRAME else bytes(data)
        self._events.append(BlocksReceived(message.read, read.run, hashes, kept))

    def _settle(self, index: int) -> bool:
        """Note an answer; return True if that chunk was requested by its index."""
        owed = self._owed.get(index, 0)
        if owed > 1:
            self._owed[index] = owed - 1
        elif owed:
            del self._owed[index]
        return owed > 0


def ranges_of(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Return ascending runs of `indexes` as (first, number), as `have` has them."""
    if isinstance(indexes, range) and indexes.step == 1:
        return [(indexes.start, len(indexes))] if indexes else []
    ranges: list[tuple[int, int]] = []
    for index in sorted(indexes):
        if ranges and sum(ranges[-1]) == index:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((index, 1))
    return ranges
