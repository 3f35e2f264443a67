"""Check the bytes of messages, and which bytes are malformed."""

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from shoal.core.wire.messages import (
    Handshake,
    Info,
    Message,
    Request,
    Response,
    decode_message,
    encode_frame,
    index_of,
    response_header,
)
from shoal.core.wire.sealed_messages import decode_sealed
from shoal.errors import ProtocolError
from tests.core.wire.test_sealed_messages import MESSAGES as SEALED_MESSAGES
from tests.helpers.wire import frame, pack, unframed

Decode: TypeAlias = Callable[[memoryview], object]

INDEX = st.integers(0, (1 << 64) - 1) | st.from_regex(r"[0-9]{1,10}", fullmatch=True)
SIZE = st.none() | st.integers(0, (1 << 53) - 1)
MESSAGES = st.one_of(
    st.builds(Request, INDEX),
    st.builds(Response, INDEX, st.binary(max_size=70_000).map(memoryview)),
    st.builds(Handshake, st.lists(st.text(max_size=70), max_size=5), SIZE, SIZE),
    st.builds(Info, SIZE, SIZE),
)


def test_a_request_has_the_bytes_of_msgpack5_stream() -> None:
    expected = bytes.fromhex("15 82a474797065a772657175657374a5696e64657807")
    assert encode_frame(Request(7)) == expected
    assert decode_message(expected[1:]) == Request(7)


def test_a_handshake_and_an_info_have_the_keys_of_the_node_programs() -> None:
    handshake = {"type": "handshake", "hashes": ["a"], "chunkSize": 5, "fileSize": 9}
    assert encode_frame(Handshake(["a"], 5, 9)) == frame(handshake)
    assert encode_frame(Info(9, 5)) == frame(
        {"type": "info", "fileSize": 9, "chunkSize": 5}
    )


@given(MESSAGES)
def test_a_message_is_decoded_as_it_was_encoded(message: Message) -> None:
    assert decode_message(unframed(encode_frame(message))) == message


@given(INDEX, st.sampled_from([0, 1, 255, 256, 65535, 65536, 200_000]))
def test_a_header_and_its_data_are_the_frame_of_a_response(
    index: int | str, length: int
) -> None:
    data = bytes(length)
    whole = encode_frame(Response(index, memoryview(data)))
    assert response_header(index, length) + data == whole


def test_the_data_of_a_response_is_not_copied() -> None:
    body = bytearray(pack({"type": "response", "index": 1, "data": b"abc"}))
    message = decode_message(memoryview(body))
    assert isinstance(message, Response)
    body[-1:] = b"X"
    assert bytes(message.data) == b"abX"


@pytest.mark.parametrize("kind", ["have", "", "REQUEST", "requests", "\x00", "é" * 99])
def test_messages_of_other_types_are_ignored(kind: str) -> None:
    assert decode_message(pack({"type": kind, "index": [None, {}]})) is None


def test_unknown_keys_are_ignored() -> None:
    message = {"x": {"y": [1.5]}, "type": "request", "index": 1, "v": None}
    assert decode_message(pack(message)) == Request(1)


def _raw(index: bytes) -> bytes:
    return b"\x82\xa4type\xa7request\xa5index" + index


MALFORMED = {
    "nothing": b"",
    "no msgpack": b"\xc1",
    "no map": b"\x93\x01\x02\x03",
    "no type": b"\x80",
    "a type that is no string": pack({"type": 1, "index": 1}),
    "no index": pack({"type": "request"}),
    "bool": _raw(b"\xc3"),
    "float": _raw(b"\xcb" + struct.pack(">d", 3.0)),
    "not a number": _raw(b"\xcb" + struct.pack(">d", float("nan"))),
    "nil": _raw(b"\xc0"),
    "bin": _raw(b"\xc4\x011"),
    "array": _raw(b"\x91\x01"),
    "timestamp": _raw(b"\xd6\xff\0\0\0\0"),
    "something behind": pack({"type": "request", "index": 1}) + b"\0",
    "cut off": pack({"type": "request", "index": 1})[:-1],
    "a list as key": b"\x82\x90\x01\xa4type\xa3foo",
    "a number as key": b"\x82\x01\x01\xa4type\xa3foo",
    "no UTF-8": b"\x81\xa4type\xa2\xff\xff",
    "no UTF-8 in an index": _raw(b"\xa1\xff"),
    "four billion elements": b"\xdd\xff\xff\xff\xff",
    "four billion keys": b"\xdf\xff\xff\xff\xff",
    "four billion hashes": b"\x82\xa4type\xa9handshake\xa6hashes\xdd\xff\xff\xff\xff",
    "four billion characters": _raw(b"\xdb\xff\xff\xff\xff"),
    "four billion bytes": _raw(b"\xc6\xff\xff\xff\xff"),
    "deep": b"\x83\xa4type\xa7request\xa5index\x01\xa1x" + b"\x91" * 100_000 + b"\xc0",
    "deep from the start": b"\x91" * 100_000,
    "deep maps": b"\x81\xa1x" * 50_000,
    "data of text": pack({"type": "response", "index": 1, "data": "text"}),
    "hashes of bytes": pack({"type": "handshake", "hashes": [b"x"]}),
    "a size of text": pack({"type": "handshake", "hashes": [], "fileSize": "1"}),
    "a size that is true": pack({"type": "info", "fileSize": True}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_messages_are_protocol_errors(name: str) -> None:
    with pytest.raises(ProtocolError, match="malformed message") as caught:
        decode_message(memoryview(MALFORMED[name]))
    assert len(str(caught.value)) < 200


KINDS = pytest.mark.parametrize(
    ("decode", "messages"),
    [(decode_message, MESSAGES), (decode_sealed, SEALED_MESSAGES)],
    ids=["open", "sealed"],
)


@KINDS
@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_protocol_error(
    decode: Decode, messages: object, raw: bytes
) -> None:
    with suppress(ProtocolError):
        decode(memoryview(raw))


@KINDS
@given(st.data())
def test_any_changed_byte_gives_a_message_or_a_protocol_error(
    decode: Decode, messages: st.SearchStrategy[Struct], data: st.DataObject
) -> None:
    raw = bytearray(unframed(encode_frame(data.draw(messages))))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ProtocolError):
        decode(memoryview(raw))


@pytest.mark.parametrize(
    ("value", "index"),
    [
        (0, 0),
        (7, 7),
        ("0", 0),
        ("007", 7),
        ("9" * 10, 9_999_999_999),
        (1 << 63, 1 << 63),
    ],
)
def test_an_index_is_a_number_or_its_digits(value: int | str, index: int) -> None:
    assert index_of(value) == index


@pytest.mark.parametrize(
    "value", [-1, "", "-1", "+1", " 1", "1 ", "1\n", "1_0", "1.0", "0x1", "٣", "9" * 11]
)
def test_any_other_value_is_no_index(value: int | str) -> None:
    assert index_of(value) is None
