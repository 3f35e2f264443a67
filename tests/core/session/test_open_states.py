"""Send any messages in any order to an end of an open channel; compare with a model.

As in `test_sealed_states`, the model was written from docs/protocol.md alone.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeAlias

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shoal.core.manifest.chunks import Chunks
from shoal.core.names.channel_id import Channel
from shoal.core.session.events import (
    ChunkReceived,
    ChunkRequested,
    Event,
    InfoReceived,
    OfferReceived,
)
from shoal.core.session.open_session import OpenClientSession, OpenServerSession
from shoal.core.session.session import Session
from shoal.errors import PeerError
from tests.core.wire.test_messages import MALFORMED
from tests.helpers.streams import ALL, MOST, Stream, explore, feed
from tests.helpers.wire import Content, frame, varint

CONTENT = Content.make(5000)
OTHER = Content.make(3000, seed=2)
CHUNKS = Chunks(len(CONTENT.data), CONTENT.chunk_size)
HASHED = Channel(CONTENT.id, is_hash=True)
NAMED = Channel("a name", is_hash=False)
LARGEST = 16 << 20  # bytes of a chunk

Said: TypeAlias = Mapping[str, Any]


def message(kind: str, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Said]:
    return st.fixed_dictionaries({"type": st.just(kind), **values})


INDEX = (
    st.integers(0, 6)
    | st.sampled_from([-1, 1 << 33, "", "07", "4", "-1", "1e3", "٣", "9" * 11, "x"])
    | st.integers(0, 6).map(str)
)
SIZE = st.sampled_from([5000, 0, 1024, LARGEST, LARGEST + 1, -1, 1 << 62])
SHORT = st.binary(max_size=20)
HANDSHAKES = [
    CONTENT.handshake(),
    CONTENT.handshake(chunkSize=None, fileSize=None),
    OTHER.handshake(),
    CONTENT.handshake(fileSize=9),
    CONTENT.handshake(chunkSize=LARGEST + 1),
    CONTENT.handshake(hashes=[]),
    CONTENT.handshake(hashes=CONTENT.hashes[:-1] + [CONTENT.hashes[-1].upper()]),
    CONTENT.handshake(hashes=["\n".join(CONTENT.hashes)]),
]
RIGHT = HANDSHAKES[:2]
"""Handshakes that give the id, with sizes that agree."""
WORDS = st.one_of(
    message("request", index=INDEX),
    message("response", index=INDEX, data=SHORT),
    message("info"),
    message("info", fileSize=SIZE, chunkSize=SIZE),
    st.sampled_from(HANDSHAKES),
    st.sampled_from(["hello", "have", "", "REQUEST"]).flatmap(message),
)
STRANGE = [
    # A frame that is too long is refused before all of it has arrived.
    *(varint(len(b)) + b for b in MALFORMED.values() if len(b) < 100_000),
    *(b"\x00", b"\x81\x00", b"\x80\x80\x80\x80", varint((1 << 28) - 1)),
]
"""Bytes that are no message, or not even a frame."""
KINDS = st.sampled_from(["server", "hash client", "named client"])


class Ended(Exception):
    """End the conversation, by the model."""


def index_meant(value: int | str) -> int | None:
    """Return the number of an index: an integer, or up to ten ASCII digits."""
    if isinstance(value, int):
        return value if value >= 0 else None
    return int(value) if re.fullmatch("[0-9]{1,10}", value, re.ASCII) else None


class Model:
    """Model one end by docs/protocol.md."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.is_begun = kind != "hash client"
        self.owed: Counter[int] = Counter()
        self.answers: list[Said] = []

    def hear(self, said: Said) -> Event | None:
        """Return the expected event; raise `Ended`."""
        kind = said["type"]
        if kind not in ("request", "response", "info", "handshake"):
            return None
        if self.kind == "server":
            return self._hear_as_server(said)
        if kind == "handshake":
            return self._on_handshake(said)
        if not self.is_begun or kind == "request":
            raise Ended
        return self._on_info(said) if kind == "info" else self._on_response(said)

    def _hear_as_server(self, said: Said) -> Event | None:
        match said["type"]:
            case "request":
                index = index_meant(said["index"])
                if index is None or index >= CONTENT.count:
                    return None
                return ChunkRequested(index, said["index"])
            case "info":
                sizes = {"fileSize": CHUNKS.size, "chunkSize": CHUNKS.chunk_size}
                self.answers.append({"type": "info", **sizes})
                return None
        raise Ended

    def _on_handshake(self, said: Said) -> Event | None:
        if self.is_begun or said not in RIGHT:
            raise Ended
        self.is_begun = True
        return None  # of the offer only the digests are compared

    def _on_info(self, said: Said) -> Event | None:
        if self.kind == "hash client" or "fileSize" not in said:
            return None
        size, chunk = said["fileSize"], said["chunkSize"]
        if not (0 <= size < 1 << 53 and 1 <= chunk <= LARGEST):
            raise Ended
        return InfoReceived(Chunks(size, chunk))

    def _on_response(self, said: Said) -> Event:
        index = index_meant(said["index"])
        if index is None or not self.owed[index]:
            raise Ended
        self.owed[index] -= 1
        return ChunkReceived(index, said["data"], None)


class OpenConversation(RuleBasedStateMachine):
    """Hold one conversation after the other, at either end."""

    @initialize(kind=KINDS, is_right=st.booleans())
    def connect(self, kind: str, is_right: bool) -> None:
        """Begin; a hash channel's client often with a right handshake."""
        self.session: Session
        if kind == "server":
            self.session = OpenServerSession(CHUNKS, frame(CONTENT.handshake()))
            assert self.session.data_to_send() == [frame(CONTENT.handshake())]
        else:
            channel = HASHED if kind == "hash client" else NAMED
            self.session = OpenClientSession(channel)
        self.model = Model(kind)
        self.stream: Stream[Said | None] = Stream()
        self.is_over = False
        self.last: Said | None = None
        if kind == "hash client" and is_right:
            self.say([RIGHT[0]], ALL)

    @precondition(lambda self: self.is_over)
    @rule(kind=KINDS, is_right=st.booleans())
    def connect_again(self, kind: str, is_right: bool) -> None:
        """Begin another conversation."""
        self.connect(kind, is_right)

    @precondition(lambda self: not self.is_over)
    @rule(words=st.lists(WORDS, min_size=1, max_size=3), most=MOST)
    def say(self, words: list[Said], most: int) -> None:
        """Send a message that is valid in some state."""
        for self.last in words:
            self.stream.add(frame(self.last), self.last)
        self.deliver(most)

    @precondition(lambda self: self.last and not self.is_over)
    @rule(times=st.integers(1, 3))
    def say_it_again(self, times: int) -> None:
        """Send the last message again, to which nothing may be owed any more."""
        assert self.last is not None
        self.say([self.last] * times, ALL)

    @precondition(lambda self: not self.is_over)
    @rule(bad=st.sampled_from(STRANGE), rarely=st.integers(0, 3))
    def say_what_nobody_may(self, bad: bytes, rarely: int) -> None:
        """Send bytes that are no message."""
        if not rarely:
            self.stream.add(bad, None)

    @precondition(lambda self: self.model.kind != "server" and not self.is_over)
    @rule(index=st.integers(0, 6))
    def request(self, index: int) -> None:
        """Request a chunk."""
        assert isinstance(self.session, OpenClientSession)
        self.session.request(index)
        self.model.owed[index] += 1
        self.model.answers.append({"type": "request", "index": index})

    @precondition(lambda self: +self.model.owed and not self.is_over)
    @rule(data=SHORT, pick=st.integers(0, 100), as_text=st.booleans(), most=MOST)
    def answer(self, data: bytes, pick: int, as_text: bool, most: int) -> None:
        """Answer a request."""
        owed = list(+self.model.owed)
        index = owed[pick % len(owed)]
        said = {"type": "response", "index": str(index) if as_text else index}
        self.say([{**said, "data": data}], most)

    @precondition(lambda self: not self.is_over)
    @rule(most=MOST)
    def deliver(self, most: int) -> None:
        """Let bytes arrive, and compare the events with the model."""
        data, whole = self.stream.take(most)
        expected, must_end = self._expect(whole)
        got: list[Event] = []
        try:
            for event in feed(self.session, data):
                if isinstance(event, OfferReceived):
                    assert event.offer.count == CONTENT.count
                    assert event.offer.verifies(0, CONTENT.chunk(0))
                else:
                    got.append(event)
        except PeerError:
            assert must_end, "the session ended, and the model did not"
            self.is_over = True
            self.stream = Stream()
            assert got == expected[: len(got)]
            return
        assert not must_end, "the model ended, and the session did not"
        assert got == expected

    def _expect(self, whole: list[Said | None]) -> tuple[list[Event], bool]:
        """Return the expected events, and whether the conversation ends."""
        expected: list[Event] = []
        for said in whole:
            try:
                if said is None:
                    raise Ended
                event = self.model.hear(said)
            except Ended:
                return expected, True
            if event is not None:
                expected.append(event)
        return expected, False

    @invariant()
    def it_says_what_it_was_asked_to_and_answers_what_it_must(self) -> None:
        """Compare the sent bytes with the model."""
        if not self.is_over:
            said = b"".join(self.session.data_to_send())
            assert said == b"".join(map(frame, self.model.answers))
            self.model.answers.clear()


def test_any_order_of_messages_agrees_with_the_model() -> None:
    explore(OpenConversation, 200)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_orders_of_messages_agree_with_the_model() -> None:
    for _ in range(10):  # hypothesis keeps a megabyte for each until it is done
        explore(OpenConversation, 1000, derandomize=False)
