"""What LAN discovery decides: when to ask, what to answer, whom to believe.

Pure: packets, their senders and `now` (seconds, monotonic) come in, packets and
addresses go out. It owns the joined topics and every limit on what a hostile
network may make us remember or send; `client` owns the sockets.
"""

import binascii
import hashlib
import random
from typing import NamedTuple

from shoal.core.names.address import Address
from shoal.discovery.lan.packets import (
    MAX_PEERS,
    SENDER,
    Answer,
    Query,
    Response,
    decode,
    encode_answer,
)

__all__ = ["LanState", "Reaction", "TopicJoin"]

ASK_AGAIN = (1.0, 3.0, 9.0, 27.0)  # seconds after the question before
ASK_FOR_EVER = 60.0  # seconds, once those are used up
ASK_JITTER = 0.1  # of each wait, so that machines started together drift apart

ANSWERS_AT_ONCE = 64  # a rack that starts together is answered without a wait
ANSWERS_PER_SECOND = 32.0  # the rest of a flood hears nothing

MAX_REMEMBERED = 256  # addresses per join, and tokens of our own
REPORT_AGAIN = 1.0  # seconds; every answer reaches everyone, so each comes often


class Reaction(NamedTuple):
    """Say what follows from one packet."""

    answers: tuple[bytes, ...]
    """To be multicast to the port that the packet came from."""
    heard: tuple[tuple["TopicJoin", Address], ...]
    """Addresses, each with the join that waits for it."""


class TopicJoin:
    """Stand for one join of one topic, from `join` to `leave`."""

    def __init__(self, topic: bytes, port: int | None, now: float) -> None:
        self.topic = topic
        self.port = port
        self._ask_at = now
        self._asked = 0
        self._heard: dict[Address, float] = {}

    @property
    def ask_at(self) -> float:
        """Return when the topic has to be asked for on behalf of this join."""
        return self._ask_at

    def on_asked(self, now: float, jitter: float) -> None:
        """Put the next question off; `jitter` is 0 to 1."""
        waits = ASK_AGAIN[self._asked :]
        self._ask_at = now + (waits or (ASK_FOR_EVER,))[0] * (1 + ASK_JITTER * jitter)
        self._asked += 1

    def on_heard(self, address: Address, now: float) -> bool:
        """Remember an address; say whether it is to be reported."""
        # Taken out and put back, so that the one forgotten is the one longest silent.
        before = self._heard.pop(address, None)
        is_news = before is None or now - before >= REPORT_AGAIN
        self._heard[address] = now if is_news or before is None else before
        if len(self._heard) > MAX_REMEMBERED:
            del self._heard[next(iter(self._heard))]
        return is_news


class LanState:
    """Decide for one node; one object serves all its joins."""

    def __init__(self, *, secret: bytes, rng: random.Random) -> None:
        self._secret = secret
        self._rng = rng
        self._joins: dict[bytes, list[TopicJoin]] = {}
        self._own_tokens: dict[bytes, None] = {}
        self._answers = _Allowance(ANSWERS_AT_ONCE, ANSWERS_PER_SECOND)

    def join(self, topic: bytes, port: int | None, now: float) -> TopicJoin:
        """Begin to look for a topic and, with a `port`, to announce it.

        Its first question is due at once: call `next_questions`.
        """
        join = TopicJoin(topic, port, now)
        self._joins.setdefault(topic, []).append(join)
        return join

    def leave(self, join: TopicJoin) -> None:
        """End a join; nothing is said to the network, as in dns-discovery 6."""
        joins = self._joins[join.topic]
        joins.remove(join)
        if not joins:
            del self._joins[join.topic]

    @property
    def topics(self) -> tuple[bytes, ...]:
        """Return every joined topic, once each."""
        return tuple(self._joins)

    def next_timeout(self) -> float | None:
        """Return when `next_questions` will have something; None without a join."""
        times = (join.ask_at for joins in self._joins.values() for join in joins)
        return min(times, default=None)

    def next_questions(self, now: float) -> list[bytes]:
        """Return the topics to ask for now, and put their next questions off."""
        topics = []
        for topic, joins in self._joins.items():
            due = [join for join in joins if join.ask_at <= now]
            for join in due:
                join.on_asked(now, self._rng.random())
            if due:
                topics.append(topic)
        return topics

    def answer_to(self, topic: bytes, asker: str) -> bytes | None:
        """Return the answer that `asker` gets; None when it is not announced.

        Multicast unasked, with one's own address as the asker, it announces.
        """
        joins = self._joins.get(topic, ())
        ports = {join.port: None for join in joins if join.port is not None}
        if not ports:
            return None
        peers = [Address(SENDER, port) for port in ports][:MAX_PEERS]
        return encode_answer(topic, self._own_token(asker), peers)

    def on_packet(self, data: bytes, sender: Address, now: float) -> Reaction:
        """Take a packet that came by multicast from the receiver's own subnet.

        Raises `ProtocolError` when it is malformed; then there is nothing to do.
        """
        match decode(data):
            case Query(topics):
                return Reaction(self._on_query(topics, sender, now), ())
            case Response(answers):
                heard = [
                    pair for each in answers for pair in self._on_answer(each, sender)
                ]
                return Reaction(
                    (), tuple(pair for pair in heard if pair[0].on_heard(pair[1], now))
                )

    def _on_query(
        self, topics: tuple[bytes, ...], sender: Address, now: float
    ) -> tuple[bytes, ...]:
        # Each topic once, however often one packet names it.
        answers = (
            self.answer_to(topic, sender.host) for topic in dict.fromkeys(topics)
        )
        return tuple(
            answer
            for answer in answers
            if answer is not None and self._answers.take(now)
        )

    def _on_answer(
        self, answer: Answer, sender: Address
    ) -> list[tuple[TopicJoin, Address]]:
        # Multicast brings our own answers back. The sender's address does not tell
        # them apart: another process of this host has the same one.
        if answer.token in self._own_tokens:
            return []
        # Nobody is believed about a third party, whom he could have us dial.
        ports = [port for host, port in answer.peers if host in (SENDER, sender.host)]
        return [
            (join, Address(sender.host, port))
            for join in self._joins.get(answer.topic, ())
            for port in dict.fromkeys(ports)
        ]

    def _own_token(self, asker: str) -> bytes:
        digest = hashlib.sha256(self._secret + asker.encode()).digest()
        token = binascii.b2a_base64(digest, newline=False)
        self._own_tokens.pop(token, None)
        self._own_tokens[token] = None
        if len(self._own_tokens) > MAX_REMEMBERED:
            del self._own_tokens[next(iter(self._own_tokens))]
        return token


class _Allowance:
    """Allow so many at once and so many a second from then on."""

    def __init__(self, at_once: int, per_second: float) -> None:
        self._at_once = float(at_once)
        self._per_second = per_second
        self._left = self._at_once
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Use one up; say whether there was one."""
        if self._at is not None:
            gained = (now - self._at) * self._per_second
            self._left = min(self._at_once, self._left + gained)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
