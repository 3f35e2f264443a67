"""Messages of the DHT: the examples of BEP 5, and the bounds on what comes in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.discovery.dht.simulation import compact, compact_node

from shoal.core.names.address import Address
from shoal.discovery.dht.bencode import Encodable, encode
from shoal.discovery.dht.krpc import (
    MAX_DATAGRAM,
    MAX_NODES,
    MAX_TOKEN,
    MAX_TRANSACTION,
    MAX_VALUES,
    Failure,
    Node,
    Query,
    Reply,
    build_announce_peer,
    build_get_peers,
    parse_message,
)
from shoal.errors import ProtocolError

ME = b"abcdefghij0123456789"
TOPIC = b"mnopqrstuvwxyz123456"
PEER = Address("1.2.3.4", 51413)


def replied(**body: Encodable) -> bytes:
    """Encode a reply whose body has these keys beside the id."""
    keys: dict[bytes, Encodable] = {key.encode(): each for key, each in body.items()}
    return encode({b"t": b"aa", b"y": b"r", b"r": {b"id": ME, **keys}})


def parse_reply(data: bytes) -> Reply:
    message = parse_message(data)
    assert isinstance(message, Reply)
    return message


def test_get_peers_is_that_of_bep_5_and_says_read_only() -> None:
    assert build_get_peers(b"aa", ME, TOPIC) == (
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e"
        b"1:q9:get_peers2:roi1e1:t2:aa1:y1:qe"
    )


def test_announce_peer_is_that_of_bep_5_with_the_port_given() -> None:
    data = build_announce_peer(b"aa", ME, TOPIC, port=6881, token=b"aoeusnth")
    assert data == (
        b"d1:ad2:id20:abcdefghij012345678912:implied_porti0e"
        b"9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe"
        b"1:q13:announce_peer2:roi1e1:t2:aa1:y1:qe"
    )


def test_a_reply_with_peers_is_that_of_bep_5() -> None:
    data = (
        b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth"
        b"6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re"
    )
    peers = (Address("97.120.106.101", 11893), Address("105.100.104.116", 28269))
    assert parse_message(data) == Reply(b"aa", ME, b"aoeusnth", peers=peers)


def test_a_reply_with_nodes() -> None:
    nodes = (Node(TOPIC, PEER), Node(ME, Address("5.6.7.8", 1)))
    data = replied(nodes=b"".join(map(compact_node, nodes)))
    assert parse_message(data) == Reply(b"aa", ME, nodes=nodes)


def test_an_error_and_a_query() -> None:
    error = b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee"
    assert parse_message(error) == Failure(b"aa", 201)
    assert parse_message(b"d1:elee".replace(b"lee", b"le1:t2:aa1:y1:ee")) == Failure(
        b"aa", 0
    )
    assert parse_message(build_get_peers(b"zz", ME, TOPIC)) == Query(b"zz")


def test_what_a_reply_may_make_us_keep_is_bounded() -> None:
    many = parse_reply(replied(values=[compact(PEER)] * 900))
    assert len(many.peers) == MAX_VALUES
    many = parse_reply(replied(nodes=compact_node(Node(ME, PEER)) * 300))
    assert len(many.nodes) == MAX_NODES
    assert parse_reply(replied(token=b"x" * MAX_TOKEN)).token is not None
    assert parse_reply(replied(token=b"x" * (MAX_TOKEN + 1))).token is None


def test_peers_of_other_address_families_are_passed_over() -> None:
    values: list[Encodable] = [b"x" * 18, compact(PEER), 7, []]
    assert parse_reply(replied(values=values)).peers == (PEER,)


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
        encode({b"y": b"r", b"r": {b"id": ME}}),
        encode({b"t": 7, b"y": b"r", b"r": {b"id": ME}}),
        encode({b"t": b"x" * (MAX_TRANSACTION + 1), b"y": b"r", b"r": {b"id": ME}}),
        encode({b"t": b"aa", b"y": b"x", b"r": {b"id": ME}}),
        encode({b"t": b"aa", b"y": [], b"r": {b"id": ME}}),
        replied(nodes=b"x" * 27),
        replied(nodes=[]),
        replied(values=b"x" * 6),
        replied(values={}),
        replied(v=b"x" * MAX_DATAGRAM),
    ],
)
def test_everything_else_is_refused(data: bytes) -> None:
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
def test_nothing_but_a_protocol_error_comes_out_of_a_strange_message(
    value: Encodable,
) -> None:
    try:
        parse_message(encode(value))
    except ProtocolError:
        pass
