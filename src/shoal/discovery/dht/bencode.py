"""Bencoding (BEP 3), the encoding of every DHT message; pure.

What is decoded here was sent by strangers, so the decoder keeps its own stack
instead of recursing and refuses whatever has two spellings. Only the order of
keys is forgiven, since real nodes do not all sort them.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from shoal.errors import ProtocolError

__all__ = ["MAX_DEPTH", "Encodable", "Value", "decode", "encode"]

MAX_DEPTH = 16  # containers inside each other; a DHT message needs three

Value: TypeAlias = int | bytes | list["Value"] | dict[bytes, "Value"]
"""What decoding yields."""
Encodable: TypeAlias = int | bytes | Sequence["Encodable"] | Mapping[bytes, "Encodable"]
"""What can be encoded."""

# The counts of digits keep int() from ever seeing a number worth attacking with.
_INTEGER = re.compile(rb"i(0|-?[1-9][0-9]{0,19})e")
_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,7}):")


def encode(value: Encodable) -> bytes:
    """Return the one canonical encoding of a value (BEP 3)."""
    parts: list[bytes] = []
    _encode_into(parts, value)
    return b"".join(parts)


def decode(data: bytes, *, max_depth: int = MAX_DEPTH) -> Value:
    """Return the one value that `data` consists of.

    Raises `ProtocolError` for everything else, however malformed.
    """
    stack: list[_Container] = []
    position = 0
    while True:
        first = data[position : position + 1]
        value: Value
        if first in (b"d", b"l"):
            if len(stack) == max_depth:
                raise ProtocolError(f"bencode is nested deeper than {max_depth}")
            stack.append(_Container(is_dict=first == b"d"))
            position += 1
            continue
        if first == b"e" and stack:
            value = stack.pop().close()
            position += 1
        else:
            value, position = _decode_scalar(data, position)
        if stack:
            stack[-1].items.append(value)
        elif position == len(data):
            return value
        else:
            raise ProtocolError("bytes after the end of a bencoded value")


class _Container:
    """A list or dictionary whose end has not been read yet."""

    __slots__ = ("_is_dict", "items")

    def __init__(self, *, is_dict: bool) -> None:
        self._is_dict = is_dict
        self.items: list[Value] = []

    def close(self) -> Value:
        if not self._is_dict:
            return self.items
        if len(self.items) % 2:
            raise ProtocolError("a bencoded dictionary ends in a key without a value")
        result: dict[bytes, Value] = {}
        for key, value in zip(self.items[::2], self.items[1::2], strict=True):
            if not isinstance(key, bytes):
                raise ProtocolError("a key in a bencoded dictionary is no string")
            if key in result:
                raise ProtocolError("a key comes twice in a bencoded dictionary")
            result[key] = value
        return result


def _decode_scalar(data: bytes, position: int) -> tuple[int | bytes, int]:
    """Return the integer or string at `position` and where it ends."""
    if found := _INTEGER.match(data, position):
        return int(found[1]), found.end()
    if found := _LENGTH.match(data, position):
        end = found.end() + int(found[1])
        if end <= len(data):
            return data[found.end() : end], end
    raise ProtocolError(f"no bencoded value at byte {position}")


def _encode_into(parts: list[bytes], value: Encodable) -> None:
    if isinstance(value, bytes):
        parts.append(b"%d:%b" % (len(value), value))
    elif isinstance(value, int):
        parts.append(b"i%de" % value)
    elif isinstance(value, Mapping):
        parts.append(b"d")
        for key in sorted(value):
            _encode_into(parts, key)
            _encode_into(parts, value[key])
        parts.append(b"e")
    else:
        parts.append(b"l")
        for item in value:
            _encode_into(parts, item)
        parts.append(b"e")
