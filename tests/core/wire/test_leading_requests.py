"""Compare requests that are read together with requests read one by one."""

from contextlib import suppress
from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.manifest.chunks import Chunks
from shoal.core.session.events import ChunkRequested
from shoal.core.session.open_session import OpenServerSession
from shoal.core.wire.messages import (
    Request,
    decode_message,
    encode_frame,
    index_of,
    leading_requests,
)
from shoal.errors import ProtocolError
from tests.helpers.sessions import receive
from tests.helpers.wire import frame

EDGES = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1]
INDEXES = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**32 - 1))
ODD = st.one_of(
    st.integers(-200, -1),
    st.integers(2**32, 2**63),
    st.none(),
    st.booleans(),
    st.from_regex(r"[0-9]{1,5}", fullmatch=True),
)


def plain(index: int) -> bytes:
    return encode_frame(Request(index))


@given(st.lists(INDEXES), st.integers(0, 30))
def test_all_complete_requests_in_front_are_read(indexes: list[int], cut: int) -> None:
    frames = [*map(plain, indexes), plain(7)]
    rest = frames[-1][: cut % len(frames[-1])]
    received = b"".join(frames[:-1])
    assert leading_requests(memoryview(received + rest)) == (indexes, len(received))


@given(st.lists(INDEXES, max_size=3), ODD, st.lists(INDEXES, max_size=3))
def test_only_usual_requests_are_read(
    before: list[int], odd: object, after: list[int]
) -> None:
    """Requests after another frame are not read either, to keep the order."""
    front = b"".join(map(plain, before))
    received = front + frame({"type": "request", "index": odd})
    received += b"".join(map(plain, after))
    assert leading_requests(memoryview(received)) == (before, len(front))


@given(st.lists(st.integers(0, 255), max_size=60).map(bytes), st.sampled_from(EDGES))
def test_other_bytes_are_not_read(noise: bytes, index: int) -> None:
    indexes, size = leading_requests(memoryview(noise + plain(index)))
    assert b"".join(map(plain, indexes)) == (noise + plain(index))[:size]


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 1200), ODD)),
    st.lists(st.integers(1, 300), min_size=1),
)
def test_a_session_handles_requests_alike_together_or_one_by_one(
    indexes: list[object], sizes: list[int]
) -> None:
    frames = [frame({"type": "request", "index": index}) for index in indexes]
    expected, sent = [], []
    for each in frames:
        with suppress(ProtocolError):  # this ends the conversation
            message = decode_message(each[1:])
            assert isinstance(message, Request)
            index = index_of(message.index)
            if index is not None and index < 1000:
                expected.append(ChunkRequested(index, message.index))
            sent.append(each)
    session = OpenServerSession(Chunks(1000 * 1024, 1024), None)
    assert receive(session, b"".join(sent), cycle(sizes)) == expected
    assert session.unpaid_messages == len(sent)
    assert not session.is_mid_frame
    assert not session.missing
