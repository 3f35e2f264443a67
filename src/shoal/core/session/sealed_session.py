"""Hold a conversation of a sealed share with one peer, after the handshake; pure.

Both ends follow the same rules, those of "Sealed messages" in docs/protocol.md: the
first message is `hello`; chunks and what announces them come after the root record is
known; and messages after a `goodbye` are ignored.
"""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from shoal.core.limits import MAX_ORIGIN_FETCHES
from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks
from shoal.core.manifest.pages import PageKey
from shoal.core.session.session import (
    Event,
    SealedChunkReceived,
    Session,
    SessionState,
    keep_chunk,
)
from shoal.core.wire.framing import LARGE_FRAME, BufferPool
from shoal.core.wire.messages import CONTROL_LIMIT, encode_frame
from shoal.core.wire.noise_messages import SealedData
from shoal.core.wire.sealed_messages import (
    MAX_RANGES,
    BitfieldPiece,
    Cancel,
    Goodbye,
    Have,
    Hello,
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
    Page: SessionState.SWARMING,
    Cancel: SessionState.SWARMING,
    Refuse: SessionState.SWARMING,
    Peers: SessionState.SWARMING,
    Want: SessionState.SWARMING,
    WrongChunk: SessionState.SWARMING,
    Goodbye: SessionState.LEFT,
}


class SealedSession(Session):
    """Exchange chunks with one peer of a sealed share."""

    TRANSITIONS = {
        SessionState.AWAITING_HELLO: {Hello: SessionState.SWARMING},
        SessionState.SWARMING: _WHILE_SWARMING,
        SessionState.LEFT: {},
    }

    def __init__(self, pool: BufferPool | None = None) -> None:
        """Begin after the handshake."""
        super().__init__(SessionState.AWAITING_HELLO, CONTROL_LIMIT, pool)
        self._owed: dict[int, int] = {}  # responses that have not arrived, by index
        self._owed_any = 0
        self._owed_pages: set[PageKey] = set()
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
        self._chunk_count, self._may_have_page = chunks.count, may_have_page
        self._longest_chunk = chunks.chunk_size + LENIENCY
        # Data is only awaited from a peer that owes it ("Chunk data").
        self._reader.trusted = max(self._longest_chunk, LARGE_FRAME)

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

    def request_page(self, key: PageKey) -> None:
        """Request a manifest page."""
        self._owed_pages.add(key)
        self._outgoing.append(encode_frame(Page(*key)))

    # Messages from the peer.

    def _decode(self, frame: memoryview) -> SealedMessage | None:
        return decode_sealed(frame)

    def _handle(self, message: SealedMessage, frame: memoryview) -> None:
        match message:
            case SealedResponse():
                self._handle_response(message)
                return
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
        if message.length > self._longest_chunk:
            raise ProtocolError(f"a chunk of {message.length} bytes")
        self._coming = (message.index, was_any)
        self.awaited_data = message.length
        if message.length:
            self._reader.expect_data(message.length)
        else:
            self._handle_data(memoryview(b""))

    def _handle_data(self, data: memoryview) -> None:
        index, was_any = self._coming
        self.awaited_data = 0
        self.unpaid_messages -= 1
        self._events.append(keep_chunk(index, data, data, was_any))

    def sealed_updated(self, data: SealedData, buffer: bytearray) -> list[Event]:
        """Take the `awaited_data`, not decrypted; no byte of it came another way.

        `buffer` is the memory of `data`.
        """
        assert len(data) == self.awaited_data
        self._reader.discard()
        index, was_any = self._coming
        self.awaited_data = 0
        self.unpaid_messages -= 1
        return [SealedChunkReceived(index, data, buffer, was_any)]

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
