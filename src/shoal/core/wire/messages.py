"""Every message as one frozen struct; the tagged union of them is the protocol.

A message is a msgpack map with a string `type`. Messages of other types and keys
that are not known are ignored, as the Node programs do; whatever else does not
fit is a `ProtocolError`.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from shoal.core.wire.framing import encode_varint
from shoal.errors import ProtocolError

__all__ = [
    "CONTROL_LIMIT",
    "HANDSHAKE_LIMIT",
    "RESPONSE_OVERHEAD",
    "Handshake",
    "Info",
    "Message",
    "MessageDecoder",
    "Request",
    "Response",
    "decode_message",
    "encode_frame",
    "index_of",
    "response_header",
]

CONTROL_LIMIT = 128 * 1024  # bytes in a frame of any message not named below
HANDSHAKE_LIMIT = 64 * 1024 * 1024  # bytes in a frame with a handshake
MAX_DIGITS = 10  # of an index that is written out
RESPONSE_OVERHEAD = 64  # bytes in a response's frame beside its data

M = TypeVar("M")


class Request(Struct, frozen=True, tag="request", tag_field="type", gc=False):
    """Ask for one chunk."""

    index: int | str
    """A number, or its digits: Node clients send what was typed."""


class Response(Struct, frozen=True, tag="response", tag_field="type"):
    """Give one chunk."""

    index: int | str
    """As it stood in the request."""
    data: memoryview
    """The chunk; a view of the frame it came in."""


class Handshake(Struct, frozen=True, tag="handshake", tag_field="type", rename="camel"):
    """Open a hash channel: the server's first message."""

    hashes: list[str]
    """The SHA-256 of every chunk, 64 lower-case hex digits each."""
    chunk_size: int | None = None
    """Bytes; some servers leave it out."""
    file_size: int | None = None
    """Bytes; some servers leave it out."""


class Info(Struct, frozen=True, tag="info", tag_field="type", rename="camel"):
    """Ask a named channel for its sizes; with both set, the answer."""

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


class MessageDecoder(Generic[M]):
    """Read the messages of one protocol, a tagged union of structs."""

    def __init__(self, union: Any, types: Collection[str]) -> None:
        """Read the structs of `union`, whose tags are `types`."""
        self._decoder = msgspec.msgpack.Decoder(union)
        self._types = frozenset(types)

    def decode(self, frame: memoryview | bytes) -> M | None:
        """Read the message in `frame`; None when its type is not known.

        Data in a message is not copied: it keeps `frame` alive.
        Raises `ProtocolError` for everything else.
        """
        try:
            message: M = self._decoder.decode(frame)
            return message
        except (*_MALFORMED, RecursionError) as error:
            problem = error
        try:
            if _type_decoder.decode(frame).type not in self._types:
                return None
        except (*_MALFORMED, RecursionError):
            pass
        raise ProtocolError(f"a malformed message: {str(problem)[:120]}") from problem


_decoder: MessageDecoder[Message] = MessageDecoder(
    Message, ("request", "response", "handshake", "info")
)


def decode_message(frame: memoryview | bytes) -> Message | None:
    """Read a message of an open channel; None when its type is not known.

    Raises `ProtocolError` for everything else.
    """
    return _decoder.decode(frame)


def encode_frame(message: Struct) -> bytes:
    """Return `message` in a frame of its own."""
    body = _encoder.encode(message)
    return encode_varint(len(body)) + body


def response_header(index: int | str, length: int) -> bytes:
    """Return the frame of a response up to its `length` bytes of data.

    The data follows on the wire as it is, so it need not be joined to anything.
    """
    echo = _encoder.encode(index)
    before, after = _around_index(len(echo), length)
    return before + echo + after


@lru_cache(maxsize=64)
def _around_index(size: int, length: int) -> tuple[bytes, bytes]:
    """Return a response's frame up to its index of `size` bytes, and on to its data.

    Kept, since nearly all answers of a share are of one length.
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
    """Read the index of a request or response; None when it cannot be one.

    Digits are ASCII and at most ten, which is less than Python's `int` reads.
    """
    if isinstance(value, int):
        return value if value >= 0 else None
    is_index = value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS
    return int(value) if is_index else None
