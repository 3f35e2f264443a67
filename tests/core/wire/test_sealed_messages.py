"""Check the bytes of sealed messages, and the limits of every field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.manifest.pages import PAGE_SIZE
from shoal.core.wire.messages import CONTROL_LIMIT, RESPONSE_OVERHEAD, encode_frame
from shoal.core.wire.sealed_messages import (
    MAX_BITFIELD,
    MAX_BLOCK_HASHES,
    MAX_BLOCKS,
    MAX_PEERS,
    MAX_RANGES,
    MAX_ROOT,
    BitfieldPiece,
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
    blocks_header,
    decode_sealed,
    response_frame,
)
from shoal.errors import ProtocolError
from tests.helpers.wire import frame, pack, unframed

INDEX = st.integers(0, (1 << 32) - 1)
PORT = st.integers(0, 65535)
RANGE = st.tuples(INDEX, INDEX)
MESSAGES: st.SearchStrategy[SealedMessage] = st.one_of(
    st.builds(
        Hello,
        PORT,
        st.none() | st.binary(max_size=300),
        st.none() | st.binary(max_size=300),
    ),
    st.builds(Have, st.lists(RANGE, max_size=20)),
    st.builds(OriginFetch, st.lists(RANGE, max_size=20)),
    st.builds(SealedRequest, st.none() | INDEX),
    st.builds(SealedResponse, INDEX, INDEX),
    st.builds(
        Page,
        st.sampled_from(["files", "hashes"]),
        st.integers(0, 7),
        INDEX,
        st.none() | st.binary(max_size=PAGE_SIZE),
    ),
    st.builds(BitfieldPiece, st.binary(max_size=MAX_BITFIELD)),
    st.builds(Cancel, INDEX, st.none() | INDEX),
    st.builds(Refuse, st.none() | INDEX, st.text(max_size=64), st.none() | INDEX),
    st.builds(WrongChunk, INDEX),
    st.builds(
        BlockRequest,
        INDEX,
        INDEX,
        st.integers(0, MAX_BLOCKS - 1),
        st.integers(1, MAX_BLOCKS),
        st.booleans(),
    ),
    st.builds(
        Blocks,
        INDEX,
        st.binary(max_size=70_000).map(memoryview),
        st.none() | st.binary(max_size=MAX_BLOCK_HASHES),
    ),
    st.builds(Peers, st.lists(st.tuples(st.text(max_size=45), PORT), max_size=50)),
    st.builds(Goodbye, st.text(max_size=64)),
    st.builds(Want, st.lists(RANGE, max_size=20)),
    st.builds(Finished),
)


SAID: list[tuple[SealedMessage, dict[str, Any]]] = [
    (Hello(7), {"type": "hello", "port": 7}),
    (
        Hello(7, b"r", b"\x80"),
        {"type": "hello", "port": 7, "root": b"r", "bitfield": b"\x80"},
    ),
    (BitfieldPiece(b"\x80"), {"type": "bitfield", "bits": b"\x80"}),
    (Have([(3, 2), (9, 1)]), {"type": "have", "ranges": [[3, 2], [9, 1]]}),
    (OriginFetch([(3, 2)]), {"type": "pulling", "ranges": [[3, 2]]}),
    (SealedRequest(7), {"type": "request", "index": 7}),
    (SealedRequest(), {"type": "request"}),
    (Page("hashes", 0, 5), {"type": "page", "table": "hashes", "level": 0, "index": 5}),
    (
        Page("hashes", 0, 5, b"p"),
        {"type": "page", "table": "hashes", "level": 0, "index": 5, "data": b"p"},
    ),
    (Cancel(7), {"type": "cancel", "index": 7}),
    (Cancel(7, 3), {"type": "cancel", "index": 7, "read": 3}),
    (WrongChunk(7), {"type": "wrong", "index": 7}),
    (Finished(), {"type": "finished"}),
    (
        BlockRequest(5, 7, 2, 3),
        {"type": "read", "read": 5, "index": 7, "first": 2, "count": 3},
    ),
    (
        BlockRequest(5, 7, 0, 256, True),
        {
            "type": "read",
            "read": 5,
            "index": 7,
            "first": 0,
            "count": 256,
            "hashes": True,
        },
    ),
    (
        Refuse(7, "missing", 5),
        {"type": "refuse", "index": 7, "reason": "missing", "read": 5},
    ),
    (Refuse(7, "busy"), {"type": "refuse", "index": 7, "reason": "busy"}),
    (Refuse(), {"type": "refuse"}),
    (Peers([("::1", 80)]), {"type": "peers", "addresses": [["::1", 80]]}),
    (Goodbye(), {"type": "goodbye"}),
    (Goodbye("done"), {"type": "goodbye", "reason": "done"}),
    (Want([(3, 2)]), {"type": "want", "ranges": [[3, 2]]}),
    (WrongChunk(7), {"type": "wrong", "index": 7}),
]


@pytest.mark.parametrize(("message", "said"), SAID)
def test_a_message_is_encoded_as_its_documented_map(
    message: SealedMessage, said: dict[str, Any]
) -> None:
    assert encode_frame(message) == frame(said)
    assert decode_sealed(pack(said)) == message


def test_requests_equal_those_of_open_channels() -> None:
    request = bytes.fromhex("15 82a474797065a772657175657374a5696e64657807")
    assert encode_frame(SealedRequest(7)) == request


def test_a_response_announces_the_length_of_its_data() -> None:
    answer = {"type": "response", "index": 7, "length": 3}
    assert response_frame(7, 3) == frame(answer)


@given(INDEX, st.none() | st.binary(max_size=MAX_BLOCK_HASHES), st.binary(max_size=999))
def test_blocks_follow_their_header(
    read: int, hashes: bytes | None, data: bytes
) -> None:
    whole = blocks_header(read, hashes, len(data)) + data
    assert decode_sealed(unframed(whole)) == Blocks(read, memoryview(data), hashes)
    assert len(unframed(whole)) <= len(data) + len(hashes or b"") + RESPONSE_OVERHEAD


def test_a_frame_with_a_full_page_has_65_584_bytes() -> None:
    whole = encode_frame(Page("hashes", 0, 0, bytes(PAGE_SIZE)))
    assert len(unframed(whole)) == 65_584
    last = Page("hashes", 0, (1 << 32) - 1, bytes(PAGE_SIZE))
    assert len(unframed(encode_frame(last))) == 65_588


def test_the_limits_are_those_of_the_protocol() -> None:
    assert (PAGE_SIZE, MAX_ROOT) == (65_536, 8192)
    assert (MAX_PEERS, MAX_RANGES, MAX_BITFIELD) == (50, 4096, 65_536)
    assert (MAX_BLOCKS, MAX_BLOCK_HASHES) == (256, 8192)


def test_every_message_but_a_chunk_fits_into_a_control_frame() -> None:
    most = (1 << 32) - 1
    largest = [
        Hello(65535, bytes(MAX_ROOT), bytes(MAX_BITFIELD)),
        BitfieldPiece(bytes(MAX_BITFIELD)),
        Have([(most, most)] * MAX_RANGES),
        OriginFetch([(most, most)] * MAX_RANGES),
        Want([(most, most)] * MAX_RANGES),
        Page("hashes", 0, most, bytes(PAGE_SIZE)),
        Refuse(most, "\U0001f41f" * 64),
        Peers([("\U0001f41f" * 45, 65535)] * MAX_PEERS),
        SealedResponse(most, most),
    ]
    for message in largest:
        body = unframed(encode_frame(message))
        assert len(body) <= CONTROL_LIMIT
        assert decode_sealed(body) == message


@given(MESSAGES)
def test_a_message_is_decoded_as_it_was_encoded(message: SealedMessage) -> None:
    assert decode_sealed(unframed(encode_frame(message))) == message


@pytest.mark.parametrize("kind", ["handshake", "info", "", "HELLO", "pages", "é" * 99])
def test_messages_of_other_types_are_ignored(kind: str) -> None:
    assert decode_sealed(pack({"type": kind, "index": [None, {}]})) is None


@pytest.mark.parametrize(("message", "said"), SAID)
def test_unknown_keys_are_ignored(message: SealedMessage, said: dict[str, Any]) -> None:
    more = {"x": {"y": [1.5]}, **said, "v": None}
    assert decode_sealed(pack(more)) == message


INDEXED = ["request", "response", "page", "cancel", "refuse", "wrong"]
READ = {"type": "read", "read": 1, "index": 1, "first": 0, "count": 1}
NO_INDEX = [-1, 1 << 32, 1 << 63, True, 1.0, "1", b"1", [1], {}]
TOO_FAR: list[dict[str, Any]] = [
    {"type": kind, "data": b"", "table": "files", "level": 0, "index": value}
    for kind in INDEXED
    for value in NO_INDEX
]
TOO_FAR += [{"type": kind, "index": None} for kind in ("cancel", "page")]
TOO_FAR += [{"type": "response", "index": None, "length": 1}]
TOO_FAR += [
    *({"type": "hello", "port": port} for port in [-1, 65536, True, "80", None]),
    {"type": "hello"},
    {"type": "hello", "port": 1, "root": bytes(MAX_ROOT + 1)},
    {"type": "hello", "port": 1, "root": "text"},
    {"type": "hello", "port": 1, "bitfield": bytes(MAX_BITFIELD + 1)},
    {"type": "have"},
    {"type": "have", "ranges": [[0, 1]] * (MAX_RANGES + 1)},
    *({"type": "have", "ranges": [r]} for r in ([0], [0, 1, 2], [-1, 1], [0, -1], 0)),
    {"type": "have", "ranges": [[0, 1 << 32]]},
    {"type": "response", "index": 1},
    {"type": "response", "index": 1, "length": -1},
    {"type": "response", "index": 1, "length": 1 << 32},
    {"type": "response", "index": 1, "data": b"text"},
    {
        "type": "page",
        "table": "hashes",
        "level": 0,
        "index": 1,
        "data": bytes(PAGE_SIZE + 1),
    },
    {"type": "page", "table": "hashes", "level": 0, "index": 1, "data": "text"},
    *(
        {"type": "page", "index": 1, "table": "files", "level": 0} | {key: value}
        for key, values in {
            "table": ("", "file", "HASHES", 0, None, b"files"),
            "level": (-1, 8, 1 << 63, "0", None, True, 0.0),
        }.items()
        for value in values
    ),
    {"type": "page", "index": 1, "level": 0},
    {"type": "page", "index": 1, "table": "files"},
    {"type": "bitfield"},
    {"type": "bitfield", "bits": bytes(MAX_BITFIELD + 1)},
    {"type": "bitfield", "bits": "text"},
    {"type": "bitfield", "bits": None},
    {"type": "cancel"},
    *(READ | {key: value} for key in ("read", "index") for value in NO_INDEX),
    *(READ | {"first": value} for value in [-1, MAX_BLOCKS, 1.0, "1", None, True]),
    *(READ | {"count": value} for value in [-1, 0, MAX_BLOCKS + 1, "1", None, True]),
    *(READ | {"hashes": value} for value in [0, 1, "1", b"", None]),
    *({k: v for k, v in READ.items() if k != key} for key in READ if key != "type"),
    {"type": "blocks", "read": 1},
    {"type": "blocks", "data": b""},
    *({"type": "blocks", "read": value, "data": b""} for value in (*NO_INDEX, None)),
    {"type": "blocks", "read": 1, "data": "text"},
    {"type": "blocks", "read": 1, "data": b"", "hashes": bytes(MAX_BLOCK_HASHES + 1)},
    {"type": "blocks", "read": 1, "data": b"", "hashes": "text"},
    *({"type": "cancel", "index": 1, "read": value} for value in NO_INDEX),
    *({"type": "refuse", "index": 1, "read": value} for value in NO_INDEX),
    {"type": "refuse", "reason": "x" * 65},
    {"type": "refuse", "reason": None},
    {"type": "goodbye", "reason": "x" * 65},
    {"type": "peers"},
    {"type": "peers", "addresses": [["::1", 1]] * (MAX_PEERS + 1)},
    *({"type": "peers", "addresses": [["::1", p]]} for p in ["1", None]),
]


@pytest.mark.parametrize(
    "address", [("x" * 254, 1), ("::1", -1), ("8.8.8.8", 65536), ("", 0)]
)
def test_an_address_that_cannot_be_dialled_is_no_error(
    address: tuple[str, int],
) -> None:
    said = {"type": "peers", "addresses": [list(address)]}
    assert decode_sealed(pack(said)) == Peers([address])


@pytest.mark.parametrize("said", TOO_FAR, ids=lambda said: repr(said)[:60])
def test_values_out_of_range_are_protocol_errors(said: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="malformed message") as caught:
        decode_sealed(pack(said))
    assert len(str(caught.value)) < 200


# `test_messages` has the cases that do not depend on the types of messages.
@pytest.mark.parametrize(
    "raw",
    [
        pack({"type": "goodbye"}) + b"\0",
        pack({"type": "hello", "port": 1})[:-1],
        b"\x82\xa4type\xa4have\xa6ranges\xdd\xff\xff\xff\xff",
    ],
)
def test_malformed_messages_are_protocol_errors(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed message"):
        decode_sealed(memoryview(raw))
