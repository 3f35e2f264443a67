"""The decisions of LAN discovery, with the test's own clock."""

import base64
import hashlib
import random

import pytest

from shoal.core.names.address import Address
from shoal.discovery.lan.packets import (
    MAX_PEERS,
    SENDER,
    LanResponse,
    decode,
    encode_query,
    encode_response,
)
from shoal.discovery.lan.state import (
    MAX_REMEMBERED,
    QUERY_JITTER,
    REPORT_AGAIN,
    RESPONSE_BURST,
    RESPONSE_RATE,
    LanState,
    TopicJoin,
)
from shoal.errors import ProtocolError

TOPIC = bytes(range(20))
OTHER = bytes(20)
HERE = "10.0.0.7"
PEER = Address("10.0.0.9", 5353)


class Still(random.Random):
    """Return the same number every time, so that a test can predict the waits."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def random(self) -> float:
        """Return the fixed number."""
        return self._value


def make_state(jitter: float = 0.0) -> LanState:
    return LanState(secret=b"secret", rng=Still(jitter))


@pytest.fixture
def state() -> LanState:
    return make_state()


def found_in(
    state: LanState, packet: bytes, sender: Address = PEER, now: float = 0.0
) -> list[tuple[TopicJoin, Address]]:
    return list(state.on_packet(packet, sender, now).found)


def answer(*peers: Address, topic: bytes = TOPIC, token: bytes = b"theirs") -> bytes:
    return encode_response(topic, token, peers)


def ports_in(packet: bytes | None) -> list[int]:
    assert packet is not None
    read = decode(packet)
    assert isinstance(read, LanResponse)
    return [port for each in read.answers for _, port in each.peers]


# When to send queries.


def test_queries_are_sent_at_once_and_then_ever_more_rarely(state: LanState) -> None:
    state.join(TOPIC, None, 100.0)
    queried = []
    for _ in range(8):
        now = state.next_timeout()
        assert now is not None
        assert state.next_queries(now) == [TOPIC]
        queried.append(now)
    assert queried == [100, 101, 104, 113, 140, 200, 260, 320]


def test_machines_that_started_together_drift_apart() -> None:
    early, late = make_state(0.0), make_state(1.0)
    for state in (early, late):
        state.join(TOPIC, None, 0.0)
        assert state.next_queries(0.0) == [TOPIC]
    assert early.next_timeout() == 1.0
    assert late.next_timeout() == pytest.approx(1.0 + QUERY_JITTER)


def test_no_query_is_sent_before_it_is_due(state: LanState) -> None:
    state.join(TOPIC, None, 0.0)
    state.next_queries(0.0)
    assert state.next_queries(0.99) == []


def test_each_topic_has_its_own_schedule(state: LanState) -> None:
    state.join(TOPIC, None, 0.0)
    state.next_queries(0.0)
    state.join(OTHER, None, 0.5)
    assert state.next_queries(0.5) == [OTHER]
    assert state.next_timeout() == 1.0


def test_one_query_serves_two_joins_of_a_topic(state: LanState) -> None:
    state.join(TOPIC, 1, 0.0)
    state.join(TOPIC, 2, 0.0)
    assert state.next_queries(0.0) == [TOPIC]


def test_no_query_is_due_without_a_join(state: LanState) -> None:
    join = state.join(TOPIC, 1, 0.0)
    state.leave(join)
    assert state.next_timeout() is None
    assert state.next_queries(1000.0) == []


# Which queries to answer.


def test_a_query_for_an_announced_topic_is_answered(state: LanState) -> None:
    state.join(TOPIC, 4001, 0.0)
    reaction = state.on_packet(encode_query(TOPIC), PEER, 0.0)
    digest = hashlib.sha256(b"secret" + PEER.host.encode()).digest()
    token = base64.b64encode(digest)
    assert reaction.responses == (answer(Address(SENDER, 4001), token=token),)


def test_a_query_for_a_topic_that_is_not_announced_is_not_answered() -> None:
    state = make_state()
    state.join(TOPIC, None, 0.0)
    state.join(OTHER, 4001, 0.0)
    assert state.on_packet(encode_query(TOPIC), PEER, 0.0).responses == ()


def test_two_ports_of_a_topic_are_in_one_response(state: LanState) -> None:
    state.join(TOPIC, 4001, 0.0)
    first = state.join(TOPIC, 4002, 0.0)
    assert ports_in(state.response_to(TOPIC, HERE)) == [4001, 4002]
    state.leave(first)
    assert ports_in(state.response_to(TOPIC, HERE)) == [4001]


def test_ports_that_do_not_fit_are_left_out(state: LanState) -> None:
    for port in range(1, 100):
        state.join(TOPIC, port, 0.0)
    assert ports_in(state.response_to(TOPIC, HERE)) == list(range(1, MAX_PEERS + 1))


def test_a_topic_that_we_left_is_not_answered(state: LanState) -> None:
    state.leave(state.join(TOPIC, 4001, 0.0))
    assert state.response_to(TOPIC, HERE) is None
    assert state.topics == ()


def test_a_topic_repeated_in_one_packet_is_answered_once(state: LanState) -> None:
    state.join(TOPIC, 4001, 0.0)
    question = encode_query(TOPIC)
    packet = question[:5] + b"\x08" + question[6:] + question[12:] * 7
    assert len(state.on_packet(packet, PEER, 0.0).responses) == 1


def test_a_flood_of_queries_is_answered_at_a_limited_rate(state: LanState) -> None:
    state.join(TOPIC, 4001, 0.0)
    question = encode_query(TOPIC)
    answers = sum(
        len(state.on_packet(question, PEER, 50 + i / 1000).responses)
        for i in range(10_000)
    )
    bound = RESPONSE_BURST + 10 * RESPONSE_RATE
    assert bound - 2 <= answers <= bound
    assert state.on_packet(question, PEER, 70.0).responses, "it never recovered"


# Which addresses to accept.


def test_an_answer_with_the_senders_own_address_is_accepted(state: LanState) -> None:
    join = state.join(TOPIC, None, 0.0)
    packet = answer(Address(SENDER, 4001), Address(PEER.host, 4002))
    assert found_in(state, packet) == [
        (join, Address(PEER.host, 4001)),
        (join, Address(PEER.host, 4002)),
    ]


def test_a_third_partys_address_is_not_accepted(state: LanState) -> None:
    state.join(TOPIC, None, 0.0)
    assert (
        found_in(state, answer(Address("10.0.0.8", 22), Address("8.8.8.8", 53))) == []
    )


def test_answers_about_other_topics_are_ignored(state: LanState) -> None:
    left = state.join(OTHER, None, 0.0)
    state.join(TOPIC, None, 0.0)
    state.leave(left)
    assert found_in(state, answer(Address(SENDER, 1), topic=OTHER)) == []


@pytest.mark.parametrize("host", [HERE, PEER.host])
def test_our_own_responses_are_dropped_whichever_host_they_were_for(host: str) -> None:
    state = make_state()
    state.join(TOPIC, 4001, 0.0)
    (mine,) = state.on_packet(encode_query(TOPIC), Address(host, 5353), 0.0).responses
    assert found_in(state, mine, Address(HERE, 5353)) == []


def test_another_process_of_this_host_is_found() -> None:
    ours, theirs = make_state(), LanState(secret=b"another", rng=Still(0.0))
    join = ours.join(TOPIC, 4001, 0.0)
    theirs.join(TOPIC, 4002, 0.0)
    here = Address(HERE, 5353)
    (said,) = theirs.on_packet(encode_query(TOPIC), here, 0.0).responses
    assert found_in(ours, said, here) == [(join, Address(HERE, 4002))]


def test_every_join_of_a_topic_gets_the_address(state: LanState) -> None:
    first = state.join(TOPIC, None, 0.0)
    packet = answer(Address(SENDER, 4001))
    assert [join for join, _ in found_in(state, packet, now=0.0)] == [first]
    second = state.join(TOPIC, None, 0.1)
    assert [join for join, _ in found_in(state, packet, now=0.1)] == [second]


def test_an_address_heard_all_the_time_is_reported_once_a_second() -> None:
    state = make_state()
    state.join(TOPIC, None, 0.0)
    packet = answer(Address(SENDER, 4001))
    reports = [i / 10 for i in range(31) if found_in(state, packet, now=i / 10)]
    assert reports == [0.0, REPORT_AGAIN, 2 * REPORT_AGAIN, 3 * REPORT_AGAIN]


def test_a_malformed_packet_raises_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        make_state().on_packet(answer(Address(SENDER, 1))[:-1], PEER, 0.0)


# Limits on memory.


def test_a_flood_of_addresses_and_hosts_leaves_little_behind(state: LanState) -> None:
    join = state.join(TOPIC, 4001, 0.0)
    for i in range(10_000):
        sender = Address(f"10.0.{i >> 8}.{i & 255}", 5353)
        state.on_packet(answer(Address(SENDER, 1 + i)), sender, i / 1000)
        state.response_to(TOPIC, sender.host)
    assert len(join._heard) == MAX_REMEMBERED
    assert len(state._own_tokens) == MAX_REMEMBERED


def test_an_honest_peer_is_still_found_after_a_flood(state: LanState) -> None:
    join = state.join(TOPIC, None, 0.0)
    for i in range(1000):
        found_in(state, answer(Address(SENDER, 1 + i)), Address("10.0.0.66", 5353))
    assert found_in(state, answer(Address(SENDER, 4001))) == [
        (join, Address(PEER.host, 4001))
    ]
