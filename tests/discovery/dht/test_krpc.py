"""Messages of the DHT: the examples of BEP 5, and the limits on received messages."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.address import Address
from shoal.discovery.dht.krpc import (
    MAX_DATAGRAM,
    MAX_NODES,
    MAX_TOKEN,
    MAX_TRANSACTION,
    MAX_VALUES,
    BencodeInput,
    DhtNode,
    KrpcError,
    KrpcResponse,
    bencode,
    build_announce_peer,
    build_find_node,
    build_get_peers,
    parse_message,
)
from shoal.errors import ProtocolError
from tests.discovery.dht.simulation import compact, compact_node

ME = b"abcdefghij0123456789"
TOPIC = b"mnopqrstuvwxyz123456"
PEER = Address("1.2.3.4", 51413)


def response(**body: BencodeInput) -> bytes:
    """Encode a response whose body has these keys and the id."""
    keys: dict[bytes, BencodeInput] = {key.encode(): each for key, each in body.items()}
    return bencode({b"t": b"aa", b"y": b"r", b"r": {b"id": ME, **keys}})


def parse_response(data: bytes) -> KrpcResponse:
    message = parse_message(data)
    assert isinstance(message, KrpcResponse)
    return message


def test_get_peers_matches_bep_5_and_is_marked_read_only() -> None:
    assert build_get_peers(b"aa", ME, TOPIC) == (
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e"
        b"1:q9:get_peers2:roi1e1:t2:aa1:y1:qe"
    )


def test_announce_peer_matches_bep_5_with_an_explicit_port() -> None:
    data = build_announce_peer(b"aa", ME, TOPIC, port=6881, token=b"aoeusnth")
    assert data == (
        b"d1:ad2:id20:abcdefghij012345678912:implied_porti0e"
        b"9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe"
        b"1:q13:announce_peer2:roi1e1:t2:aa1:y1:qe"
    )


def test_a_response_with_peers_matches_bep_5() -> None:
    data = (
        b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth"
        b"6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re"
    )
    peers = (Address("97.120.106.101", 11893), Address("105.100.104.116", 28269))
    assert parse_message(data) == KrpcResponse(b"aa", ME, b"aoeusnth", peers=peers)


def test_a_response_with_ipv6_addresses_is_parsed() -> None:
    """As in BEP 32."""
    peer = Address("2a01::7", 4001)
    nodes = (DhtNode(TOPIC, peer), DhtNode(ME, Address("2a02:1:2::3", 1)))
    packed = b"".join(map(compact_node, nodes))
    assert len(packed) == 2 * 38
    data = response(nodes6=packed, values=[compact(peer), compact(PEER)])
    expected = KrpcResponse(b"aa", ME, nodes6=nodes, peers=(peer, PEER))
    assert parse_message(data) == expected


@pytest.mark.parametrize("build", [build_get_peers, build_find_node])
def test_nodes_of_both_families_are_requested_as_in_bep_32(
    build: Callable[..., bytes],
) -> None:
    assert b"4:wantl2:n42:n6e" in build(b"aaaa", ME, TOPIC, wants_both=True)
    assert b"want" not in build(b"aaaa", ME, TOPIC)


def test_a_response_with_nodes_is_parsed() -> None:
    nodes = (DhtNode(TOPIC, PEER), DhtNode(ME, Address("5.6.7.8", 1)))
    data = response(nodes=b"".join(map(compact_node, nodes)))
    assert parse_message(data) == KrpcResponse(b"aa", ME, nodes=nodes)


def test_an_error_is_parsed() -> None:
    error = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee"
    assert parse_message(error) == KrpcError(b"aa")
    assert parse_message(b"d1:ele1:t2:aa1:y1:ee") == KrpcError(b"aa")


def test_a_query_is_refused() -> None:
    with pytest.raises(ProtocolError, match="neither a response nor an error"):
        parse_message(build_get_peers(b"zz", ME, TOPIC))


def test_the_data_kept_from_a_response_is_limited() -> None:
    many = parse_response(response(values=[compact(PEER)] * 900))
    assert len(many.peers) == MAX_VALUES
    many = parse_response(response(nodes=compact_node(DhtNode(ME, PEER)) * 2000))
    assert len(many.nodes) == MAX_NODES
    assert parse_response(response(token=b"x" * MAX_TOKEN)).token is not None
    assert parse_response(response(token=b"x" * (MAX_TOKEN + 1))).token is None


def test_a_whole_routing_table_is_read() -> None:
    """The npm package bittorrent-dht returns every node it knows."""
    table = [DhtNode(bytes([n % 256]) * 20, PEER) for n in range(360)]
    data = response(nodes=b"".join(map(compact_node, table)))
    assert len(data) > 8192
    assert parse_response(data).nodes == tuple(table)


def test_the_ports_of_rtorrent_are_read_low_byte_first() -> None:
    values: list[BencodeInput] = [compact(Address("1.2.3.4", 22811))]
    body: dict[bytes, BencodeInput] = {b"id": ME, b"values": values}
    message: dict[bytes, BencodeInput] = {b"t": b"aa", b"y": b"r", b"r": body}
    found = {
        version: parse_message(bencode({**message, b"v": version}))
        for version in (b"lt\r\x80", b"lt\r\x90", b"LT\x01\x02")
    }
    ports = [each.peers[0].port for each in found.values()]  # type: ignore[union-attr]
    assert ports == [7001, 22811, 22811]


def test_peers_of_other_address_families_are_skipped() -> None:
    values: list[BencodeInput] = [b"x" * 17, compact(PEER), 7, []]
    assert parse_response(response(values=values)).peers == (PEER,)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i1e",
        b"le",
        b"de",
        b"d1:t2:aa1:y1:re",
        b"d1:rle1:t2:aa1:y1:re",
        b"d1:rde1:t2:aa1:y1:re",
        b"d1:rd2:id19:abcdefghij012345678e1:t2:aa1:y1:re",
        b"d1:rd2:idi1ee1:t2:aa1:y1:re",
        bencode({b"y": b"r", b"r": {b"id": ME}}),
        bencode({b"t": 7, b"y": b"r", b"r": {b"id": ME}}),
        bencode({b"t": b"x" * (MAX_TRANSACTION + 1), b"y": b"r", b"r": {b"id": ME}}),
        bencode({b"t": b"aa", b"y": b"x", b"r": {b"id": ME}}),
        bencode({b"t": b"aa", b"y": [], b"r": {b"id": ME}}),
        response(nodes=b"x" * 27),
        response(nodes6=b"x" * 39),
        response(nodes6=[]),
        response(nodes=[]),
        response(values=b"x" * 6),
        response(values={}),
        response(v=b"x" * MAX_DATAGRAM),
    ],
)
def test_malformed_messages_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_message(data)


SCRAPS = st.recursive(
    st.sampled_from([ME, b"r", b"e", b"q", b"aa", b"x" * 26]) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([b"t", b"y", b"r", b"e", b"id", b"nodes", b"values"]),
            inner,
            max_size=6,
        )
    ),
)


@given(SCRAPS)
def test_a_strange_message_raises_only_protocol_errors(
    value: BencodeInput,
) -> None:
    try:
        parse_message(bencode(value))
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    ("ip", "seen"),
    [
        (b"\x08\x08\x01\x01\x0f\xa1", Address("8.8.1.1", 4001)),
        (b"\x08\x08\x01\x01", None),
        (bytes(18), None),
        (7, None),
    ],
)
def test_the_address_that_a_node_sees_is_read(ip: Any, seen: Address | None) -> None:
    body = {b"id": bytes(20)}
    message = parse_message(bencode({b"ip": ip, b"r": body, b"t": b"ab", b"y": b"r"}))
    assert isinstance(message, KrpcResponse)
    assert message.seen == seen
