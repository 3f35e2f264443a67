"""One conversation with one peer, as a state machine without any I/O.

Rules of this file:

1. What may be said when stands in `TRANSITIONS`. A message that is not in the
   table of the present state is a `ProtocolError`; one of an unknown type never
   gets here.
2. A session decides what bytes mean and what is to be sent. It never chooses
   chunks, reads files or keeps time.

The shell around it calls `get_buffer()`, fills it, calls `buffer_updated(n)` and
acts on the events; then it writes what `data_to_send()` returns.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, Union

from msgspec import Struct

from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks
from shoal.core.names.channel_id import Channel
from shoal.core.wire.framing import LARGE_FRAME, BufferPool, FrameReader
from shoal.core.wire.handshake import Offer, check_handshake, check_sizes
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
)
from shoal.core.wire.plain_requests import leading_requests
from shoal.errors import ProtocolError

if TYPE_CHECKING:  # an open channel does without the messages of a sealed share
    from shoal.core.wire.sealed_messages import SealedMessage

__all__ = [
    "ChunkReceived",
    "ChunkWanted",
    "Event",
    "InfoReceived",
    "OfferReceived",
    "OpenClientSession",
    "OpenServerSession",
    "Session",
    "State",
]

# The largest buffer allocated at once for a chunk that was asked for.
MAX_RESPONSE = MAX_CHUNK_SIZE + RESPONSE_OVERHEAD  # bytes


class State(Enum):
    """Where a conversation stands."""

    AWAITING_HANDSHAKE = auto()
    """A hash channel's client: nothing is believed yet."""
    FETCHING = auto()
    """A client: chunks may be asked for."""
    SERVING = auto()
    """A server: chunks may be asked of us."""
    AWAITING_HELLO = auto()
    """A sealed share: nothing was said since the proofs."""
    SWARMING = auto()
    """A sealed share: both sides ask and give."""
    LEFT = auto()
    """A sealed share: the peer has said goodbye; nothing more counts."""


class OfferReceived(Struct, frozen=True):
    """Fired when a hash channel's handshake gave the channel's id."""

    offer: Offer


class InfoReceived(Struct, frozen=True):
    """Fired when a named channel's server said its sizes."""

    chunks: Chunks


class ChunkReceived(Struct, frozen=True):
    """Fired when a chunk came; nothing of it is verified."""

    index: int
    data: bytes | memoryview
    """Stays as it is for as long as it is wanted."""
    buffer: bytearray | None
    """What `data` lies in, to be given to the pool when nobody reads it."""
    was_any: bool = False
    """Whether the peer chose which chunk to give."""


class ChunkWanted(Struct, frozen=True):
    """Fired when a peer asked for a chunk that exists."""

    index: int
    echo: int | str
    """The index as it stood in the request, for the response."""


Event: TypeAlias = Union[
    OfferReceived, InfoReceived, ChunkReceived, ChunkWanted, "SealedMessage"
]


class Session:
    """Hold what both ends of a conversation share."""

    TRANSITIONS: ClassVar[Mapping[State, Mapping[type[Struct], State]]]

    def __init__(self, state: State, limit: int, pool: BufferPool | None) -> None:
        self.state = state
        self.unpaid_messages = 0
        """Messages of the peer so far, of whatever type, that gave no chunk."""
        self._reader = FrameReader(limit, pool)
        self._outgoing: list[bytes] = []
        self._events: list[Event] = []

    @property
    def missing(self) -> int:
        """Return how many bytes of a frame that has begun are still to come."""
        return self._reader.missing

    @property
    def is_mid_frame(self) -> bool:
        """Say whether the peer has sent a part of a frame and not its end."""
        return self._reader.is_mid_frame

    def get_buffer(self) -> memoryview:
        """Return where to receive the next bytes."""
        return self._reader.get_buffer()

    def buffer_updated(self, received: int) -> list[Event]:
        """Take `received` bytes from the buffer; return what they mean.

        Raises `ProtocolError` when the peer sent what is not allowed. What came
        before it in the same read is lost; the connection must end.
        """
        self._reader.buffer_updated(received)
        self._handle_leading()
        for frame in self._reader.frames():
            self.unpaid_messages += 1
            message = self._decode(frame)
            if message is None:
                continue
            table = self.TRANSITIONS[self.state]
            if type(message) not in table:
                kind = type(message).__name__.lower()
                raise ProtocolError(f"a {kind} while {self.state.name.lower()}")
            self._handle(message, frame)
            self.state = table[type(message)]
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> list[bytes]:
        """Return what to write now, in this order."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def _handle_leading(self) -> None:
        """Handle frames in front that can be read in a quicker way, if any."""

    def _decode(self, frame: memoryview) -> Struct | None:
        return decode_message(frame)

    def _handle(self, message: Any, frame: memoryview) -> None:
        raise NotImplementedError


class OpenServerSession(Session):
    """Serve one client of an open channel."""

    TRANSITIONS = {
        State.SERVING: {Request: State.SERVING, Info: State.SERVING},
    }

    def __init__(
        self,
        chunks: Chunks,
        handshake: bytes | None,
        pool: BufferPool | None = None,
    ) -> None:
        """Begin with the frame of a hash channel's handshake, if it is one."""
        super().__init__(State.SERVING, CONTROL_LIMIT, pool)
        self._chunks = chunks
        if handshake is not None:
            self._outgoing.append(handshake)

    def _handle_leading(self) -> None:
        indexes, size = leading_requests(self._reader.pending)
        self._reader.skip(size)
        self.unpaid_messages += len(indexes)
        count = self._chunks.count
        self._events += [ChunkWanted(each, each) for each in indexes if each < count]

    def _handle(self, message: Message, frame: memoryview) -> None:
        match message:
            case Request(index=echo):
                index = index_of(echo)
                # What does not exist is not answered, as a polite Node would.
                if index is not None and index < self._chunks.count:
                    self._events.append(ChunkWanted(index, echo))
            case Info():
                answer = Info(self._chunks.size, self._chunks.chunk_size)
                self._outgoing.append(encode_frame(answer))


class OpenClientSession(Session):
    """Fetch from one server of an open channel."""

    TRANSITIONS = {
        State.AWAITING_HANDSHAKE: {Handshake: State.FETCHING},
        State.FETCHING: {Response: State.FETCHING, Info: State.FETCHING},
    }

    def __init__(self, channel: Channel, pool: BufferPool | None = None) -> None:
        """Begin as a client of `channel`; a named one may be asked at once."""
        if channel.is_hash:
            super().__init__(State.AWAITING_HANDSHAKE, HANDSHAKE_LIMIT, pool)
        else:
            super().__init__(State.FETCHING, MAX_RESPONSE, pool)
        self._channel = channel
        self._owed: dict[int, int] = {}  # answers not come yet, by index

    def request(self, index: int) -> None:
        """Ask for a chunk; its number must be known to exist."""
        self._owed[index] = self._owed.get(index, 0) + 1
        self._outgoing.append(encode_frame(Request(index)))

    def request_info(self) -> None:
        """Ask a named channel's server for its sizes; Node servers say nothing."""
        self._outgoing.append(encode_frame(Info()))

    def _handle(self, message: Message, frame: memoryview) -> None:
        match message:
            case Response():
                self._handle_response(message, frame)
            case Handshake():
                offer = check_handshake(self._channel, message)
                self._expect_chunks(offer.chunk_size)
                self._events.append(OfferReceived(offer))
            case Info(file_size=int() as file_size, chunk_size=int() as chunk_size):
                if self._channel.is_hash:
                    return
                self._expect_chunks(check_sizes(file_size, chunk_size).chunk_size)
                self._events.append(InfoReceived(Chunks(file_size, chunk_size)))

    def _expect_chunks(self, chunk_size: int) -> None:
        """Limit frames to what may come from now on."""
        response = chunk_size + RESPONSE_OVERHEAD
        self._reader.limit = max(response, CONTROL_LIMIT)
        self._reader.trusted = max(response, LARGE_FRAME)

    def _handle_response(self, message: Response, frame: memoryview) -> None:
        index = index_of(message.index)
        if index is None or index not in self._owed:
            raise ProtocolError("a chunk that was not asked for")
        self.unpaid_messages -= 1
        self._owed[index] -= 1
        if not self._owed[index]:
            del self._owed[index]
        if len(frame) < LARGE_FRAME:
            # The frame's buffer is about to be received into again.
            event = ChunkReceived(index, bytes(message.data), None)
        else:
            buffer = frame.obj
            assert isinstance(buffer, bytearray)
            event = ChunkReceived(index, message.data, buffer)
        self._events.append(event)
