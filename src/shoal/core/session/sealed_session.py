"""One conversation of a sealed share, once both sides have proved the id.

The same on both sides: whoever has chunks gives them, whoever lacks some asks. The
rules of `session` hold; the first message is `hello`, and whatever else needs the
share's sizes (`have`, chunks) comes only after a hello with the root record. Whoever
has said goodbye is not listened to any more.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks
from shoal.core.session.session import ChunkReceived, Session, State
from shoal.core.wire.framing import LARGE_FRAME, BufferPool
from shoal.core.wire.messages import CONTROL_LIMIT, RESPONSE_OVERHEAD, encode_frame
from shoal.core.wire.sealed_messages import (
    MAX_ORIGIN_FETCHES,
    MAX_RANGES,
    Ask,
    Cancel,
    Give,
    Goodbye,
    Have,
    Hello,
    Page,
    Peers,
    Pull,
    Reason,
    Refuse,
    SealedMessage,
    decode_sealed,
)
from shoal.errors import ProtocolError

__all__ = ["SealedSession", "ranges_of"]

MAX_ASTRAY = 3  # requests for what does not exist, until that ends the conversation

_OPEN: Mapping[type[Struct], State] = {
    Hello: State.SWARMING,
    Have: State.SWARMING,
    Pull: State.SWARMING,
    Ask: State.SWARMING,
    Give: State.SWARMING,
    Page: State.SWARMING,
    Cancel: State.SWARMING,
    Refuse: State.SWARMING,
    Peers: State.SWARMING,
    Goodbye: State.LEFT,
}


class SealedSession(Session):
    """Exchange chunks with one peer of a sealed share."""

    TRANSITIONS = {
        State.AWAITING_HELLO: {Hello: State.SWARMING},
        State.SWARMING: _OPEN,
        State.LEFT: {},
    }

    def __init__(self, pool: BufferPool | None = None) -> None:
        """Begin where the proofs ended."""
        super().__init__(State.AWAITING_HELLO, CONTROL_LIMIT, pool)
        self._owed: dict[int, int] = {}  # answers not come yet, by index
        self._owed_any = 0
        self._owed_pages: set[int] = set()
        self._longest_answer = 0  # bytes in the frame of a chunk; 0: not known
        self._chunk_count = self._page_count = 1 << 32  # as long as it is not known
        self._astray = 0  # requests for what does not exist

    def know_share(self, chunks: Chunks, page_count: int) -> None:
        """Know what there is to ask for, and how long the answers are."""
        assert chunks.chunk_size <= MAX_CHUNK_SIZE
        self._chunk_count, self._page_count = chunks.count, page_count
        self._longest_answer = chunks.chunk_size + RESPONSE_OVERHEAD
        self._set_limit()

    def _set_limit(self) -> None:
        """Have no memory for a chunk from a peer that owes none."""
        longest = self._longest_answer if self._owed or self._owed_any else 0
        self._reader.limit = max(longest, CONTROL_LIMIT)
        self._reader.trusted = max(longest, LARGE_FRAME)

    # What may be said; each goes out with the next `data_to_send`.

    def send(self, message: SealedMessage) -> None:
        """Say something that expects no answer."""
        self._outgoing.append(encode_frame(message))

    def send_have(self, indexes: Iterable[int]) -> None:
        """Announce chunks that are there since."""
        ranges = ranges_of(indexes)
        for start in range(0, len(ranges), MAX_RANGES):
            self.send(Have(ranges[start : start + MAX_RANGES]))

    def send_pulling(self, indexes: Iterable[int]) -> None:
        """Say which chunks are asked of an origin, as far as one is believed."""
        self.send(Pull(ranges_of(sorted(indexes)[:MAX_ORIGIN_FETCHES])))

    def request(self, index: int) -> None:
        """Ask for a chunk."""
        self._owed[index] = self._owed.get(index, 0) + 1
        self._set_limit()
        self._outgoing.append(encode_frame(Ask(index)))

    def request_any(self) -> None:
        """Ask for any chunk that was not announced."""
        self._owed_any += 1
        self._set_limit()
        self._outgoing.append(encode_frame(Ask()))

    def cancel(self, index: int) -> None:
        """Take a request back; an answer on its way is still accepted."""
        self._outgoing.append(encode_frame(Cancel(index)))

    def request_page(self, number: int) -> None:
        """Ask for a manifest page."""
        self._owed_pages.add(number)
        self._outgoing.append(encode_frame(Page(number)))

    # What was said.

    def _decode(self, frame: memoryview) -> SealedMessage | None:
        # The rest of what one read brought may still come from who has left.
        return None if self.state is State.LEFT else decode_sealed(frame)

    def _handle(self, message: SealedMessage, frame: memoryview) -> None:
        match message:
            case Give():
                self._handle_chunk(message, frame)
                return
            case Refuse(index=None):
                self._owed_any = max(0, self._owed_any - 1)
                self._set_limit()
            case Refuse(index=int() as index):
                self._settle(index)
            case Ask(index=int() as index) if index >= self._chunk_count:
                self._on_astray()
                self.send(Refuse(index, Reason.MISSING))
                return
            case Page(index=number, data=None) if number >= self._page_count:
                self._on_astray()
                return
            case Page(index=number, data=bytes()):
                if number not in self._owed_pages:
                    raise ProtocolError("a page that was not asked for")
                self._owed_pages.discard(number)
        self._events.append(message)

    def _on_astray(self) -> None:
        """Count a request for what does not exist; a mistake is not made for ever."""
        self._astray += 1
        if self._astray >= MAX_ASTRAY:
            raise ProtocolError("requests for what the share does not have")

    def _handle_chunk(self, message: Give, frame: memoryview) -> None:
        was_any = not self._settle(message.index)
        if was_any:
            if not self._owed_any:
                raise ProtocolError("a chunk that was not asked for")
            self._owed_any -= 1
            self._set_limit()
        self.unpaid_messages -= 1
        if len(frame) < LARGE_FRAME:
            # The frame's buffer is about to be received into again.
            event = ChunkReceived(message.index, bytes(message.data), None, was_any)
        else:
            buffer = frame.obj
            assert isinstance(buffer, bytearray)
            event = ChunkReceived(message.index, message.data, buffer, was_any)
        self._events.append(event)

    def _settle(self, index: int) -> bool:
        """Note an answer; say whether that chunk was asked for by its index."""
        owed = self._owed.get(index, 0)
        if owed > 1:
            self._owed[index] = owed - 1
        elif owed:
            del self._owed[index]
            self._set_limit()
        return owed > 0


def ranges_of(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Return ascending runs of `indexes` as (first, number)."""
    if isinstance(indexes, range) and indexes.step == 1:
        return [(indexes.start, len(indexes))] if indexes else []
    ranges: list[tuple[int, int]] = []
    for index in sorted(indexes):
        if ranges and sum(ranges[-1]) == index:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((index, 1))
    return ranges
