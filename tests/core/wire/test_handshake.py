"""Check which handshakes of hash channels are accepted."""

import hashlib
import re

import pytest

from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks
from shoal.core.names.channel_id import Channel, hash_channel
from shoal.core.wire.handshake import (
    MAX_SENT_HANDSHAKE,
    Offer,
    check_fits,
    check_handshake,
    check_sizes,
    encode_handshake,
)
from shoal.core.wire.messages import Handshake
from shoal.errors import LyingPeerError, ProtocolError, UsageError
from tests.helpers.wire import Content, frame

CONTENT = Content.make(5000)
CHANNEL = Channel(CONTENT.id, is_hash=True)
EMPTY = Channel(hashlib.sha256(b"").hexdigest(), is_hash=True)


def digests(content: Content) -> bytes:
    """Return the hashes of all chunks, concatenated."""
    return bytes.fromhex("".join(content.hashes))


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 5 << 20])
def test_the_id_equals_that_of_the_workshops_programs(size: int) -> None:
    content = Content.make(size)
    each = [bytes.fromhex(text) for text in content.hashes]
    assert hash_channel(each).id == content.id


def test_a_handshake_that_gives_the_id_is_an_offer() -> None:
    offer = check_handshake(CHANNEL, Handshake(CONTENT.hashes, 1024, 5000))
    assert offer == Offer(digests(CONTENT), 1024, 5000)
    assert (offer.count, offer.chunks) == (5, Chunks(5000, 1024))


def test_an_offer_verifies_chunks_by_their_index() -> None:
    offer = check_handshake(CHANNEL, Handshake(CONTENT.hashes, 1024, 5000))
    for index in range(5):
        for other in range(5):
            assert offer.verifies(index, CONTENT.chunk(other)) is (index == other)
    assert not offer.verifies(5, b"")
    assert not offer.verifies(0, CONTENT.chunk(0)[:-1])


def test_sizes_may_be_missing() -> None:
    assert check_handshake(CHANNEL, Handshake(CONTENT.hashes)).chunks is None
    offer = check_handshake(CHANNEL, Handshake(CONTENT.hashes, None, 5000))
    assert offer.chunks == Chunks(5000, 1024)
    assert check_handshake(CHANNEL, Handshake(CONTENT.hashes, 7)).chunk_size == 7


@pytest.mark.parametrize("sizes", [(), (1024,), (1024, 0)])
def test_no_hashes_are_an_empty_file(sizes: tuple[int, ...]) -> None:
    offer = check_handshake(EMPTY, Handshake([], *sizes))
    assert offer.chunks == Chunks(0, 1024)


def test_hashes_of_another_channel_are_blamed_on_the_server() -> None:
    hashes = [CONTENT.hashes[1], CONTENT.hashes[0], *CONTENT.hashes[2:]]
    for wrong in (hashes, CONTENT.hashes[:-1], [*CONTENT.hashes, "0" * 64], []):
        with pytest.raises(LyingPeerError, match="do not give the channel's id"):
            check_handshake(CHANNEL, Handshake(wrong, 1024, 5000))


def test_one_element_of_two_lines_is_refused_though_it_gives_the_id() -> None:
    joined = ["\n".join(CONTENT.hashes[:2]), *CONTENT.hashes[2:]]
    assert hashlib.sha256("\n".join(joined).encode()).hexdigest() == CHANNEL.id
    with pytest.raises(ProtocolError, match="64 lower-case hex digits"):
        check_handshake(CHANNEL, Handshake(joined, 1024, 4000))


@pytest.mark.parametrize(
    "bad", ["", "0" * 63, "0" * 65, "A" * 64, "٣" * 64, "0" * 63 + "\n"]
)
def test_a_hash_is_64_lower_case_hex_digits(bad: str) -> None:
    channel = Channel(hashlib.sha256(bad.encode()).hexdigest(), is_hash=True)
    with pytest.raises(ProtocolError, match="64 lower-case hex digits"):
        check_handshake(channel, Handshake([bad], 1024, 10))


@pytest.mark.parametrize(
    ("chunk_size", "file_size"),
    [(1024, 4096), (1024, 5121), (1, 5000), (5000, 5000), (1024, 0), (1000, 5001)],
)
def test_sizes_that_do_not_agree_with_the_hashes_are_blamed_on_the_server(
    chunk_size: int, file_size: int
) -> None:
    with pytest.raises(LyingPeerError, match="do not agree"):
        check_handshake(CHANNEL, Handshake(CONTENT.hashes, chunk_size, file_size))


@pytest.mark.parametrize(
    ("file_size", "chunk_size"),
    [(10, 0), (10, -1), (10, MAX_CHUNK_SIZE + 1), (-1, 1), (1 << 53, 1)],
)
def test_sizes_out_of_range_are_refused(file_size: int, chunk_size: int) -> None:
    with pytest.raises(ProtocolError):
        check_sizes(file_size, chunk_size)
    with pytest.raises(ProtocolError):
        check_handshake(CHANNEL, Handshake(CONTENT.hashes, chunk_size, file_size))


@pytest.mark.parametrize(
    ("file_size", "chunk_size"), [(0, 1), ((1 << 53) - 1, MAX_CHUNK_SIZE)]
)
def test_sizes_at_the_ends_of_the_range_are_accepted(
    file_size: int, chunk_size: int
) -> None:
    assert check_sizes(file_size, chunk_size) == Chunks(file_size, chunk_size)


def test_the_node_programs_can_read_the_handshake() -> None:
    sent = encode_handshake(digests(CONTENT), Chunks(5000, 1024))
    assert sent == frame(CONTENT.handshake())


def _largest_that_fits(chunk_size: int) -> int:
    low, high = 0, MAX_SENT_HANDSHAKE
    while low < high:
        middle = (low + high + 1) // 2
        try:
            check_fits(Chunks(middle * chunk_size, chunk_size))
            low = middle
        except UsageError:
            high = middle - 1
    return low


def test_the_largest_handshake_is_within_the_limit() -> None:
    count = _largest_that_fits(1024)
    sent = encode_handshake(bytes(32 * count), Chunks(count * 1024, 1024))
    assert MAX_SENT_HANDSHAKE - 300 < len(sent) <= MAX_SENT_HANDSHAKE


@pytest.mark.parametrize("size", [200 << 20, 5 << 30, 1 << 40])
def test_an_error_for_too_many_chunks_names_a_size_that_fits(size: int) -> None:
    with pytest.raises(UsageError, match="chunk_size=") as caught:
        check_fits(Chunks(size, 1024))
    named = re.search(r"chunk_size=(\d+)", str(caught.value))
    assert named is not None
    check_fits(Chunks(size, int(named[1])))
    with pytest.raises(UsageError):
        check_fits(Chunks(size, int(named[1]) // 2))


def test_an_error_for_a_file_that_never_fits_names_no_chunk_size() -> None:
    size = 1 << 52
    with pytest.raises(UsageError) as caught:
        check_fits(Chunks(size, 1024))
    named = re.search(r"chunk_size=(\d+)", str(caught.value))
    assert named is None or int(named[1]) <= MAX_CHUNK_SIZE
