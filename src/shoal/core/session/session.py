"""Hold a conversation with one peer as a state machine; pure.

This is what conversations of open channels (`open_session`) and sealed shares
(`sealed_session`) have in common:

1. `TRANSITIONS` lists the messages that each state allows, and the state that follows.
   Any other message is a `ProtocolError`. Messages of an unknown type are ignored, as
   "Frames" in docs/protocol.md demands.
2. A session decides what bytes mean and which bytes to send. It does not choose
   chunks, read files or measure time.

A connection calls `get_buffer()`, fills it, calls `buffer_updated(n)` and acts on the
events; then it writes what `data_to_send()` returns.
"""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct

from shoal.core.wire.framing import BufferPool, FrameReader
from shoal.errors import ProtocolError

if TYPE_CHECKING:  # each kind of share works without the messages of the other
    from shoal.core.session.events import Event
    from shoal.core.wire.noise_messages import SealedData

__all__ = ["Session", "SessionState"]


class SessionState(Enum):
    """Name the states of a conversation."""

    AWAITING_HANDSHAKE = auto()
    """A client of a hash channel: the handshake has not arrived."""
    FETCHING = auto()
    """A client of an open channel: it may request chunks."""
    SERVING = auto()
    """A server of an open channel: it accepts requests."""
    AWAITING_HELLO = auto()
    """A sealed share: the handshake is done, and no hello has arrived."""
    SWARMING = auto()
    """A sealed share: both ends may send requests and chunks."""
    LEFT = auto()
    """A sealed share: the peer said goodbye; its later messages are ignored."""


class Session:
    """Turn bytes from one peer into events, and messages to it into bytes."""

    TRANSITIONS: ClassVar[Mapping[SessionState, Mapping[type[Struct], SessionState]]]

    def __init__(
        self,
        state: SessionState,
        decode: Callable[[memoryview], Struct | None],
        limit: int,
        pool: BufferPool | None,
    ) -> None:
        """Begin in `state`; accept frames of at most `limit` bytes.

        `decode` decodes their bodies, as `message_decoder` describes.
        """
        self._decode = decode
        self._enter(state)
        self.unpaid_messages = 0
        """How many messages of any type the peer has sent, less the chunks in them."""
        self.awaited_data = 0
        """How many bytes of a chunk's data follow the last message, outside a frame."""
        self.longest_data = 0
        """The most bytes that `awaited_data` has had."""
        self._reader = FrameReader(limit, pool)
        self.get_buffer: Callable[[], memoryview] = self._reader.get_buffer
        """Return the memory to receive the next bytes into."""
        self._outgoing: list[bytes] = []
        self._events: list[Event] = []

    @property
    def pool(self) -> BufferPool:
        """Return the buffers that large frames and chunks are received into."""
        return self._reader.pool

    @property
    def missing(self) -> int:
        """Return how many bytes of a frame that has begun are still missing."""
        return self._reader.missing

    @property
    def is_mid_frame(self) -> bool:
        """Return True if the peer has sent the beginning of a frame, but not all."""
        return self._reader.is_mid_frame

    def buffer_updated(self, received: int) -> list["Event"]:
        """Take `received` bytes from the buffer; return the events in them.

        Raises `ProtocolError` when the peer breaks the protocol. Earlier events of the
        same read are lost then, and the connection must be closed.
        """
        self._reader.buffer_updated(received)
        if not self._allowed:
            self._reader.discard()  # the peer has left
        for frame in self._reader.frames():
            if self.awaited_data:
                self._handle_data(frame)
                continue
            self.unpaid_messages += 1
            message = self._decode(frame)
            if message is None:
                continue
            state = self._allowed.get(type(message))
            if state is None:
                kind = type(message).__struct_config__.tag
                raise ProtocolError(f"a {kind} while {self.state.name.lower()}")
            self._handle(message, frame)
            if state is not self.state:
                self._enter(state)
                if not self._allowed:
                    self._reader.discard()
                    break
        events, self._events = self._events, []
        return events

    def sealed_updated(self, data: "SealedData", buffer: bytearray) -> list["Event"]:
        """Take the `awaited_data`, not decrypted; no byte of it came another way.

        `buffer` is the memory of `data`.
        """
        raise NotImplementedError

    def data_to_send(self) -> list[bytes]:
        """Return the bytes to write now, in order."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def _enter(self, state: SessionState) -> None:
        self.state = state
        self._allowed = self.TRANSITIONS[state]  # the messages, and the state after

    def _handle(self, message: Any, frame: memoryview) -> None:
        raise NotImplementedError

    def _handle_data(self, data: memoryview) -> None:
        """Handle the `awaited_data`, which have arrived."""
        raise NotImplementedError
