"""Check that frames are read from any pieces, and that peers cannot exceed limits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.wire.framing import (
    LARGE_FRAME,
    MAX_BUFFER,
    MIN_BUFFER,
    PAGE,
    BufferPool,
    FrameReader,
)
from shoal.core.wire.messages import encode_varint
from shoal.errors import ProtocolError
from tests.helpers.wire import varint

LIMIT = 1 << 24
EDGES = [
    *(1, 2, 127, 128, MIN_BUFFER - 3, MIN_BUFFER - 2, MIN_BUFFER, 16383, 16384),
    *range(LARGE_FRAME - 4, LARGE_FRAME + 3),
    *range(MAX_BUFFER - 4, MAX_BUFFER + 3),
    3 * MAX_BUFFER + 1,
]
LENGTHS = st.sampled_from(EDGES) | st.integers(1, 3000)


def body(length: int, mark: int) -> bytes:
    """Return the body of a frame, different from every other body."""
    unit = bytes((mark * 31 + i) % 251 for i in range(257))
    return (unit * (length // len(unit) + 1))[:length]


def feed(reader: FrameReader, data: bytes, most: int) -> list[memoryview]:
    """Write `data` to the reader, at most `most` bytes at a time."""
    frames: list[memoryview] = []
    position = 0
    while position < len(data):
        buffer = reader.get_buffer()
        assert len(buffer) > 0
        size = min(most, len(buffer), len(data) - position)
        buffer[:size] = data[position : position + size]
        buffer.release()
        reader.buffer_updated(size)
        for frame in reader.frames():
            # The next read may overwrite a short frame.
            frames.append(
                frame if len(frame) >= LARGE_FRAME else memoryview(bytes(frame))
            )
        position += size
    return frames


@settings(deadline=None, max_examples=60)
@given(st.lists(LENGTHS, max_size=12), st.sampled_from([1, 7, 1000, 65536, 1 << 30]))
def test_any_frames_in_any_pieces_are_read_unchanged(
    lengths: list[int], most: int
) -> None:
    if most == 1:
        lengths = [length for length in lengths if length < 20_000]
    bodies = [body(length, i) for i, length in enumerate(lengths)]
    stream = b"".join(varint(len(each)) + each for each in bodies)
    frames = feed(FrameReader(LIMIT), stream, most)
    # Compared at the end, because large frames must stay unchanged.
    assert frames == bodies


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_frames_split_at_random_are_read_unchanged(data: st.DataObject) -> None:
    bodies = [
        body(length, i)
        for i, length in enumerate(data.draw(st.lists(LENGTHS, max_size=6)))
    ]
    stream = b"".join(varint(len(each)) + each for each in bodies)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    places = sorted({0, *cuts, len(stream)})
    reader = FrameReader(LIMIT)
    frames: list[memoryview] = []
    for start, end in zip(places, places[1:], strict=False):
        frames += feed(reader, stream[start:end], 1 << 30)
    assert frames == bodies


@pytest.mark.parametrize("length", [0, LIMIT + 1, (1 << 28) - 1])
def test_a_length_out_of_bounds_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError):
        feed(FrameReader(LIMIT), varint(length), 10)


@pytest.mark.parametrize("length", [1, LIMIT])
def test_a_length_at_the_bounds_is_accepted(length: int) -> None:
    assert feed(FrameReader(LIMIT), varint(length), 10) == []


@pytest.mark.parametrize(
    "raw",
    [b"\x81\x00", b"\x80\x00", b"\xff\x80\x00", b"\xff\xff\xff\x00"],
)
def test_a_length_not_in_its_shortest_form_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match="shortest form"):
        feed(FrameReader(LIMIT), raw + b"x" * 200, 300)


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xff", b"\x80\x80\x80\x80\x01"])
@pytest.mark.parametrize("most", [1, 100])
def test_a_length_of_more_than_four_bytes_is_refused(raw: bytes, most: int) -> None:
    with pytest.raises(ProtocolError, match="over 4 bytes"):
        feed(FrameReader(1 << 40), raw, most)


def test_an_unfinished_length_waits() -> None:
    reader = FrameReader(LIMIT)
    assert feed(reader, b"\x80\x80", 10) == []
    assert feed(reader, b"\x01" + bytes(1 << 14), 1 << 30) == [bytes(1 << 14)]


@given(st.integers(0, (1 << 28) - 1))
def test_a_varint_equals_the_reference(value: int) -> None:
    assert encode_varint(value) == varint(value)


def test_an_announced_length_allocates_nothing() -> None:
    reader = FrameReader(64 << 20)
    feed(reader, varint(64 << 20), 10)
    assert len(reader.get_buffer()) <= LARGE_FRAME


def test_memory_grows_only_as_fast_as_bytes_arrive() -> None:
    reader = FrameReader(64 << 20)
    feed(reader, varint(16 << 20), 10)
    received = 4
    while received < 1 << 20:
        buffer = reader.get_buffer()
        assert len(buffer) + received <= max(LARGE_FRAME, 2 * received) + PAGE
        size = min(len(buffer), 10_000)
        reader.buffer_updated(size)
        assert list(reader.frames()) == []
        received += size


def test_a_trusted_length_is_allocated_at_once() -> None:
    reader = FrameReader(4 << 20)
    reader.trusted = 4 << 20
    feed(reader, varint(4 << 20), 10)
    assert len(reader.get_buffer()) >= (4 << 20) - 4  # its length has come


def test_small_frames_stay_within_one_buffer() -> None:
    reader = FrameReader(LIMIT)
    stream = (varint(100) + body(100, 1)) * 20_000
    assert len(feed(reader, stream, 1 << 30)) == 20_000
    assert len(reader.get_buffer()) <= MAX_BUFFER


def test_an_idle_connection_uses_little_memory() -> None:
    assert len(FrameReader(64 << 20).get_buffer()) == MIN_BUFFER


def test_a_large_frame_keeps_its_buffer_until_it_is_given_back() -> None:
    pool = BufferPool()
    reader = FrameReader(LIMIT, pool)
    one, two = body(LARGE_FRAME, 1), body(LARGE_FRAME, 2)
    stream = b"".join(varint(len(each)) + each for each in (one, two))
    frames = feed(reader, stream, 1 << 30)
    assert frames[0].obj is not frames[1].obj
    buffer = frames[0].obj
    assert isinstance(buffer, bytearray)
    pool.give(buffer)
    assert pool.take(len(buffer)) is buffer
    assert frames[1] == two


def test_the_limit_may_change_between_frames() -> None:
    reader = FrameReader(LIMIT)
    feed(reader, varint(1000) + bytes(1000), 1 << 30)
    reader.limit = 999
    with pytest.raises(ProtocolError, match="999 are allowed"):
        feed(reader, varint(1000), 10)


def test_a_pool_keeps_no_more_than_its_limit() -> None:
    pool = BufferPool(3 * LARGE_FRAME)
    buffers = [pool.take(LARGE_FRAME) for _ in range(4)]
    for buffer in buffers[:3]:
        pool.give(buffer)
    pool.give(buffers[3])  # one too many: the pool drops the others
    assert pool.take(LARGE_FRAME) is buffers[3]
    assert all(pool.take(LARGE_FRAME) is not each for each in buffers)


def test_a_pool_keeps_no_small_buffers() -> None:
    pool = BufferPool()
    small = pool.take(100)
    assert len(small) >= 100
    pool.give(small)
    assert pool.take(100) is not small
