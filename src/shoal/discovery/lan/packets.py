"""Encode and decode the two packets of dns-discovery 6: a query and its response.

docs/protocol.md, "LAN discovery", describes both; they are multicast DNS (RFC 6762) in
the message format of RFC 1035. No DNS library is used: this codec receives every
multicast packet of the network, hostile ones included, in a program that starts in
milliseconds. It bounds bytes, records and parts per name; an unrelated packet (from a
printer or a television) costs one substring search. dnslib takes 5 ms to import and
bounds none of these. The tests compare this module with dnslib.

Pure: bytes in, values out. Malformed packets raise `ProtocolError`.
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
    "LanAnswer",
    "LanQuery",
    "LanResponse",
    "decode",
    "encode_query",
    "encode_response",
]

MAX_PACKET = 1472  # bytes; one unfragmented Ethernet frame holds either packet
MAX_RECORDS = 32  # questions and records in total; dns-discovery sends two
MAX_NAME = 255  # bytes, RFC 1035 section 2.3.4
MAX_PARTS = 128  # labels and pointers of one name
MAX_PEERS = 31  # entries; base64 of them fills one string, RFC 1035 section 3.3

SENDER = "0.0.0.0"
"""Host in an answer that stands for the sender's own address, also an IPv6 one."""

_DOMAIN = (b"dns-discovery", b"local")
_DOMAIN_BYTES = b"\x0ddns-discovery\x05local\x00"
_TOPIC_HEX = 40  # characters
_TXT = 16
_IN = 1
# The top bit of the class has another use in mDNS, RFC 6762 sections 5.4 and 10.2.
_CLASS_MASK = 0x7FFF
_IS_RESPONSE = 0x8000
_RESPONSE_FLAGS = 0x8400  # response, authoritative

_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_PEER = struct.Struct("!4BH")


class LanAnswer(NamedTuple):
    """List peers that announce one topic."""

    topic: bytes
    """20 bytes."""
    token: bytes
    """Lets a node recognise its own answers; opaque to all others, may be empty."""
    peers: tuple[Address, ...]
    """The host is `SENDER` where the sender announces itself; ports are not 0."""


class LanQuery(NamedTuple):
    """Request the peers of some topics."""

    topics: tuple[bytes, ...]
    """Empty if the packet is not about topics."""


class LanResponse(NamedTuple):
    """Hold answers, requested or not."""

    answers: tuple[LanAnswer, ...]
    """Empty if the packet is not about topics."""


def encode_query(topic: bytes) -> bytes:
    """Return the packet that requests the peers of one topic."""
    return _HEADER.pack(0, 0, 1, 0, 0, 0) + _encode_question(topic)


def encode_response(topic: bytes, token: bytes, peers: Sequence[Address]) -> bytes:
    """Return the packet that lists peers of one topic.

    It has no question, unlike that of dns-discovery: RFC 6762 section 6 forbids it, and
    avahi logs and drops such a response. Every host must be dotted IPv4; at most
    `MAX_PEERS` fit.
    """
    assert len(peers) <= MAX_PEERS
    entries = b"".join(_PEER.pack(*map(int, h.split(".")), port) for h, port in peers)
    strings = b"token=" + token, b"peers=" + binascii.b2a_base64(entries, newline=False)
    text = b"".join(bytes((len(string),)) + string for string in strings)
    return b"".join(
        (
            _HEADER.pack(0, _RESPONSE_FLAGS, 0, 1, 0, 0),
            _encode_name(topic),
            _RECORD.pack(_TXT, _IN, 0, len(text)),
            text,
        )
    )


def decode(data: bytes) -> LanQuery | LanResponse:
    """Parse a packet from any sender; skip questions and records not about topics.

    Raises `ProtocolError` if it is malformed or exceeds a limit.
    """
    if not _HEADER.size <= len(data) <= MAX_PACKET:
        raise ProtocolError(f"A multicast DNS packet of {len(data)} bytes.")
    _, flags, questions, *counts = _HEADER.unpack_from(data)
    is_response = bool(flags & _IS_RESPONSE)
    # Compression may move this label but never hides it.
    if _DOMAIN[0] not in data.lower():
        return LanResponse(()) if is_response else LanQuery(())
    if questions + sum(counts) > MAX_RECORDS:
        raise ProtocolError("A multicast DNS packet with too many records.")
    try:
        topics, offset = _read_questions(data, questions)
        if not is_response:
            return LanQuery(tuple(topics))
        return LanResponse(tuple(_read_answers(data, offset, sum(counts))))
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


def _read_answers(data: bytes, offset: int, count: int) -> Iterator[LanAnswer]:
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
    """Return a name's labels and the offset after it."""
    labels: list[bytes] = []
    size = 0
    end = None
    for _ in range(MAX_PARTS):
        length = data[offset]
        if length >= 0xC0:
            # A pointer, RFC 1035 section 4.1.4; MAX_PARTS ends a circle of them.
            end = offset + 2 if end is None else end
            offset = (length & 0x3F) << 8 | data[offset + 1]
        elif length == 0:
            return labels, offset + 1 if end is None else end
        else:
            size += 1 + length
            if length >= 0x40 or size > MAX_NAME:
                raise ProtocolError("A DNS name that is too long.")
            labels.append(data[offset + 1 : offset + 1 + length])
            offset += 1 + length
    raise ProtocolError("A DNS name of too many parts.")


def _topic_of(labels: list[bytes], kind: int, klass: int) -> bytes | None:
    """Return the topic of a question or record, None if it is not about a topic."""
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


def _read_text(topic: bytes, text: bytes) -> LanAnswer:
    """Parse a TXT record's strings; unknown keys are ignored."""
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
    return LanAnswer(topic, token, tuple(_read_peers(peers)))


def _read_peers(encoded: bytes) -> Iterator[Address]:
    try:
        entries = binascii.a2b_base64(encoded)
    except binascii.Error:
        raise ProtocolError("A list of peers that is not base64.") from None
    # Trailing bytes shorter than an entry are ignored, as in dns-discovery.
    for offset in range(0, len(entries) - _PEER.size + 1, _PEER.size):
        *host, port = _PEER.unpack_from(entries, offset)
        if port:
            yield Address(".".join(map(str, host)), port)
