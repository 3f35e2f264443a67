"""One lookup, step by step: its queries and the responses it accepts."""

from random import Random

import pytest

from shoal.core.names.address import Address
from shoal.discovery.dht.krpc import (
    DhtNode,
    KrpcError,
    KrpcResponse,
    bdecode,
)
from shoal.discovery.dht.lookup import (
    ALPHA,
    QUERY_TIMEOUT,
    SLOW_SHARE,
    Datagram,
    K,
    Lookup,
)
from shoal.discovery.dht.pace import SPACING, Pace

TOPIC = bytes(20)
SLOW_AFTER = QUERY_TIMEOUT * SLOW_SHARE
PEER = Address("8.8.8.8", 4001)


def node(gap: int) -> DhtNode:
    """Return a node at this distance from the topic, in its own /24."""
    return DhtNode(gap.to_bytes(20, "big"), Address(f"7.7.{gap}.1", 7000))


def lookup(*gaps: int, port: int | None = None) -> Lookup:
    """Return a lookup that starts at nodes at these distances from the topic."""
    nodes = [node(gap) for gap in gaps]
    return Lookup(TOPIC, node_id=b"\xff" * 20, rng=Random(1), nodes=nodes, port=port)


def tid(query: Datagram) -> bytes:
    message = bdecode(query.data)
    assert isinstance(message, dict)
    found = message[b"t"]
    assert isinstance(found, bytes)
    return found


def answer(
    gap: int, query: Datagram, *nodes: DhtNode, token: bytes = b"tok"
) -> KrpcResponse:
    """Return the response of the node at this distance from the topic."""
    return KrpcResponse(tid(query), node(gap).id, token, nodes)


def test_four_queries_are_in_flight_at_once_nearest_first() -> None:
    looking = lookup(*range(1, 10))
    queries = looking.next_queries(0.0)
    assert [each.address for each in queries] == [
        node(gap).address for gap in range(1, ALPHA + 1)
    ]
    assert looking.next_queries(0.0) == []
    looking.on_message(answer(1, queries[0]), queries[0].address, 0.0)
    assert [each.address for each in looking.next_queries(0.1)] == [node(5).address]


def test_a_lookup_that_is_not_urgent_sends_one_packet_at_a_time() -> None:
    """Whatever its nodes name, and its announcements too."""
    looking, sent, now = lookup(1, 2, port=4001), list[float](), 0.0
    looking.spacing = 5.0
    named = 3
    while not looking.is_done:
        for query in looking.next_queries(now):
            sent.append(now)
            gap = int(query.address.host.split(".")[2])
            named = min(named + 1, 12)
            response = answer(gap, query, node(named))
            looking.on_message(response, query.address, now)
        looking.next_queries(now)
        if looking.wake_at is not None:
            now = looking.wake_at
    assert looking.announced == K
    assert sent == [5.0 * number for number in range(len(sent))]


def test_others_are_queried_before_a_silent_node_times_out() -> None:
    looking = lookup(*range(1, 10))
    first = looking.next_queries(0.0)
    assert looking.wake_at == SLOW_AFTER
    looking.on_timeout(SLOW_AFTER)
    others = looking.next_queries(SLOW_AFTER)
    assert [each.address for each in others] == [
        node(gap).address for gap in range(5, 9)
    ]
    late = KrpcResponse(tid(first[0]), node(1).id, peers=(PEER,))
    assert looking.on_message(late, first[0].address, 0.0) == [PEER]


def test_a_response_after_the_timeout_is_ignored() -> None:
    looking = lookup(1)
    (query,) = looking.next_queries(0.0)
    looking.on_timeout(QUERY_TIMEOUT)
    assert looking.failed() == [node(1).address]
    late = KrpcResponse(tid(query), node(1).id, peers=(PEER,))
    assert looking.on_message(late, query.address, 0.0) == []
    assert looking.next_queries(QUERY_TIMEOUT) == []
    assert looking.is_done


def test_only_the_queried_address_with_the_right_transaction_counts() -> None:
    looking = lookup(1, 2)
    one, two = looking.next_queries(0.0)
    right = KrpcResponse(tid(one), node(1).id, peers=(PEER,))
    assert looking.on_message(right, two.address, 0.0) == []
    assert looking.on_message(right, Address(one.address.host, 7001), 0.0) == []
    wrong = KrpcResponse(tid(two), node(1).id, peers=(PEER,))
    assert looking.on_message(wrong, one.address, 0.0) == []
    assert looking.on_message(right, one.address, 0.0) == [PEER]
    assert looking.on_message(right, one.address, 0.0) == []


@pytest.mark.parametrize("is_refusal", [True, False])
def test_a_node_that_refuses_or_has_another_id_fails_at_once(is_refusal: bool) -> None:
    looking = lookup(1)
    (query,) = looking.next_queries(0.0)
    wrong = KrpcResponse(tid(query), node(2).id, b"tok", peers=(PEER,))
    message = KrpcError(tid(query)) if is_refusal else wrong
    assert looking.on_message(message, query.address, 0.0) == []
    assert looking.failed() == [query.address]


def test_a_bootstrap_node_may_have_any_id() -> None:
    start = Address("7.7.7.7", 6881)
    looking = Lookup(TOPIC, node_id=b"\xff" * 20, rng=Random(1), bootstrap=[start])
    (query,) = looking.next_queries(0.0)
    looking.on_message(answer(9, query, node(1)), start, 0.0)
    assert looking.answered() == [DhtNode(node(9).id, start)]
    assert [each.address for each in looking.next_queries(0.1)] == [node(1).address]


def test_a_dead_bootstrap_node_does_not_delay_an_announcement() -> None:
    start = Address("7.7.200.1", 6881)
    looking = Lookup(
        TOPIC,
        node_id=b"\xff" * 20,
        rng=Random(1),
        bootstrap=[start],
        nodes=[node(gap) for gap in range(1, K + 1)],
        port=4001,
    )
    answered = 0
    while answered < K:
        for query in looking.next_queries(0.0):
            if query.address != start:
                answered += 1
                gap = int(query.address.host.split(".")[2])
                looking.on_message(answer(gap, query), query.address, 0.0)
    announcements = looking.next_queries(SPACING)
    assert len(announcements) == K
    for query in announcements:
        message = bdecode(query.data)
        assert isinstance(message, dict)
        assert message[b"q"] == b"announce_peer"
        gap = int(query.address.host.split(".")[2])
        looking.on_message(KrpcResponse(tid(query), node(gap).id), query.address, 0.0)
    # Its response would still be used.
    assert looking.next_queries(0.4) == []
    assert not looking.is_done
    looking.on_timeout(QUERY_TIMEOUT)
    assert looking.next_queries(QUERY_TIMEOUT) == []
    assert looking.is_done


def test_one_dead_node_among_the_nearest_costs_less_than_a_second() -> None:
    looking, now = lookup(*range(1, 12), port=4001), 0.0
    told: list[str] = []
    while len(told) < K:
        queries = looking.next_queries(now)
        for query in queries:
            gap = int(query.address.host.split(".")[2])
            if method(query) == b"announce_peer":
                told.append(query.address.host)
            elif gap != 3:
                looking.on_message(answer(gap, query), query.address, now + 0.1)
        if not queries:
            now = looking.wake_at or now
            looking.on_timeout(now)
    assert now <= SLOW_AFTER + SPACING < 1.1
    assert sorted(told) == [f"7.7.{gap}.1" for gap in (1, 2, 4, 5, 6, 7, 8, 9)]


def test_a_slow_node_is_told_as_well() -> None:
    looking = lookup(1, 2, port=4001)
    slow, quick = looking.next_queries(0.0)
    looking.on_message(answer(2, quick), quick.address, 0.1)
    looking.on_timeout(SLOW_AFTER)
    (told,) = looking.next_queries(SLOW_AFTER)
    assert (method(told), told.address) == (b"announce_peer", quick.address)
    late = KrpcResponse(tid(slow), node(1).id, b"tok", peers=(PEER,))
    assert looking.on_message(late, slow.address, 2.0) == [PEER]
    (told,) = looking.next_queries(2.0)
    assert (method(told), told.address) == (b"announce_peer", slow.address)


def test_where_every_node_is_slow_none_is_given_up_early() -> None:
    looking = lookup(1, 2, port=4001)
    first, second = looking.next_queries(0.0)
    looking.on_timeout(SLOW_AFTER)
    assert looking.next_queries(SLOW_AFTER) == []
    assert not looking.is_done
    looking.on_message(answer(1, first, node(3)), first.address, 1.0)
    looking.on_message(answer(2, second), second.address, 1.0)
    (third,) = looking.next_queries(1.0)
    assert third.address == node(3).address
    assert looking.wake_at == 1.0 + 2 * 1.0


def test_a_peer_is_returned_once_and_only_if_believable() -> None:
    looking = lookup(1, 2)
    one, two = looking.next_queries(0.0)
    bad = (Address("127.0.0.1", 4001), Address("8.8.8.8", 0), Address("10.1.1.1", 9999))
    response = KrpcResponse(tid(one), node(1).id, peers=(*bad, PEER, PEER))
    assert looking.on_message(response, one.address, 0.0) == [PEER]
    response = KrpcResponse(tid(two), node(2).id, peers=(PEER,))
    assert looking.on_message(response, two.address, 0.0) == []


def test_at_most_k_nodes_are_accepted_from_one_response() -> None:
    looking = lookup(200)
    (query,) = looking.next_queries(0.0)
    named = [node(gap) for gap in range(30, 0, -1)]
    looking.on_message(answer(200, query, *named), query.address, 0.0)
    queried = set()
    now = 0.0
    while not looking.is_done:
        queried |= {each.address for each in looking.next_queries(now)}
        now = looking.wake_at or now
        looking.on_timeout(now)
    assert queried == {node(gap).address for gap in range(1, K + 1)}


def test_a_chain_of_ever_nearer_nodes_is_followed_to_a_limit() -> None:
    looking = Lookup(
        TOPIC, node_id=b"\xff" * 20, rng=Random(1), nodes=[node(250)], max_queries=20
    )
    nearest = 250
    queried = 0
    while not looking.is_done:
        queries = looking.next_queries(0.0)
        queried += len(queries)
        for query in queries:
            nearest -= 1
            gap = int(query.address.host.split(".")[2])
            looking.on_message(answer(gap, query, node(nearest)), query.address, 0.0)
    assert queried == 20


def test_an_announcement_has_each_nodes_own_token() -> None:
    looking = lookup(1, 2, port=4001)
    for gap, query in enumerate(looking.next_queries(0.0), 1):
        looking.on_message(answer(gap, query, token=b"t%d" % gap), query.address, 0.0)
    one, two = looking.next_queries(SPACING)
    assert b"5:token2:t1" in one.data
    assert b"5:token2:t2" in two.data
    assert b"4:porti4001e" in one.data
    assert not looking.is_done
    looking.on_message(KrpcResponse(tid(one), node(1).id), one.address, 0.0)
    looking.on_message(KrpcError(tid(two)), two.address, 0.0)
    assert looking.next_queries(0.2) == []
    assert (looking.is_done, looking.announced) == (True, 1)


def test_an_unconfirmed_announcement_ends_with_the_timeout() -> None:
    looking = lookup(1, port=4001)
    (query,) = looking.next_queries(0.0)
    looking.on_message(answer(1, query), query.address, 0.0)
    looking.next_queries(1.0)
    assert looking.wake_at == 1.0 + QUERY_TIMEOUT
    looking.on_timeout(1.0 + QUERY_TIMEOUT)
    assert looking.next_queries(1.0 + QUERY_TIMEOUT) == []
    assert (looking.is_done, looking.announced) == (True, 0)


def test_nothing_is_announced_without_a_port() -> None:
    looking = lookup(1)
    (query,) = looking.next_queries(0.0)
    looking.on_message(answer(1, query), query.address, 0.0)
    assert looking.next_queries(0.1) == []
    assert looking.is_done


def test_a_node_that_returns_peers_only_is_asked_for_nodes_as_well() -> None:
    looking = lookup(9, port=4001)
    (query,) = looking.next_queries(0.0)
    only_peers = KrpcResponse(tid(query), node(9).id, b"tok", peers=(PEER,))
    assert looking.on_message(only_peers, query.address, 0.0) == [PEER]
    assert looking.next_queries(0.1) == []  # the pace holds the packet back
    assert looking.wake_at == SPACING
    (again,) = looking.next_queries(SPACING)
    assert method(again) == b"find_node"
    looking.on_message(answer(9, again, node(1), token=b"other"), again.address, 0.0)
    (nearer,) = looking.next_queries(SPACING)
    assert (method(nearer), nearer.address) == (b"get_peers", node(1).address)
    looking.on_message(answer(1, nearer), nearer.address, 0.0)
    told = looking.next_queries(2.0)
    assert {method(each) for each in told} == {b"announce_peer"}
    assert b"3:tok" in next(each.data for each in told if each.address == query.address)


def test_a_node_that_does_not_return_nodes_delays_nothing_for_long() -> None:
    looking = lookup(9, port=4001)
    (query,) = looking.next_queries(0.0)
    only_peers = KrpcResponse(tid(query), node(9).id, b"tok", peers=(PEER,))
    looking.on_message(only_peers, query.address, 0.0)
    (again,) = looking.next_queries(SPACING)
    assert looking.wake_at == SPACING + SLOW_AFTER
    looking.on_timeout(SPACING + SLOW_AFTER)
    (told,) = looking.next_queries(SPACING + SLOW_AFTER)
    assert (method(told), again.address) == (b"announce_peer", told.address)


def test_lookups_with_one_pace_query_a_node_in_turn() -> None:
    pace = Pace()
    one, two = (
        Lookup(TOPIC, node_id=b"\xff" * 20, rng=Random(1), nodes=[node(1)], pace=pace)
        for _ in range(2)
    )
    assert len(one.next_queries(0.0)) == 1
    assert two.next_queries(0.0) == []
    assert (two.wake_at, two.is_done) == (SPACING, False)
    assert len(two.next_queries(SPACING)) == 1


def test_a_node_that_must_wait_does_not_delay_the_queries_to_others() -> None:
    pace = Pace()
    pace.on_packet(node(1).address, 0.0)
    looking = Lookup(
        TOPIC,
        node_id=b"\xff" * 20,
        rng=Random(1),
        nodes=[node(gap) for gap in range(1, 10)],
        pace=pace,
    )
    queried = [each.address for each in looking.next_queries(0.0)]
    assert queried == [node(gap).address for gap in range(2, ALPHA + 2)]


def method(query: Datagram) -> bytes:
    """Return the name of the query in a datagram."""
    message = bdecode(query.data)
    assert isinstance(message, dict)
    found = message[b"q"]
    assert isinstance(found, bytes)
    return found
