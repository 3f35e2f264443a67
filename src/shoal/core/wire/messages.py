"""Encode and decode the messages of an open channel, and any message's frame; pure.

Each message of docs/protocol.md, "Channel messages", is a frozen struct, and a tagged
union of them is the protocol. By "Frames" there, messages of other types and unknown
keys are ignored, and everything else that does not fit is a `ProtocolError`.
"""

import struct
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from shoal.errors import ProtocolError

__all__ = [
    "CONTROL_LIMIT",
    "HANDSHAKE_LIMIT",
    "RESPONSE_OVERHEAD",
    "Handshake",
    "Info",
    "Message",
    "Request",
    "Response",
    "decode_message",
    "encode_frame",
    "encode_varint",
    "index_of",
    "leading_requests",
    "message_decoder",
    "response_header",
]

CONTROL_LIMIT = 128 * 1024  # bytes in a frame of any message not named below
HANDSHAKE_LIMIT = 64 * 1024 * 1024  # bytes in a frame with a handshake
RESPONSE_OVERHEAD = 64  # bytes in a response's frame in addition to its data
MAX_DIGITS = 10  # of an index that is written as text


class Request(Struct, frozen=True, tag="request", tag_field="type", gc=False):
    """Request one chunk."""

    index: int | str
    """A number, or its digits: Node clients send what the user typed."""


class Response(Struct, frozen=True, tag="response", tag_field="type"):
    """Send one chunk."""

    index: int | str
    """Exactly as requested."""
    data: memoryview
    """The chunk; a view of the frame that it arrived in."""


class Handshake(Struct, frozen=True, tag="handshake", tag_field="type", rename="camel"):
    """Send the hashes of a hash channel: its server's first message."""

    hashes: list[str]
    """The SHA-256 of every chunk, 64 lower-case hex digits each."""
    chunk_size: int | None = None
    """Bytes; some servers leave it out."""
    file_size: int | None = None
    """Bytes; some servers leave it out."""


class Info(Struct, frozen=True, tag="info", tag_field="type", rename="camel"):
    """Request the sizes of a named channel; with both sizes, the answer."""

    file_size: int | None = None
    """Bytes."""
    chunk_size: int | None = None
    """Bytes."""


Message: TypeAlias = Request | Response | Handshake | Info


class _AnyType(Struct, tag_field=None):
    type: str


_encoder = msgspec.msgpack.Encoder()
_type_decoder = msgspec.msgpack.Decoder(_AnyType)
_MALFORMED = (msgspec.MsgspecError, ValueError, TypeError, OverflowError)


def message_decoder(
    union: Any, types: Collection[str]
) -> Callable[[memoryview | bytes], Any]:
    """Return the function that decodes the structs of `union`, with tags `types`.

    It takes the body of a frame, and returns the message, or None if its type is
    unknown. Data in a message is not copied: it keeps the frame alive. It raises
    `ProtocolError` for anything else.
    """
    decoder = msgspec.msgpack.Decoder(union)
    known = frozenset(types)

    def decode(frame: memoryview | bytes) -> Any:
        try:
            return decoder.decode(frame)
        except (*_MALFORMED, RecursionError) as error:
            problem = error
        try:
            if _type_decoder.decode(frame).type not in known:
                return None
        except (*_MALFORMED, RecursionError):
            pass
        raise ProtocolError(f"a malformed message: {str(problem)[:120]}") from problem

    return decode


decode_message: Callable[[memoryview | bytes], Message | None] = message_decoder(
    Message, ("request", "response", "handshake", "info")
)
"""Decode a message of an open channel, as `message_decoder` describes."""


def encode_varint(value: int) -> bytes:
    """Return `value` as an unsigned LEB128 in its shortest form."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_frame(message: Struct) -> bytes:
    """Return the frame of a message."""
    body = _encoder.encode(message)
    return encode_varint(len(body)) + body


def response_header(index: int | str, length: int) -> bytes:
    """Return the frame of a response up to its `length` bytes of data.

    The data follows it on the wire unchanged, so the two need not be joined.
    """
    echo = _encoder.encode(index)
    before, after = _around_index(len(echo), length)
    return before + echo + after


@lru_cache(maxsize=64)
def _around_index(size: int, length: int) -> tuple[bytes, bytes]:
    """Return the bytes of a response's frame before and after its index.

    `size` is how many bytes the encoded index has. The cache is small, because nearly
    all responses of a share have one length.
    """
    if length < 1 << 8:
        after = b"\xa4data\xc4" + length.to_bytes(1, "big")
    elif length < 1 << 16:
        after = b"\xa4data\xc5" + length.to_bytes(2, "big")
    else:
        after = b"\xa4data\xc6" + length.to_bytes(4, "big")
    before = b"\x83\xa4type\xa8response\xa5index"
    return encode_varint(len(before) + size + len(after) + length) + before, after


def index_of(value: int | str) -> int | None:
    """Return the index in a request or response; None if it is not valid.

    "Channel messages" allows one to ten ASCII digits, fewer than Python's `int` reads.
    """
    if isinstance(value, int):
        return value if value >= 0 else None
    is_index = value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS
    return int(value) if is_index else None


def _request_form(index: int, code: str) -> tuple[bytes, struct.Struct]:
    """Return the start of a request's frame, and the form of the whole frame.

    `code` is the struct format of indexes that are encoded like `index`.
    """
    frame = encode_frame(Request(index))
    start = frame[: -struct.calcsize(code)]
    return start, struct.Struct(f">{len(start)}s{code}")


# By the first byte, the frame's length, because it differs with the index's encoding.
_REQUEST_FORMS = {
    start[0]: (start, form)
    for start, form in (
        _request_form(0x7F, "b"),  # a negative number is another encoding
        _request_form(0xFF, "B"),
        _request_form(0xFFFF, "H"),
        _request_form(0xFFFF_FFFF, "I"),
    )
}


def leading_requests(received: memoryview) -> tuple[list[int], int]:
    """Return the indexes of the usual requests in front, and the bytes they take.

    Nearly everything that a server of an open channel receives is requests that all
    known programs encode in the same way. To cut them out by their length and compare
    the rest takes a tenth of the time of decoding each frame. All other frames are left
    to `FrameReader` and `decode_message`, which read these requests in the same way.
    """
    indexes: list[int] = []
    done = 0
    while done < len(received) and received[done] in _REQUEST_FORMS:
        start, form = _REQUEST_FORMS[received[done]]
        begun = done
        whole = (len(received) - begun) // form.size * form.size
        for head, index in form.iter_unpack(received[begun : begun + whole]):
            if head != start or index < 0:
                break
            indexes.append(index)
            done += form.size
        if done == begun:
            break
    return indexes, done
