"""One pass, step by step: whom it asks when, and what it takes from an answer."""

from random import Random

import pytest

from shoal.core.names.address import Address
from shoal.discovery.dht.bencode import decode
from shoal.discovery.dht.krpc import Failure, Node, Query, Reply
from shoal.discovery.dht.lookup import (
    ALPHA,
    QUERY_TIMEOUT,
    SLOW_SHARE,
    Datagram,
    K,
    Lookup,
)

TOPIC = bytes(20)
SLOW_AFTER = QUERY_TIMEOUT * SLOW_SHARE
PEER = Address("8.8.8.8", 4001)


def node(gap: int) -> Node:
    """Return a node this far from the topic, in a network of its own."""
    return Node(gap.to_bytes(20, "big"), Address(f"7.7.{gap}.1", 7000))


def lookup(*gaps: int, port: int | None = None) -> Lookup:
    """Return a pass that begins at nodes this far from the topic."""
    nodes = [node(gap) for gap in gaps]
    return Lookup(TOPIC, node_id=b"\xff" * 20, rng=Random(1), nodes=nodes, port=port)


def tid(query: Datagram) -> bytes:
    message = decode(query.data)
    assert isinstance(message, dict)
    found = message[b"t"]
    assert isinstance(found, bytes)
    return found


def answer(gap: int, query: Datagram, *nodes: Node, token: bytes = b"tok") -> Reply:
    """Return the reply of the node this far from the topic."""
    return Reply(tid(query), node(gap).id, token, nodes)


def test_four_questions_are_under_way_at_once_nearest_first() -> None:
    looking = lookup(*range(1, 10))
    queries = looking.next_queries(0.0)
    assert [each.address for each in queries] == [
        node(gap).address for gap in range(1, ALPHA + 1)
    ]
    assert looking.next_queries(0.0) == []
    looking.on_reply(answer(1, queries[0]), queries[0].address)
    assert [each.address for each in looking.next_queries(0.1)] == [node(5).address]


def test_a_silent_node_gives_up_its_place_before_its_turn() -> None:
    looking = lookup(*range(1, 10))
    first = looking.next_queries(0.0)
    assert looking.wake_at == SLOW_AFTER
    looking.on_timeout(SLOW_AFTER)
    others = looking.next_queries(SLOW_AFTER)
    assert [each.address for each in others] == [
        node(gap).address for gap in range(5, 9)
    ]
    late = Reply(tid(first[0]), node(1).id, peers=(PEER,))
    assert looking.on_reply(late, first[0].address) == [PEER]


def test_after_its_time_out_a_node_is_failed_and_its_answer_too_late() -> None:
    looking = lookup(1)
    (query,) = looking.next_queries(0.0)
    looking.on_timeout(QUERY_TIMEOUT)
    assert looking.failed() == [node(1).address]
    late = Reply(tid(query), node(1).id, peers=(PEER,))
    assert looking.on_reply(late, query.address) == []
    assert looking.next_queries(QUERY_TIMEOUT) == []
    assert looking.is_done


def test_only_the_address_that_was_asked_with_the_right_transaction_counts() -> None:
    looking = lookup(1, 2)
    one, two = looking.next_queries(0.0)
    right = Reply(tid(one), node(1).id, peers=(PEER,))
    assert looking.on_reply(right, two.address) == []
    assert looking.on_reply(right, Address(one.address.host, 7001)) == []
    wrong = Reply(tid(two), node(1).id, peers=(PEER,))
    assert looking.on_reply(wrong, one.address) == []
    assert looking.on_reply(Query(tid(one)), one.address) == []
    assert looking.on_reply(right, one.address) == [PEER]
    assert looking.on_reply(right, one.address) == []


@pytest.mark.parametrize("is_refusal", [True, False])
def test_a_node_that_refuses_or_is_another_fails_at_once(is_refusal: bool) -> None:
    looking = lookup(1)
    (query,) = looking.next_queries(0.0)
    wrong = Reply(tid(query), node(2).id, b"tok", peers=(PEER,))
    message = Failure(tid(query), 202) if is_refusal else wrong
    assert looking.on_reply(message, query.address) == []
    assert looking.failed() == [query.address]


def test_a_bootstrap_node_may_have_any_id() -> None:
    start = Address("7.7.7.7", 6881)
    looking = Lookup(TOPIC, node_id=b"\xff" * 20, rng=Random(1), bootstrap=[start])
    (query,) = looking.next_queries(0.0)
    looking.on_reply(answer(9, query, node(1)), start)
    assert looking.answered() == [Node(node(9).id, start)]
    assert [each.address for each in looking.next_queries(0.1)] == [node(1).address]


def test_a_dead_bootstrap_node_does_not_hold_up_an_announcement() -> None:
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
                looking.on_reply(answer(gap, query), query.address)
    announcements = looking.next_queries(0.1)
    assert len(announcements) == K
    for query in announcements:
        message = decode(query.data)
        assert isinstance(message, dict)
        assert message[b"q"] == b"announce_peer"
        gap = int(query.address.host.split(".")[2])
        looking.on_reply(Reply(tid(query), node(gap).id), query.address)
    assert looking.next_queries(0.2) == []
    assert looking.is_done


def test_a_peer_comes_out_once_and_only_if_believed() -> None:
    looking = lookup(1, 2)
    one, two = looking.next_queries(0.0)
    bad = (Address("127.0.0.1", 4001), Address("8.8.8.8", 0), Address("10.1.1.1", 9999))
    reply = Reply(tid(one), node(1).id, peers=(*bad, PEER, PEER))
    assert looking.on_reply(reply, one.address) == [PEER]
    reply = Reply(tid(two), node(2).id, peers=(PEER,))
    assert looking.on_reply(reply, two.address) == []


def test_one_reply_brings_in_k_nodes_at_most() -> None:
    looking = lookup(200)
    (query,) = looking.next_queries(0.0)
    named = [node(gap) for gap in range(30, 0, -1)]
    looking.on_reply(answer(200, query, *named), query.address)
    asked = set()
    now = 0.0
    while not looking.is_done:
        asked |= {each.address for each in looking.next_queries(now)}
        now = looking.wake_at or now
        looking.on_timeout(now)
    assert asked == {node(gap).address for gap in range(1, K + 1)}


def test_whoever_names_ever_nearer_nodes_is_not_followed_for_ever() -> None:
    looking = Lookup(
        TOPIC, node_id=b"\xff" * 20, rng=Random(1), nodes=[node(250)], max_queries=20
    )
    nearest = 250
    asked = 0
    while not looking.is_done:
        queries = looking.next_queries(0.0)
        asked += len(queries)
        for query in queries:
            nearest -= 1
            gap = int(query.address.host.split(".")[2])
            looking.on_reply(answer(gap, query, node(nearest)), query.address)
    assert asked == 20


def test_an_announcement_shows_each_node_its_own_token() -> None:
    looking = lookup(1, 2, port=4001)
    for gap, query in enumerate(looking.next_queries(0.0), 1):
        looking.on_reply(answer(gap, query, token=b"t%d" % gap), query.address)
    one, two = looking.next_queries(0.1)
    assert b"5:token2:t1" in one.data
    assert b"5:token2:t2" in two.data
    assert b"4:porti4001e" in one.data
    assert not looking.is_done
    looking.on_reply(Reply(tid(one), node(1).id), one.address)
    looking.on_reply(Failure(tid(two), 203), two.address)
    assert looking.next_queries(0.2) == []
    assert (looking.is_done, looking.announced) == (True, 1)


def test_an_announcement_that_nobody_confirms_ends_with_the_time_out() -> None:
    looking = lookup(1, port=4001)
    (query,) = looking.next_queries(0.0)
    looking.on_reply(answer(1, query), query.address)
    looking.next_queries(1.0)
    assert looking.wake_at == 1.0 + QUERY_TIMEOUT
    looking.on_timeout(1.0 + QUERY_TIMEOUT)
    assert looking.next_queries(1.0 + QUERY_TIMEOUT) == []
    assert (looking.is_done, looking.announced) == (True, 0)


def test_nothing_is_announced_without_a_port() -> None:
    looking = lookup(1)
    (query,) = looking.next_queries(0.0)
    looking.on_reply(answer(1, query), query.address)
    assert looking.next_queries(0.1) == []
    assert looking.is_done
