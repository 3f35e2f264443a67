"""Hold a conversation of an open channel with one peer; pure.

The rules are those of "Open channels" in docs/protocol.md.
"""

from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks
from shoal.core.names.channel_id import Channel
from shoal.core.session.events import (
    ChunkRequested,
    Event,
    InfoReceived,
    OfferReceived,
    keep_chunk,
)
from shoal.core.session.session import Session, SessionState
from shoal.core.wire.framing import LARGE_FRAME, BufferPool
from shoal.core.wire.handshake import check_handshake, check_sizes
from shoal.core.wire.messages import (
    CONTROL_LIMIT,
    HANDSHAKE_LIMIT,
    RESPONSE_OVERHEAD,
    Handshake,
    Info,
    Message,
    Request,
    Response,
    decode_message,
    encode_frame,
    index_of,
    leading_requests,
)
from shoal.errors import ProtocolError

__all__ = ["OpenClientSession", "OpenServerSession"]

# The longest frame of a channel whose sizes are unknown.
MAX_RESPONSE = MAX_CHUNK_SIZE + RESPONSE_OVERHEAD  # bytes


class OpenServerSession(Session):
    """Serve one client of an open channel."""

    TRANSITIONS = {
        SessionState.SERVING: dict.fromkeys((Request, Info), SessionState.SERVING),
    }

    def __init__(
        self, chunks: Chunks, handshake: bytes | None, pool: BufferPool | None = None
    ) -> None:
        """Begin; a hash channel's session first sends `handshake`, a whole frame."""
        super().__init__(SessionState.SERVING, decode_message, CONTROL_LIMIT, pool)
        self._chunks = chunks
        if handshake is not None:
            self._outgoing.append(handshake)

    def buffer_updated(self, received: int) -> list[Event]:
        """Take `received` bytes from the buffer; return the events in them.

        The usual requests in front are read in a faster way than other messages.
        """
        self._reader.buffer_updated(received)
        indexes, size = leading_requests(self._reader.pending)
        self._reader.skip(size)
        self.unpaid_messages += len(indexes)
        count = self._chunks.count
        self._events += [ChunkRequested(each, each) for each in indexes if each < count]
        return super().buffer_updated(0)

    def _handle(self, message: Message, frame: memoryview) -> None:
        match message:
            case Request(index=echo):
                index = index_of(echo)
                # "Channel messages": no answer if the chunk does not exist.
                if index is not None and index < self._chunks.count:
                    self._events.append(ChunkRequested(index, echo))
            case Info():
                answer = Info(self._chunks.size, self._chunks.chunk_size)
                self._outgoing.append(encode_frame(answer))


class OpenClientSession(Session):
    """Fetch from one server of an open channel."""

    TRANSITIONS = {
        SessionState.AWAITING_HANDSHAKE: {Handshake: SessionState.FETCHING},
        SessionState.FETCHING: {
            Response: SessionState.FETCHING,
            Info: SessionState.FETCHING,
        },
    }

    def __init__(self, channel: Channel, pool: BufferPool | None = None) -> None:
        """Begin as a client of `channel`."""
        # "Hash channels": the server sends the handshake before any other message.
        # "Named channels": it sends nothing before the first request.
        if channel.is_hash:
            state, limit = SessionState.AWAITING_HANDSHAKE, HANDSHAKE_LIMIT
        else:
            state, limit = SessionState.FETCHING, MAX_RESPONSE
        super().__init__(state, decode_message, limit, pool)
        self._channel = channel
        self._owed: dict[int, int] = {}  # responses that have not arrived, by index

    def request(self, index: int) -> None:
        """Request a chunk, which must exist: a Node server crashes otherwise."""
        self._owed[index] = self._owed.get(index, 0) + 1
        self._outgoing.append(encode_frame(Request(index)))

    def request_info(self) -> None:
        """Request the sizes from the server of a named channel.

        Node servers do not answer.
        """
        self._outgoing.append(encode_frame(Info()))

    def _handle(self, message: Message, frame: memoryview) -> None:
        match message:
            case Response():
                self._handle_response(message, frame)
            case Handshake():
                offer = check_handshake(self._channel, message)
                if message.chunk_size is None and offer.chunks is None:
                    # "Hash channels": without sizes, chunks may have any length.
                    self._reader.limit = MAX_RESPONSE
                else:
                    self._expect_chunks(offer.chunk_size)
                self._events.append(OfferReceived(offer))
            case Info(file_size=int() as file_size, chunk_size=int() as chunk_size):
                if self._channel.is_hash:
                    return
                self._expect_chunks(check_sizes(file_size, chunk_size).chunk_size)
                self._events.append(InfoReceived(Chunks(file_size, chunk_size)))

    def _expect_chunks(self, chunk_size: int) -> None:
        """Limit frames to those of chunks of this size, and allocate for them."""
        response = chunk_size + RESPONSE_OVERHEAD
        self._reader.limit = max(response, CONTROL_LIMIT)
        self._reader.trusted = max(response, LARGE_FRAME)

    def _handle_response(self, message: Response, frame: memoryview) -> None:
        index = index_of(message.index)
        if index is None or index not in self._owed:
            raise ProtocolError("a chunk that was not requested")
        self.unpaid_messages -= 1
        self._owed[index] -= 1
        if not self._owed[index]:
            del self._owed[index]
        self._events.append(keep_chunk(index, message.data, frame))
