"""The decisions of LAN discovery, with a clock that the test turns."""

import base64
import hashlib
import random

import pytest

from shoal.core.names.address import Address
from shoal.discovery.lan.packets import (
    MAX_PEERS,
    SENDER,
    Response,
    decode,
    encode_answer,
    encode_question,
)
from shoal.discovery.lan.state import (
    ANSWERS_AT_ONCE,
    ANSWERS_PER_SECOND,
    ASK_JITTER,
    MAX_REMEMBERED,
    REPORT_AGAIN,
    LanState,
    TopicJoin,
)
from shoal.errors import ProtocolError

TOPIC = bytes(range(20))
OTHER = bytes(20)
HERE = "10.0.0.7"
PEER = Address("10.0.0.9", 5353)


class Still(random.Random):
    """Be a generator that always says the same, so that a test can count seconds."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def random(self) -> float:
        """Return what it was made with."""
        return self._value


def make_state(jitter: float = 0.0) -> LanState:
    return LanState(secret=b"secret", rng=Still(jitter))


def heard(
    state: LanState, packet: bytes, sender: Address = PEER, now: float = 0.0
) -> list[tuple[TopicJoin, Address]]:
    return list(state.on_packet(packet, sender, now).heard)


def answer(*peers: Address, topic: bytes = TOPIC, token: bytes = b"theirs") -> bytes:
    return encode_answer(topic, token, peers)


def ports_in(packet: bytes | None) -> list[int]:
    assert packet is not None
    read = decode(packet)
    assert isinstance(read, Response)
    return [port for each in read.answers for _, port in each.peers]


# When to ask


def test_it_asks_at_once_and_again_ever_more_rarely() -> None:
    state = make_state()
    state.join(TOPIC, None, 100.0)
    asked = []
    for _ in range(8):
        now = state.next_timeout()
        assert now is not None
        assert state.next_questions(now) == [TOPIC]
        asked.append(now)
    assert asked == [100, 101, 104, 113, 140, 200, 260, 320]


def test_machines_that_started_together_drift_apart() -> None:
    early, late = make_state(0.0), make_state(1.0)
    for state in (early, late):
        state.join(TOPIC, None, 0.0)
        assert state.next_questions(0.0) == [TOPIC]
    assert early.next_timeout() == 1.0
    assert late.next_timeout() == pytest.approx(1.0 + ASK_JITTER)


def test_it_does_not_ask_before_it_is_time() -> None:
    state = make_state()
    state.join(TOPIC, None, 0.0)
    state.next_questions(0.0)
    assert state.next_questions(0.99) == []


def test_each_topic_has_a_schedule_of_its_own() -> None:
    state = make_state()
    state.join(TOPIC, None, 0.0)
    state.next_questions(0.0)
    state.join(OTHER, None, 0.5)
    assert state.next_questions(0.5) == [OTHER]
    assert state.next_timeout() == 1.0


def test_one_question_serves_two_joins_of_a_topic() -> None:
    state = make_state()
    state.join(TOPIC, 1, 0.0)
    state.join(TOPIC, 2, 0.0)
    assert state.next_questions(0.0) == [TOPIC]


def test_nothing_is_due_when_nothing_is_joined() -> None:
    state = make_state()
    join = state.join(TOPIC, 1, 0.0)
    state.leave(join)
    assert state.next_timeout() is None
    assert state.next_questions(1000.0) == []


# What to answer


def test_a_question_for_an_announced_topic_is_answered() -> None:
    state = make_state()
    state.join(TOPIC, 4001, 0.0)
    reaction = state.on_packet(encode_question(TOPIC), PEER, 0.0)
    digest = hashlib.sha256(b"secret" + PEER.host.encode()).digest()
    token = base64.b64encode(digest)
    assert reaction.answers == (answer(Address(SENDER, 4001), token=token),)


def test_only_what_is_announced_is_answered() -> None:
    state = make_state()
    state.join(TOPIC, None, 0.0)
    state.join(OTHER, 4001, 0.0)
    assert state.on_packet(encode_question(TOPIC), PEER, 0.0).answers == ()


def test_a_topic_at_two_ports_is_one_answer() -> None:
    state = make_state()
    state.join(TOPIC, 4001, 0.0)
    first = state.join(TOPIC, 4002, 0.0)
    assert ports_in(state.answer_to(TOPIC, HERE)) == [4001, 4002]
    state.leave(first)
    assert ports_in(state.answer_to(TOPIC, HERE)) == [4001]


def test_more_ports_than_fit_are_left_out() -> None:
    state = make_state()
    for port in range(1, 100):
        state.join(TOPIC, port, 0.0)
    assert ports_in(state.answer_to(TOPIC, HERE)) == list(range(1, MAX_PEERS + 1))


def test_a_topic_that_was_left_is_not_answered() -> None:
    state = make_state()
    state.leave(state.join(TOPIC, 4001, 0.0))
    assert state.answer_to(TOPIC, HERE) is None
    assert state.topics == ()


def test_a_topic_named_often_in_one_packet_is_answered_once() -> None:
    state = make_state()
    state.join(TOPIC, 4001, 0.0)
    question = encode_question(TOPIC)
    packet = question[:5] + b"\x08" + question[6:] + question[12:] * 7
    assert len(state.on_packet(packet, PEER, 0.0).answers) == 1


def test_a_flood_of_questions_is_answered_at_a_bounded_rate() -> None:
    state = make_state()
    state.join(TOPIC, 4001, 0.0)
    question = encode_question(TOPIC)
    answers = sum(
        len(state.on_packet(question, PEER, 50 + i / 1000).answers)
        for i in range(10_000)
    )
    bound = ANSWERS_AT_ONCE + 10 * ANSWERS_PER_SECOND
    assert bound - 2 <= answers <= bound
    assert state.on_packet(question, PEER, 70.0).answers, "it never recovered"


# Whom to believe


def test_an_answer_names_its_sender() -> None:
    state = make_state()
    join = state.join(TOPIC, None, 0.0)
    packet = answer(Address(SENDER, 4001), Address(PEER.host, 4002))
    assert heard(state, packet) == [
        (join, Address(PEER.host, 4001)),
        (join, Address(PEER.host, 4002)),
    ]


def test_nobody_is_believed_about_somebody_else() -> None:
    state = make_state()
    state.join(TOPIC, None, 0.0)
    assert heard(state, answer(Address("10.0.0.8", 22), Address("8.8.8.8", 53))) == []


def test_answers_about_topics_not_joined_are_left_alone() -> None:
    state = make_state()
    left = state.join(OTHER, None, 0.0)
    state.join(TOPIC, None, 0.0)
    state.leave(left)
    assert heard(state, answer(Address(SENDER, 1), topic=OTHER)) == []


@pytest.mark.parametrize("asker", [HERE, PEER.host])
def test_ones_own_answers_are_dropped_whoever_they_were_for(asker: str) -> None:
    state = make_state()
    state.join(TOPIC, 4001, 0.0)
    (mine,) = state.on_packet(encode_question(TOPIC), Address(asker, 5353), 0.0).answers
    assert heard(state, mine, Address(HERE, 5353)) == []


def test_another_process_of_this_host_is_heard() -> None:
    ours, theirs = make_state(), LanState(secret=b"another", rng=Still(0.0))
    join = ours.join(TOPIC, 4001, 0.0)
    theirs.join(TOPIC, 4002, 0.0)
    here = Address(HERE, 5353)
    (said,) = theirs.on_packet(encode_question(TOPIC), here, 0.0).answers
    assert heard(ours, said, here) == [(join, Address(HERE, 4002))]


def test_every_join_of_a_topic_hears_for_itself() -> None:
    state = make_state()
    first = state.join(TOPIC, None, 0.0)
    packet = answer(Address(SENDER, 4001))
    assert [join for join, _ in heard(state, packet, now=0.0)] == [first]
    second = state.join(TOPIC, None, 0.1)
    assert [join for join, _ in heard(state, packet, now=0.1)] == [second]


def test_an_address_heard_all_the_time_is_reported_once_in_a_while() -> None:
    state = make_state()
    state.join(TOPIC, None, 0.0)
    packet = answer(Address(SENDER, 4001))
    reports = [i / 10 for i in range(31) if heard(state, packet, now=i / 10)]
    assert reports == [0.0, REPORT_AGAIN, 2 * REPORT_AGAIN, 3 * REPORT_AGAIN]


def test_malformed_packets_are_the_callers_to_drop() -> None:
    with pytest.raises(ProtocolError):
        make_state().on_packet(answer(Address(SENDER, 1))[:-1], PEER, 0.0)


# What is remembered


def test_a_flood_of_addresses_and_askers_leaves_little_behind() -> None:
    state = make_state()
    join = state.join(TOPIC, 4001, 0.0)
    for i in range(10_000):
        sender = Address(f"10.0.{i >> 8}.{i & 255}", 5353)
        state.on_packet(answer(Address(SENDER, 1 + i)), sender, i / 1000)
        state.answer_to(TOPIC, sender.host)
    assert len(join._heard) == MAX_REMEMBERED
    assert len(state._own_tokens) == MAX_REMEMBERED


def test_an_honest_peer_is_still_heard_after_a_flood() -> None:
    state = make_state()
    join = state.join(TOPIC, None, 0.0)
    for i in range(1000):
        heard(state, answer(Address(SENDER, 1 + i)), Address("10.0.0.66", 5353))
    assert heard(state, answer(Address(SENDER, 4001))) == [
        (join, Address(PEER.host, 4001))
    ]
