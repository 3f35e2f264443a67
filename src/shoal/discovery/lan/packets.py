"""The two packets of dns-discovery 6, built and read: a question and its answer.

The codec is our own and not a DNS library's because it meets every multicast
packet of the network, hostile ones included, in a program whose start-up is
counted in milliseconds. Reading is bounded here in bytes, records and parts per
name, an unrelated packet (printers, televisions) costs one search for a word, and
nothing is imported for it; dnslib costs 5 ms to import and bounds none of that.
The tests hold this file against dnslib, compressed names and all.

Pure: bytes in, values out. Everything malformed is a `ProtocolError`.
"""

import binascii
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shoal.core.names.address import Address
from shoal.errors import ProtocolError

__all__ = [
    "MAX_PACKET",
    "MAX_PEERS",
    "SENDER",
    "Answer",
    "Query",
    "Response",
    "decode",
    "encode_answer",
    "encode_question",
]

MAX_PACKET = 1472  # bytes; one unfragmented Ethernet frame holds either packet
MAX_RECORDS = 32  # questions and records together; dns-discovery sends two
MAX_NAME = 255  # bytes, RFC 1035 section 2.3.4
MAX_PARTS = 128  # labels and pointers of one name
MAX_PEERS = 31  # entries; as base64 they fill one string, RFC 1035 section 3.3

SENDER = "0.0.0.0"
"""Stands in an answer for "the address that this came from"."""

_DOMAIN = (b"dns-discovery", b"local")
_DOMAIN_BYTES = b"\x0ddns-discovery\x05local\x00"
_TOPIC_HEX = 40  # characters
_TXT = 16
_IN = 1
# Above the class stand mDNS's bits, RFC 6762 sections 5.4 and 10.2.
_CLASS_MASK = 0x7FFF
_IS_RESPONSE = 0x8000
_RESPONSE_FLAGS = 0x8400  # response, authoritative

_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_PEER = struct.Struct("!4BH")


class Answer(NamedTuple):
    """Tell who announces one topic."""

    topic: bytes
    """20 bytes."""
    token: bytes
    """Tells its maker his own answers; opaque to all others, may be empty."""
    peers: tuple[Address, ...]
    """With `SENDER` as host where the sender means himself; ports are not 0."""


class Query(NamedTuple):
    """Ask who announces these topics."""

    topics: tuple[bytes, ...]
    """Empty when the packet asks for nothing of ours."""


class Response(NamedTuple):
    """Carry answers, asked for or not."""

    answers: tuple[Answer, ...]
    """Empty when the packet says nothing of ours."""


def encode_question(topic: bytes) -> bytes:
    """Build the packet that asks for one topic."""
    return _HEADER.pack(0, 0, 1, 0, 0, 0) + _encode_question(topic)


def encode_answer(topic: bytes, token: bytes, peers: Sequence[Address]) -> bytes:
    """Build the packet that tells where one topic is announced.

    Every host must be dotted IPv4; at most `MAX_PEERS` fit.
    """
    assert len(peers) <= MAX_PEERS
    entries = b"".join(_PEER.pack(*map(int, h.split(".")), port) for h, port in peers)
    strings = b"token=" + token, b"peers=" + binascii.b2a_base64(entries, newline=False)
    text = b"".join(bytes((len(string),)) + string for string in strings)
    return b"".join(
        (
            _HEADER.pack(0, _RESPONSE_FLAGS, 1, 1, 0, 0),
            _encode_question(topic),
            _encode_name(topic),
            _RECORD.pack(_TXT, _IN, 0, len(text)),
            text,
        )
    )


def decode(data: bytes) -> Query | Response:
    """Read a packet, whoever sent it, and keep what is about topics.

    Raises `ProtocolError` when it is malformed or passes a limit.
    """
    if not _HEADER.size <= len(data) <= MAX_PACKET:
        raise ProtocolError(f"A multicast DNS packet of {len(data)} bytes.")
    _, flags, questions, *counts = _HEADER.unpack_from(data)
    is_response = bool(flags & _IS_RESPONSE)
    # Compression may move the word but never hides it.
    if _DOMAIN[0] not in data.lower():
        return Response(()) if is_response else Query(())
    if questions + sum(counts) > MAX_RECORDS:
        raise ProtocolError("A multicast DNS packet with too many records.")
    try:
        topics, offset = _read_questions(data, questions)
        if not is_response:
            return Query(tuple(topics))
        return Response(tuple(_read_answers(data, offset, sum(counts))))
    except (IndexError, struct.error):
        raise ProtocolError("A multicast DNS packet that ends too early.") from None


def _encode_name(topic: bytes) -> bytes:
    label = topic.hex().encode()
    return bytes((len(label),)) + label + _DOMAIN_BYTES


def _encode_question(topic: bytes) -> bytes:
    return _encode_name(topic) + _QUESTION.pack(_TXT, _IN)


def _read_questions(data: bytes, count: int) -> tuple[list[bytes], int]:
    topics = []
    offset = _HEADER.size
    for _ in range(count):
        labels, offset = _read_name(data, offset)
        kind, klass = _QUESTION.unpack_from(data, offset)
        offset += _QUESTION.size
        topic = _topic_of(labels, kind, klass)
        if topic is not None:
            topics.append(topic)
    return topics, offset


def _read_answers(data: bytes, offset: int, count: int) -> Iterator[Answer]:
    for _ in range(count):
        labels, offset = _read_name(data, offset)
        kind, klass, _, size = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size
        if offset + size > len(data):
            raise ProtocolError("A DNS record longer than its packet.")
        topic = _topic_of(labels, kind, klass)
        if topic is not None:
            yield _read_text(topic, data[offset : offset + size])
        offset += size


def _read_name(data: bytes, offset: int) -> tuple[list[bytes], int]:
    """Return a name's labels and the offset behind it."""
    labels: list[bytes] = []
    size = 0
    behind = None
    for _ in range(MAX_PARTS):
        length = data[offset]
        if length >= 0xC0:
            # A pointer, RFC 1035 section 4.1.4. Some lead round in circles.
            behind = offset + 2 if behind is None else behind
            offset = (length & 0x3F) << 8 | data[offset + 1]
        elif length == 0:
            return labels, offset + 1 if behind is None else behind
        else:
            size += 1 + length
            if length >= 0x40 or size > MAX_NAME:
                raise ProtocolError("A DNS name that is too long.")
            labels.append(data[offset + 1 : offset + 1 + length])
            offset += 1 + length
    raise ProtocolError("A DNS name of too many parts.")


def _topic_of(labels: list[bytes], kind: int, klass: int) -> bytes | None:
    """Return the topic that a question or record is about, if it is about one."""
    if kind != _TXT or klass & _CLASS_MASK != _IN or len(labels) != 3:
        return None
    # DNS names compare without case, RFC 1035 section 2.3.3.
    first, *rest = (label.lower() for label in labels)
    if tuple(rest) != _DOMAIN or len(first) != _TOPIC_HEX:
        return None
    try:
        return binascii.unhexlify(first)
    except binascii.Error:
        return None


def _read_text(topic: bytes, text: bytes) -> Answer:
    """Read a TXT record's strings; those of other keys are for others."""
    token = peers = b""
    offset = 0
    while offset < len(text):
        end = offset + 1 + text[offset]
        if end > len(text):
            raise ProtocolError("A DNS string longer than its record.")
        key, _, value = text[offset + 1 : end].partition(b"=")
        if key == b"token":
            token = value
        elif key == b"peers":
            peers = value
        offset = end
    return Answer(topic, token, tuple(_read_peers(peers)))


def _read_peers(encoded: bytes) -> Iterator[Address]:
    try:
        entries = binascii.a2b_base64(encoded)
    except binascii.Error:
        raise ProtocolError("A list of peers that is not base64.") from None
    # A rest shorter than an entry is left alone, as dns-discovery does.
    for offset in range(0, len(entries) - _PEER.size + 1, _PEER.size):
        *host, port = _PEER.unpack_from(entries, offset)
        if port:
            yield Address(".".join(map(str, host)), port)
