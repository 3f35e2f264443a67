"""Join two sessions of an open channel, and send one of them invalid messages."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from shoal.core.session.session import Session, SessionState
from shoal.core.wire.framing import LARGE_FRAME
from shoal.core.wire.handshake import encode_handshake
from shoal.core.wire.messages import (
    CONTROL_LIMIT,
    RESPONSE_OVERHEAD,
    decode_message,
    response_header,
)
from shoal.errors import LyingPeerError, ProtocolError
from tests.helpers.sessions import pieces, receive
from tests.helpers.wire import Content, frame, varint

CONTENT = Content.make(5000)
HASHED = Channel(CONTENT.id, is_hash=True)
NAMED = Channel("a name", is_hash=False)


def whole() -> Iterator[int]:
    while True:
        yield 1 << 30


def send(session: Session, *messages: dict[str, Any]) -> list[Event]:
    """Send messages in one read; return the events."""
    return receive(session, b"".join(map(frame, messages)), whole())


def serve(content: Content, *, named: bool = False) -> OpenServerSession:
    chunks = Chunks(len(content.data), content.chunk_size)
    digests = bytes.fromhex("".join(content.hashes))
    return OpenServerSession(
        chunks, None if named else encode_handshake(digests, chunks)
    )


def ready() -> OpenClientSession:
    """Return the session of a hash channel's client after the handshake."""
    session = OpenClientSession(HASHED)
    send(session, CONTENT.handshake())
    return session


class Pair:
    """Join a client and a server, as h11's ConnectionPair does; answer requests."""

    def __init__(self, content: Content, channel: Channel, seed: int) -> None:
        self.content = content
        self.client = OpenClientSession(channel)
        self.server = serve(content, named=not channel.is_hash)
        self.events: list[Event] = []
        self._pieces = pieces(seed, 300_000)

    def exchange(self) -> None:
        """Move bytes until neither end has any left."""
        while True:
            sent = b"".join(self.client.data_to_send())
            wanted = receive(self.server, sent, self._pieces)
            answers = self.server.data_to_send()
            for event in wanted:
                assert isinstance(event, ChunkRequested)
                data = self.content.chunk(event.index)
                answers += [response_header(event.echo, len(data)), data]
            if not sent and not answers:
                return
            self.events += receive(self.client, b"".join(answers), self._pieces)


@settings(deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.sampled_from([(0, 10), (1, 1), (5000, 1024), (900_000, 200_000)]),
    st.booleans(),
)
def test_a_client_receives_every_chunk_however_bytes_are_split(
    seed: int, sizes: tuple[int, int], is_hash: bool
) -> None:
    content = Content.make(*sizes)
    channel = Channel(content.id if is_hash else "x", is_hash)
    pair = Pair(content, channel, seed)
    if not is_hash:
        pair.client.request_info()
    pair.exchange()
    first = pair.events[0]
    if is_hash:
        assert isinstance(first, OfferReceived)
        assert first.offer.chunks == Chunks(*sizes)
    else:
        assert first == InfoReceived(Chunks(*sizes))
    order = list(range(content.count))
    Random(seed).shuffle(order)
    for index in order:
        pair.client.request(index)
    pair.exchange()
    got = [e for e in pair.events if isinstance(e, ChunkReceived)]
    assert [each.index for each in got] == order
    # Compared at the end: no chunk may be overwritten by later ones.
    assert [bytes(each.data) for each in got] == [content.chunk(i) for i in order]


def test_a_named_channels_server_sends_nothing_before_a_request() -> None:
    assert serve(CONTENT, named=True).data_to_send() == []
    session = OpenClientSession(NAMED)
    assert session.data_to_send() == []
    assert session.state is SessionState.FETCHING


@pytest.mark.parametrize("index", [2, "2", "0002"])
def test_a_request_keeps_its_index_as_it_was_sent(index: int | str) -> None:
    events = send(serve(CONTENT), {"type": "request", "index": index})
    assert events == [ChunkRequested(2, index)]


@pytest.mark.parametrize("index", [5, -1, "5", "x", "", 1 << 63])
def test_a_request_for_a_chunk_that_does_not_exist_is_ignored(index: int | str) -> None:
    server = serve(CONTENT)
    server.data_to_send()
    assert send(server, {"type": "request", "index": index}) == []
    assert server.data_to_send() == []


@pytest.mark.parametrize(
    "message",
    [
        {"type": "response", "index": 0, "data": b""},
        {"type": "handshake", "hashes": []},
    ],
)
def test_a_server_accepts_no_responses(message: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="while serving"):
        send(serve(CONTENT), message)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "response", "index": 0, "data": b"x"},
        {"type": "info", "fileSize": 1, "chunkSize": 1},
        {"type": "request", "index": 0},
    ],
)
def test_nothing_is_accepted_before_the_handshake(message: dict[str, Any]) -> None:
    session = OpenClientSession(HASHED)
    session.request(0)
    with pytest.raises(ProtocolError, match="while awaiting_handshake"):
        send(session, message)


def test_a_second_handshake_ends_the_conversation() -> None:
    with pytest.raises(ProtocolError, match="a handshake while fetching"):
        send(ready(), CONTENT.handshake())
    with pytest.raises(ProtocolError, match="a handshake while fetching"):
        send(OpenClientSession(NAMED), CONTENT.handshake())


def test_a_handshake_of_another_channel_is_blamed_on_the_server() -> None:
    with pytest.raises(LyingPeerError):
        send(OpenClientSession(HASHED), Content.make(5000, seed=2).handshake())


@pytest.mark.parametrize("index", [0, 3, "x", -1, 99])
def test_a_chunk_that_was_not_requested_ends_the_conversation(index: int | str) -> None:
    session = ready()
    session.request(1)
    with pytest.raises(ProtocolError, match="not requested"):
        send(session, {"type": "response", "index": index, "data": b"x"})


def test_each_request_allows_one_response() -> None:
    session = ready()
    session.request(1)
    session.request(1)
    answer = {"type": "response", "index": 1, "data": b"x"}
    assert len(send(session, answer, answer)) == 2
    with pytest.raises(ProtocolError, match="not requested"):
        send(session, answer)


def test_a_response_may_have_its_index_in_digits() -> None:
    session = ready()
    session.request(3)
    answer = {"type": "response", "index": "3", "data": b"x"}
    assert send(session, answer) == [ChunkReceived(3, b"x", None)]


def test_messages_of_other_types_are_ignored_in_any_state() -> None:
    for session in (OpenClientSession(HASHED), ready(), serve(CONTENT)):
        state = session.state
        assert send(session, {"type": "have", "index": 1}) == []
        assert session.state is state


def test_sizes_come_from_a_handshake_or_an_info_but_not_both() -> None:
    assert send(ready(), {"type": "info", "fileSize": 1, "chunkSize": 1}) == []
    named = OpenClientSession(NAMED)
    assert send(named, {"type": "info"}) == []
    assert send(named, {"type": "info", "fileSize": 9, "chunkSize": 2}) == [
        InfoReceived(Chunks(9, 2))
    ]


def test_sizes_out_of_range_end_the_conversation() -> None:
    info = {"type": "info", "fileSize": 1, "chunkSize": 0}
    with pytest.raises(ProtocolError):
        send(OpenClientSession(NAMED), info)


@pytest.mark.parametrize("chunk_size", [1024, 1 << 20])
def test_after_the_handshake_frames_longer_than_a_chunk_are_refused(
    chunk_size: int,
) -> None:
    content = Content.make(5000, chunk_size)
    longest = max(CONTROL_LIMIT, chunk_size + RESPONSE_OVERHEAD)
    for length in (longest, longest + 1):
        session = OpenClientSession(Channel(content.id, is_hash=True))
        send(session, content.handshake())
        if length == longest:
            receive(session, varint(length), whole())
        else:
            with pytest.raises(ProtocolError, match="are allowed"):
                receive(session, varint(length), whole())


def test_a_server_refuses_frames_over_the_control_limit() -> None:
    receive(serve(CONTENT), varint(CONTROL_LIMIT), whole())
    with pytest.raises(ProtocolError, match="are allowed"):
        receive(serve(CONTENT), varint(CONTROL_LIMIT + 1), whole())


def test_a_large_chunk_keeps_the_buffer_that_it_arrived_in() -> None:
    content = Content.make(LARGE_FRAME * 2, LARGE_FRAME)
    session = OpenClientSession(Channel(content.id, is_hash=True))
    send(session, content.handshake())
    session.request(0)
    answer = {"type": "response", "index": 0, "data": content.chunk(0)}
    (event,) = send(session, answer)
    assert isinstance(event, ChunkReceived)
    assert event.buffer is not None
    assert isinstance(event.data, memoryview)
    assert event.data.obj is event.buffer


def test_the_base_session_has_no_messages() -> None:
    class Bare(Session):
        TRANSITIONS = OpenServerSession.TRANSITIONS

    bare = Bare(SessionState.SERVING, decode_message, 100, None)
    with pytest.raises(NotImplementedError):
        send(bare, {"type": "request", "index": 0})
