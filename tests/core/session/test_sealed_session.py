"""Join two sessions of a sealed share, and send one of them invalid messages."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.crypto.hashes import block_digests
from shoal.core.limits import MAX_ORIGIN_FETCHES
from shoal.core.manifest.blocks import BLOCK_SIZE, Run, run_span
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.pages import PAGE_SIZE, PageKey
from shoal.core.session.events import (
    BlocksReceived,
    ChunkReceived,
    Event,
    SealedChunkReceived,
)
from shoal.core.session.sealed_session import LENIENCY, SealedSession, ranges_of
from shoal.core.session.session import SessionState
from shoal.core.wire.framing import LARGE_FRAME
from shoal.core.wire.messages import CONTROL_LIMIT, RESPONSE_OVERHEAD, encode_frame
from shoal.core.wire.noise_messages import SealedData
from shoal.core.wire.sealed_messages import (
    MAX_RANGES,
    BlockRequest,
    Blocks,
    Cancel,
    Finished,
    Goodbye,
    Have,
    Hello,
    OriginFetch,
    Page,
    Peers,
    Refuse,
    SealedMessage,
    SealedRequest,
    SealedResponse,
    Want,
    WrongChunk,
)
from shoal.errors import ProtocolError
from tests.helpers.sessions import pieces, receive
from tests.helpers.wire import Content, frame, sealed_frame, varint

CHUNK = 200_000  # bytes; a large frame, with a buffer of its own
CONTENT = Content.make(7 * CHUNK + 5, CHUNK)
CHUNKS = Chunks(len(CONTENT.data), CHUNK)
PAGES = 9
RUNS = [Run(0, 0, 1), Run(0, 1, 3), Run(3, 3, 1), Run(6, 0, 4), Run(7, 0, 1)]
"""Blocks of chunks of four blocks; the last chunk is one short block."""
ANSWER = {"type": "response", "index": 1, "data": b"x"}


def send(session: SealedSession, *messages: dict[str, Any]) -> list[Event]:
    """Send messages in one read; return the events."""
    whole = b"".join(map(sealed_frame, messages))
    return receive(session, whole, iter(lambda: len(whole) + 1, None))


def greeted() -> SealedSession:
    """Return a session after the peer's hello."""
    session = SealedSession()
    session.know_share(CHUNKS, lambda key: key.number < PAGES)
    send(session, {"type": "hello", "port": 1})
    return session


def sent_by(session: SealedSession) -> bytes:
    return b"".join(session.data_to_send())


class End:
    """Answer every request."""

    def __init__(self, seed: int) -> None:
        self.session = SealedSession()
        self.session.know_share(CHUNKS, lambda key: key.number < PAGES)
        self.events: list[Event] = []
        self._pieces = pieces(seed, 300_000)
        self._any = list(range(CONTENT.count))
        Random(seed).shuffle(self._any)

    def receive(self, data: bytes) -> None:
        """Receive bytes of the other end, and answer the requests in them."""
        for event in receive(self.session, data, self._pieces):
            self.events.append(event)
            match event:
                case SealedRequest(index=index):
                    index = self._any.pop() if index is None else index
                    data = CONTENT.chunk(index)
                    self.session.send(SealedResponse(index, len(data)))
                    self.session._outgoing.append(data)
                case BlockRequest(read=read, index=index):
                    chunk = CONTENT.chunk(index)
                    first = event.first * BLOCK_SIZE
                    data = chunk[first : first + event.count * BLOCK_SIZE]
                    hashes = block_digests(chunk) if event.hashes else None
                    self.session.send(Blocks(read, memoryview(data), hashes))
                case Page("hashes", 0, index=index, data=None):
                    self.session.send(
                        Page("hashes", 0, index, bytes([index]) * PAGE_SIZE)
                    )

    @property
    def blocks(self) -> list[BlocksReceived]:
        return [event for event in self.events if isinstance(event, BlocksReceived)]

    @property
    def chunks(self) -> list[ChunkReceived]:
        return [event for event in self.events if isinstance(event, ChunkReceived)]


def exchange(one: End, two: End) -> None:
    """Move bytes until neither end has any left."""
    while True:
        from_one, from_two = sent_by(one.session), sent_by(two.session)
        if not from_one and not from_two:
            return
        two.receive(from_one)
        one.receive(from_two)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1 << 32))
def test_both_ends_exchange_everything_however_bytes_are_split(seed: int) -> None:
    one, two = End(seed), End(seed + 1)
    for end in (one, two):
        end.session.send(Hello(80, b"root", b"\xff"))
        end.session.send_have([3, 1, 2])
        for index in range(CONTENT.count):
            end.session.request(index)
        end.session.request_page(PageKey("hashes", 0, 2))
        for run in RUNS:
            end.session.request_blocks(run, hashes=run.first == 1)
    one.session.request_any()
    one.session.request_any()
    exchange(one, two)
    for end, extra in ((one, 2), (two, 0)):
        chunks = end.chunks
        assert end.events[:2] == [Hello(80, b"root", b"\xff"), Have([(1, 3)])]
        assert [c.index for c in chunks[: CONTENT.count]] == list(range(CONTENT.count))
        assert [c.was_any for c in chunks] == [False] * CONTENT.count + [True] * extra
        # Compared at the end: no chunk may be overwritten by later ones.
        assert all(bytes(c.data) == CONTENT.chunk(c.index) for c in chunks)
        assert Page("hashes", 0, 2, b"\2" * PAGE_SIZE) in end.events
        assert [each.run for each in end.blocks] == RUNS
        for each in end.blocks:
            chunk = CONTENT.chunk(each.run.index)
            assert bytes(each.data) == chunk[slice(*run_span(CHUNKS, each.run))]
            hashes = block_digests(chunk) if each.run.first == 1 else None
            assert each.hashes == hashes


FIRST: list[SealedMessage] = [
    Have([(0, 1)]),
    OriginFetch([(0, 1)]),
    SealedRequest(1),
    SealedRequest(),
    SealedResponse(1, 1),
    BlockRequest(1, 1, 0, 1),
    Blocks(0, memoryview(b"x")),
    Page("hashes", 0, 1),
    Page("hashes", 0, 1, b"x"),
    Cancel(1),
    Refuse(1),
    Peers([]),
    Want([(0, 1)]),
    WrongChunk(1),
    Finished(),
    Goodbye(),
]


@pytest.mark.parametrize("message", FIRST)
def test_any_message_before_hello_ends_the_conversation(message: SealedMessage) -> None:
    session = SealedSession()
    session.request(1)
    session.request_any()
    session.request_page(PageKey("hashes", 0, 1))
    data = encode_frame(message)
    with pytest.raises(ProtocolError, match="while awaiting_hello"):
        receive(session, data, iter(lambda: 1 << 20, None))
    assert session.state is SessionState.AWAITING_HELLO


def test_no_more_origin_fetches_are_announced_than_are_accepted() -> None:
    session, other = SealedSession(), greeted()
    session.send_origin_fetch(range(0, 5 * MAX_ORIGIN_FETCHES, 2))
    (event,) = receive(other, sent_by(session), iter(lambda: 1 << 20, None))
    assert event == OriginFetch(
        [(index, 1) for index in range(0, 2 * MAX_ORIGIN_FETCHES, 2)]
    )


def test_a_second_hello_is_allowed_and_other_types_are_ignored() -> None:
    session = SealedSession()
    assert send(session, {"type": "handshake", "hashes": []}) == []
    assert session.state is SessionState.AWAITING_HELLO
    again = {"type": "hello", "port": 1, "root": b"r", "bitfield": b""}
    assert send(session, {"type": "hello", "port": 1}) == [Hello(1)]
    assert send(session, again, {"type": "?"}) == [Hello(1, b"r", b"")]


def test_each_address_that_a_peer_names_counts_as_a_message() -> None:
    session = greeted()
    before = session.unpaid_messages
    send(session, {"type": "peers", "addresses": [("198.51.100.7", 1)] * 50})
    assert session.unpaid_messages == before + 51
    send(session, {"type": "meet", "host": "198.51.100.7", "ports": [1, 2], "wait": 0})
    assert session.unpaid_messages == before + 54


@pytest.mark.parametrize("index", [0, 2, (1 << 32) - 1])
def test_a_chunk_that_was_not_requested_ends_the_conversation(index: int) -> None:
    session = greeted()
    session.request(1)
    session.request_page(PageKey("hashes", 0, 2))
    with pytest.raises(ProtocolError, match="not requested"):
        send(session, {"type": "response", "index": index, "data": b"x"})


def test_each_request_allows_one_response() -> None:
    session = greeted()
    session.request(1)
    session.request(1)
    assert len(send(session, ANSWER, ANSWER)) == 2
    with pytest.raises(ProtocolError, match="not requested"):
        send(session, ANSWER)


def test_each_request_for_any_chunk_allows_one_response() -> None:
    session = greeted()
    session.request_any()
    session.request_any()
    session.request(1)
    events = send(session, ANSWER | {"index": 3}, ANSWER, ANSWER | {"index": 0})
    assert [e.was_any for e in events if isinstance(e, ChunkReceived)] == [
        True,
        False,
        True,
    ]
    with pytest.raises(ProtocolError, match="not requested"):
        send(session, ANSWER | {"index": 2})


def test_a_refusal_counts_as_the_answer() -> None:
    session = greeted()
    session.request(1)
    session.request_any()
    refusals = [Refuse(1), Refuse(None, "nothing")]
    assert send(session, {"type": "refuse", "index": 1}) == refusals[:1]
    with pytest.raises(ProtocolError, match="not requested"):
        # One response to a request for any chunk is owed; the second is too many.
        send(session, ANSWER, ANSWER)
    session = greeted()
    session.request_any()
    assert send(session, {"type": "refuse", "reason": "nothing"}) == refusals[1:]
    with pytest.raises(ProtocolError, match="not requested"):
        send(session, ANSWER)


def test_refusals_without_a_request_change_nothing() -> None:
    session = greeted()
    for _ in range(3):
        send(session, {"type": "refuse"}, {"type": "refuse", "index": 3})
    session.request_any()
    send(session, ANSWER)
    with pytest.raises(ProtocolError, match="not requested"):
        send(session, ANSWER)


def test_one_response_to_a_cancelled_request_is_accepted() -> None:
    session = greeted()
    session.request(1)
    session.cancel(1)
    assert sent_by(session) == frame({"type": "request", "index": 1}) + frame(
        {"type": "cancel", "index": 1}
    )
    assert send(session, ANSWER) == [ChunkReceived(1, b"x", None)]
    with pytest.raises(ProtocolError, match="not requested"):
        send(session, ANSWER)


def test_a_page_is_accepted_once_and_only_if_requested() -> None:
    session = greeted()
    page = {"type": "page", "table": "hashes", "level": 0, "index": 3, "data": b"p"}
    assert send(
        session, {"type": "page", "table": "hashes", "level": 0, "index": 3}
    ) == [Page("hashes", 0, 3)]
    session.request_page(PageKey("hashes", 0, 3))
    session.request_page(PageKey("hashes", 0, 4))
    assert send(session, page) == [Page("hashes", 0, 3, b"p")]
    with pytest.raises(ProtocolError, match="a page that was not requested"):
        send(session, page)


@pytest.mark.parametrize(
    "asked",
    [
        {"type": "request", "index": CONTENT.count},
        {"type": "request", "index": (1 << 32) - 1},
        {"type": "page", "table": "hashes", "level": 0, "index": PAGES},
        {"type": "read", "read": 7, "index": CONTENT.count, "first": 0, "count": 1},
        {"type": "read", "read": 7, "index": 0, "first": 4, "count": 1},
        {"type": "read", "read": 7, "index": 0, "first": 1, "count": 4},
        {"type": "read", "read": 7, "index": 7, "first": 0, "count": 2},
    ],
)
def test_the_third_request_for_what_does_not_exist_ends_the_conversation(
    asked: dict[str, Any],
) -> None:
    session = greeted()
    last = {"type": "request", "index": CONTENT.count - 1}
    page = {"type": "page", "table": "hashes", "level": 0, "index": PAGES - 1}
    assert send(session, asked, last, page, asked) == [
        SealedRequest(CONTENT.count - 1),
        Page("hashes", 0, PAGES - 1),
    ]
    refused = {"type": "refuse", "index": asked["index"], "reason": "missing"}
    if asked["type"] == "read":
        refused["read"] = 7
    answers = 0 if asked["type"] == "page" else 2
    assert sent_by(session) == frame(refused) * answers
    with pytest.raises(ProtocolError, match="do not exist"):
        send(session, asked)


def test_any_index_is_accepted_before_the_root_is_known() -> None:
    session = SealedSession()
    send(session, {"type": "hello", "port": 1})
    asked = [{"type": "request", "index": index} for index in range(100)]
    assert send(session, *asked) == [SealedRequest(index) for index in range(100)]


@pytest.mark.parametrize("chunk_size", [None, 16_384, 1 << 20])
def test_frames_longer_than_a_control_message_are_refused(
    chunk_size: int | None,
) -> None:
    session = SealedSession()
    if chunk_size is not None:
        session.know_share(
            Chunks(9 * chunk_size, chunk_size), lambda key: key.number < 1
        )
        session.request(1)
    receive(session, varint(CONTROL_LIMIT), iter(lambda: 99, None))
    session = SealedSession()
    with pytest.raises(ProtocolError, match="are allowed"):
        receive(session, varint(CONTROL_LIMIT + 1), iter(lambda: 99, None))


@pytest.mark.parametrize("extra", [0, LENIENCY, LENIENCY + 1, (1 << 32) - 1 - CHUNK])
def test_data_that_is_much_longer_than_a_chunk_is_refused_unseen(extra: int) -> None:
    session = greeted()
    session.request(1)
    said = {"type": "response", "index": 1, "length": CHUNK + extra}
    if extra <= LENIENCY:
        assert send(session, said) == []
        assert session.awaited_data == CHUNK + extra
    else:
        with pytest.raises(ProtocolError, match="a chunk of"):
            send(session, said)
        assert len(session._reader._buffer) < CHUNK


def test_nothing_after_a_goodbye_means_anything() -> None:
    session = greeted()
    session.request(1)
    said = sealed_frame({"type": "goodbye"}) + sealed_frame(ANSWER) + b"\0" * 99
    assert receive(session, said, iter(lambda: 1 << 20, None)) == [Goodbye()]
    assert receive(session, b"\0" * 99, iter(lambda: 1 << 20, None)) == []


class Opaque(SealedData):
    """Data whose messages no one decrypts here."""

    def __init__(self, length: int) -> None:
        super().__init__(memoryview(b""), (), length)


def test_data_may_arrive_apart_before_it_is_decrypted() -> None:
    session = greeted()
    session.request(1)
    session.request_any()
    for index, was_any in ((1, False), (6, True)):
        said = {"type": "response", "index": index, "length": CHUNK}
        assert send(session, said) == []
        assert session.awaited_data == CHUNK
        data, buffer = Opaque(CHUNK), bytearray(1)
        events = session.sealed_updated(data, buffer)
        assert events == [SealedChunkReceived(index, data, buffer, was_any)]
        assert session.awaited_data == 0
    assert send(session, {"type": "have", "ranges": [[0, 1]]}) == [Have([(0, 1)])]


def test_a_large_chunk_keeps_its_buffer_and_a_small_one_is_copied() -> None:
    session = greeted()
    session.request(0)
    session.request(1)
    large, small = send(
        session, ANSWER | {"index": 0, "data": bytes(LARGE_FRAME)}, ANSWER
    )
    assert isinstance(large, ChunkReceived)
    assert isinstance(large.data, memoryview)
    assert large.data.obj is large.buffer
    assert small == ChunkReceived(1, b"x", None)


def longest_frame(begun: Callable[[], SealedSession]) -> int:
    """Return the length of the longest frame that a session accepts now."""
    with pytest.raises(ProtocolError, match="are allowed") as refused:
        receive(begun(), varint((1 << 28) - 1), iter(lambda: 99, None))
    longest = int(str(refused.value).split()[-3])
    receive(begun(), varint(longest), iter(lambda: 99, None))
    return longest


def asking(*, hashes: bool, run: Run = RUNS[0]) -> SealedSession:
    """Return a session that waits for blocks, by default one, with read number 0."""
    session = greeted()
    assert session.request_blocks(run, hashes=hashes) == 0
    sent_by(session)
    return session


BLOCKS: dict[str, Any] = {
    "type": "blocks",
    "read": 0,
    "data": CONTENT.chunk(0)[:BLOCK_SIZE],
}
HASHES = block_digests(CONTENT.chunk(0))


def test_blocks_are_accepted_once_and_only_if_requested() -> None:
    session = asking(hashes=False)
    (event,) = send(session, BLOCKS)
    assert isinstance(event, BlocksReceived)
    assert (event.run, event.hashes) == (RUNS[0], None)
    with pytest.raises(ProtocolError, match="not requested"):
        send(session, BLOCKS)


@pytest.mark.parametrize("hashes", [False, True])
@pytest.mark.parametrize("missing", [-65_536, -1, 1, 32_768, 65_536])
def test_blocks_of_another_length_end_the_conversation(
    hashes: bool, missing: int
) -> None:
    said = BLOCKS | ({"hashes": HASHES} if hashes else {})
    data = bytes(len(BLOCKS["data"]) - missing)
    with pytest.raises(ProtocolError, match="number of bytes|are allowed"):
        send(asking(hashes=hashes), said | {"data": data})


@pytest.mark.parametrize(
    ("hashes", "said"),
    [(False, HASHES), (False, b""), (True, None)]
    + [(True, HASHES[:size]) for size in (0, 1, 32, 96, 127)]
    + [(True, HASHES + bytes(size)) for size in (1, 32, 500)],
)
def test_block_hashes_come_if_requested_and_one_for_each_block(
    hashes: bool, said: bytes | None
) -> None:
    message = BLOCKS if said is None else BLOCKS | {"hashes": said}
    with pytest.raises(ProtocolError, match="block hashes"):
        send(asking(hashes=hashes), message)


@pytest.mark.parametrize("read", [1, 2, (1 << 32) - 1])
def test_an_answer_or_refusal_of_another_read_ends_the_conversation(read: int) -> None:
    refusal = {"type": "refuse", "index": 0, "reason": "missing", "read": read}
    for said in (BLOCKS | {"read": read}, refusal):
        with pytest.raises(ProtocolError, match="not requested"):
            send(asking(hashes=False), said)


def test_a_refusal_of_blocks_is_their_answer() -> None:
    session = asking(hashes=False)
    refusal = {"type": "refuse", "index": 0, "reason": "busy", "read": 0}
    assert send(session, refusal) == [Refuse(0, "busy", 0)]
    for said in (refusal, BLOCKS):
        with pytest.raises(ProtocolError, match="not requested"):
            send(session, said)


def test_cancelled_blocks_may_still_arrive_or_are_refused() -> None:
    session = asking(hashes=False)
    session.cancel_blocks(0)
    assert sent_by(session) == frame({"type": "cancel", "index": 0, "read": 0})
    assert len(send(session, BLOCKS)) == 1
    session.cancel_blocks(0)
    assert sent_by(session) == b"", "it was answered"


def test_each_request_for_blocks_has_a_number_of_its_own() -> None:
    session = greeted()
    reads = [session.request_blocks(run, hashes=False) for run in RUNS]
    assert reads == [0, 1, 2, 3, 4]
    last = {"type": "blocks", "read": 4, "data": CONTENT.chunk(7)}
    first = {"type": "blocks", "read": 0, "data": CONTENT.chunk(0)[:BLOCK_SIZE]}
    events = send(session, last, first)
    assert [e.run for e in events if isinstance(e, BlocksReceived)] == [
        RUNS[4],
        RUNS[0],
    ]


def test_a_long_frame_is_accepted_only_while_blocks_are_owed() -> None:
    run, data = RUNS[1], CONTENT.chunk(0)[BLOCK_SIZE:]
    longest = len(data) + RESPONSE_OVERHEAD
    with_hashes = longest + len(HASHES)
    assert longest_frame(lambda: asking(hashes=False, run=run)) == longest
    assert longest_frame(lambda: asking(hashes=True, run=run)) == with_hashes

    def answered() -> SealedSession:
        session = asking(hashes=False, run=run)
        send(session, BLOCKS | {"data": data})
        return session

    assert longest_frame(answered) == CONTROL_LIMIT


def test_blocks_pay_for_their_message() -> None:
    session = asking(hashes=False)
    before = session.unpaid_messages
    send(session, BLOCKS)
    assert session.unpaid_messages == before


INDEXES = st.sets(st.integers(0, 200) | st.integers(0, (1 << 32) - 1))


@given(INDEXES, st.randoms(use_true_random=False))
def test_ranges_contain_exactly_the_given_indexes(
    indexes: set[int], rng: Random
) -> None:
    shuffled = list(indexes)
    rng.shuffle(shuffled)
    ranges = ranges_of(shuffled)
    assert [i for first, n in ranges for i in range(first, first + n)] == sorted(
        indexes
    )
    # The smallest number of ranges.
    assert all(a + n < b for (a, n), (b, _) in zip(ranges, ranges[1:], strict=False))


def test_many_chunks_are_announced_in_several_messages() -> None:
    session, other = SealedSession(), greeted()
    every_second = range(0, 2 * (2 * MAX_RANGES + 3), 2)
    session.send_have(every_second)
    data = sent_by(session)
    events = receive(other, data, iter(lambda: 1 << 30, None))
    assert len(events) == 3
    named = [r for e in events if isinstance(e, Have) for r in e.ranges]
    assert named == [(index, 1) for index in every_second]
    session.send_have([])
    assert sent_by(session) == b""


def test_a_chosen_chunk_that_does_not_exist_ends_the_conversation() -> None:
    session = greeted()
    session.request_any()
    with pytest.raises(ProtocolError, match="does not exist"):
        send(session, {"type": "response", "index": CHUNKS.count, "data": b"x"})
