# mypy: allow-untyped-calls
# That is dnslib, which the codec is compared with.
"""The codec of dns-discovery 6's packets, compared with its bytes and with dnslib."""

import base64
import contextlib
import hashlib
import struct

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.address import Address
from shoal.discovery.lan.packets import (
    MAX_PACKET,
    MAX_PEERS,
    SENDER,
    LanAnswer,
    LanQuery,
    LanResponse,
    decode,
    encode_query,
    encode_response,
)
from shoal.errors import ProtocolError

TOPIC = hashlib.sha1(b"myid").digest()
NAME = f"{TOPIC.hex()}.dns-discovery.local"
WIRE_NAME = (
    b"\x286e34471f84557e1713012d64a7477c71bfdac631\x0ddns-discovery\x05local\x00"
)
TOKEN = base64.b64encode(hashlib.sha256(b"secret" + b"10.0.0.7").digest())
SOURCE = Address(SENDER, 4001)

topics = st.binary(min_size=20, max_size=20)
hosts = st.builds(lambda b: ".".join(map(str, b)), st.binary(min_size=4, max_size=4))
peers = st.builds(Address, hosts, st.integers(1, 65535))


def response(*strings: bytes, name: bytes = WIRE_NAME, klass: int = 1) -> bytes:
    """Return a response with one TXT record."""
    text = b"".join(bytes((len(string),)) + string for string in strings)
    header = struct.pack("!6H", 0, 0x8400, 0, 1, 0, 0)
    return header + name + struct.pack("!HHIH", 16, klass, 0, len(text)) + text


# Bytes on the wire.


def test_a_query_has_the_bytes_of_dns_discovery() -> None:
    packet = encode_query(TOPIC)
    assert packet == bytes(4) + b"\0\1" + bytes(6) + WIRE_NAME + b"\0\x10\0\1"
    assert len(packet) == 78


def test_a_response_is_that_of_dns_discovery_without_the_question() -> None:
    packet = encode_response(TOPIC, TOKEN, [SOURCE])
    assert packet == (
        b"\0\0\x84\0\0\0\0\1\0\0\0\0"
        + (WIRE_NAME + b"\0\x10\0\1" + bytes(4) + b"\0\x42")
        + (b"\x32token=" + TOKEN + b"\x0epeers=AAAAAA+h")
    )
    assert len(packet) == 216 - len(WIRE_NAME + b"\0\x10\0\1")


@given(topics)
def test_an_encoded_query_decodes_to_itself(topic: bytes) -> None:
    assert decode(encode_query(topic)) == LanQuery((topic,))


@given(topics, st.binary(max_size=200), st.lists(peers, max_size=MAX_PEERS))
def test_an_encoded_response_decodes_to_itself(
    topic: bytes, token: bytes, announced: list[Address]
) -> None:
    packet = encode_response(topic, token, announced)
    assert decode(packet) == LanResponse((LanAnswer(topic, token, tuple(announced)),))


# Compared with dnslib.


@given(topics, st.lists(peers, max_size=MAX_PEERS))
def test_dnslib_parses_our_packets(topic: bytes, announced: list[Address]) -> None:
    question = dnslib.DNSRecord.parse(encode_query(topic))
    assert (question.header.id, question.header.bitmap) == (0, 0)
    name = f"{topic.hex()}.dns-discovery.local."
    assert [(str(q.qname), q.qtype, q.qclass) for q in question.questions] == [
        (name, 16, 1)
    ]
    answer = dnslib.DNSRecord.parse(encode_response(topic, TOKEN, announced))
    entries = b"".join(
        bytes(map(int, host.split("."))) + port.to_bytes(2) for host, port in announced
    )
    assert answer.header.bitmap == 0x8400
    assert [(str(r.rname), r.rtype, r.rclass, r.ttl) for r in answer.rr] == [
        (name, 16, 1, 0)
    ]
    assert answer.rr[0].rdata.data == [
        b"token=" + TOKEN,
        b"peers=" + base64.b64encode(entries),
    ]


@given(st.lists(topics, min_size=1, max_size=8), st.binary(max_size=20))
def test_we_parse_names_that_dnslib_compresses(
    queried: list[bytes], other: bytes
) -> None:
    query = dnslib.DNSRecord(dnslib.DNSHeader(id=7, bitmap=0))
    reply = dnslib.DNSRecord(dnslib.DNSHeader(bitmap=0x8400))
    reply.add_question(dnslib.DNSQuestion("_ipp._tcp.local", 12))
    reply.add_answer(
        dnslib.RR("_ipp._tcp.local", 12, rdata=dnslib.PTR("x._ipp._tcp.local"))
    )
    for topic in queried:
        name = f"{topic.hex()}.dns-discovery.local"
        query.add_question(dnslib.DNSQuestion(name, 16))
        query.add_question(dnslib.DNSQuestion(name, 1))
        text = dnslib.TXT([b"v=1" + other, b"peers=AAAAAA+h", b"token=t"])
        reply.add_ar(dnslib.RR(name, 16, rdata=text))
    packed = reply.pack()
    assert packed.count(b"\x0ddns-discovery") == 1, "nothing was compressed"
    assert decode(query.pack()) == LanQuery(tuple(queried))
    assert decode(packed) == LanResponse(
        tuple(LanAnswer(topic, b"t", (SOURCE,)) for topic in queried)
    )


# Other packets on the network.


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([WIRE_NAME, b"\x0ddns-discovery", b"\xc0\x0c", b"\xc0"]),
            st.just(struct.pack("!HHIH", 16, 1, 0, 66)),
            st.just(b"\x06peers=AAAA"),
        ),
        max_size=12,
    ),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.booleans(),
)
def test_arbitrary_bytes_raise_only_protocol_errors(
    parts: list[bytes], counts: tuple[int, ...], is_response: bool
) -> None:
    header = struct.pack("!6H", 0, 0x8400 if is_response else 0, *counts)
    for packet in (b"".join(parts), header + b"".join(parts)):
        with contextlib.suppress(ProtocolError):
            decode(packet)


@given(st.data())
def test_a_damaged_response_raises_only_protocol_errors(
    data: st.DataObject,
) -> None:
    packet = bytearray(encode_response(TOPIC, TOKEN, [SOURCE]))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(
            st.integers(0, 255)
        )
    with contextlib.suppress(ProtocolError):
        decode(bytes(packet))


@pytest.mark.parametrize(
    "packet", [encode_query(TOPIC), encode_response(TOPIC, TOKEN, [SOURCE])]
)
def test_a_truncated_packet_is_refused(packet: bytes) -> None:
    # Cut before the domain's label, it is an unrelated packet and is not refused.
    for size in range(12 + 41 + 14, len(packet)):
        with pytest.raises(ProtocolError):
            decode(packet[:size])


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "0 bytes"),
        (bytes(11), "11 bytes"),
        (encode_query(TOPIC) + bytes(MAX_PACKET), "1550 bytes"),
        (response(name=b"\xc0\x0c" + WIRE_NAME), "too many parts"),
        (response(name=b"\xff\xff" + WIRE_NAME), "ends too early"),
        (response(name=b"\x40" + b"x" * 64 + WIRE_NAME), "name that is too long"),
        (response(name=(b"\x3f" + b"x" * 63) * 4 + WIRE_NAME), "name that is too long"),
        (response(b"token=x")[:-1], "longer than its packet"),
        (response(b"token=x")[:-8] + b"\x08token=x", "longer than its record"),
        (response(b"peers=AAAAA"), "not base64"),
        (
            struct.pack("!6H", 0, 0, 33, 0, 0, 0)
            + (b"\0" + bytes(4)) * 32
            + encode_query(TOPIC)[12:],
            "too many records",
        ),
        (
            struct.pack("!6H", 0, 0x8400, 0, 11, 11, 11)
            + (bytes(11) * 32)
            + response(b"")[12:],
            "too many records",
        ),
    ],
)
def test_a_malformed_packet_is_refused(packet: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        decode(packet)


@pytest.mark.parametrize(("pointers", "is_read"), [(100, True), (200, False)])
def test_a_name_with_too_many_pointers_is_refused(pointers: int, is_read: bool) -> None:
    # The first record's data is a chain of pointers: the first points to the name at
    # offset 12, each other to the one before. The second record's name is the last.
    start = 12 + len(WIRE_NAME) + 10
    chain = struct.pack("!H", 0xC00C) + b"".join(
        struct.pack("!H", 0xC000 | start + 2 * i) for i in range(pointers - 1)
    )
    first = WIRE_NAME + struct.pack("!HHIH", 99, 1, 0, len(chain)) + chain
    last = struct.pack("!H", 0xC000 | start + len(chain) - 2)
    header = struct.pack("!6H", 0, 0x8400, 0, 2, 0, 0)
    packet = header + first + last + struct.pack("!HHIH", 16, 1, 0, 0)
    if is_read:
        assert decode(packet) == LanResponse((LanAnswer(TOPIC, b"", ()),))
    else:
        with pytest.raises(ProtocolError):
            decode(packet)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(response(b"peers=AAAAAA+h", name=b"\x05local\0"), id="domain"),
        pytest.param(
            response(b"peers=AAAAAA+h", name=b"\x02ab" + WIRE_NAME[41:]),
            id="short topic",
        ),
        pytest.param(
            response(b"peers=AAAAAA+h", name=WIRE_NAME.replace(b"6e", b"zz")),
            id="topic that is not hex",
        ),
        pytest.param(
            response(b"peers=AAAAAA+h", name=b"\x01x" + WIRE_NAME), id="name below"
        ),
        pytest.param(response(b"peers=AAAAAA+h", klass=3), id="class CHAOS"),
    ],
)
def test_an_unrelated_record_yields_no_answer(packet: bytes) -> None:
    assert decode(packet) == LanResponse(())


def test_names_are_compared_without_case() -> None:
    upper = encode_query(TOPIC).upper()
    assert decode(upper) == LanQuery((TOPIC,))


def test_the_mdns_bit_of_the_class_is_ignored() -> None:
    question = encode_query(TOPIC)[:-2] + b"\x80\x01"
    assert decode(question) == LanQuery((TOPIC,))
    answer = response(b"peers=AAAAAA+h", klass=0x8001)
    assert decode(answer) == LanResponse((LanAnswer(TOPIC, b"", (SOURCE,)),))


def test_unknown_strings_and_incomplete_entries_are_ignored() -> None:
    entries = base64.b64encode(b"\x0a\0\0\x01\x0f\xa1" + b"\x0a\0\0\x02\0\0" + b"\x0a")
    packet = response(b"", b"v=1", b"alone", b"peers=" + entries, b"peers6=x")
    assert decode(packet) == LanResponse(
        (LanAnswer(TOPIC, b"", (Address("10.0.0.1", 4001),)),)
    )
