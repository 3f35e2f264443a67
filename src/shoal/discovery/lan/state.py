"""Decide when to query, what to answer and which addresses to accept on the LAN; pure.

Packets, their senders and `now` (seconds, monotonic) go in; packets and addresses come
out. `LanState` owns the joined topics, and limits the data that a hostile network can
make us store or send (docs/protocol.md, "LAN discovery"). `client` owns the sockets.
"""

import binascii
import hashlib
import random
from typing import NamedTuple

from shoal.core.limits import LeakyBucket
from shoal.core.names.address import Address
from shoal.discovery.lan.packets import (
    MAX_PEERS,
    SENDER,
    LanAnswer,
    LanQuery,
    LanResponse,
    decode,
    encode_response,
)

__all__ = ["LanState", "Reaction", "TopicJoin"]

# The waits of dns-discovery 6 (docs/protocol.md, "LAN discovery").
QUERY_WAITS = (1.0, 3.0, 9.0, 27.0)  # seconds after the previous query
LAST_QUERY_WAIT = 60.0  # seconds, once those are used up
QUERY_JITTER = 0.1  # of each wait, so that machines started together drift apart

RESPONSE_BURST = 64.0  # at once, so that a rack starting together gets them all
RESPONSE_RATE = 32.0  # responses per second; a flood of queries gets no more

MAX_REMEMBERED = 256  # addresses per join, and tokens of our own
REPORT_AGAIN = 1.0  # seconds; each response reaches every node, so all come often


class Reaction(NamedTuple):
    """Hold what follows from one packet."""

    responses: tuple[bytes, ...]
    """Packets to multicast to the port that the packet came from."""
    found: tuple[tuple["TopicJoin", Address], ...]
    """Addresses, each with a join of its topic."""


class TopicJoin:
    """Track one join of one topic, from `LanState.join` to `LanState.leave`."""

    def __init__(self, topic: bytes, port: int | None, now: float) -> None:
        self.topic = topic
        self.port = port
        self.query_at = now
        """When the next query of the topic is due for this join."""
        self._queries = 0
        self._heard: dict[Address, float] = {}

    def on_query(self, now: float, jitter: float) -> None:
        """Schedule the next query after one was sent; `jitter` is 0 to 1."""
        waits = QUERY_WAITS[self._queries :]
        wait = (waits or (LAST_QUERY_WAIT,))[0]
        self.query_at = now + wait * (1 + QUERY_JITTER * jitter)
        self._queries += 1

    def restart(self, now: float) -> None:
        """Query now, and then after the waits of a new join."""
        self.query_at = now
        self._queries = 0

    def on_heard(self, address: Address, now: float) -> bool:
        """Remember an address; return True if it should be reported."""
        # Removed and added again, so that the first key is the one longest silent.
        before = self._heard.pop(address, None)
        is_due = before is None or now - before >= REPORT_AGAIN
        self._heard[address] = now if is_due or before is None else before
        if len(self._heard) > MAX_REMEMBERED:
            del self._heard[next(iter(self._heard))]
        return is_due


class LanState:
    """Decide for all joins of one node."""

    def __init__(self, *, secret: bytes, rng: random.Random) -> None:
        self._secret = secret
        self._rng = rng
        self._joins: dict[bytes, list[TopicJoin]] = {}
        self._own_tokens: dict[bytes, None] = {}
        self._sent = LeakyBucket(RESPONSE_RATE)

    def join(self, topic: bytes, port: int | None, now: float) -> TopicJoin:
        """Begin to look for a topic and, with a `port`, to announce it.

        The first query is due at once: call `next_queries`.
        """
        join = TopicJoin(topic, port, now)
        self._joins.setdefault(topic, []).append(join)
        return join

    def leave(self, join: TopicJoin) -> None:
        """End a join; nothing is sent, as in dns-discovery 6."""
        joins = self._joins[join.topic]
        joins.remove(join)
        if not joins:
            del self._joins[join.topic]

    @property
    def topics(self) -> tuple[bytes, ...]:
        """Return every joined topic, once each."""
        return tuple(self._joins)

    def query_all(self, now: float) -> None:
        """Make the next query of every topic due now, and the others follow it fast."""
        for joins in self._joins.values():
            for join in joins:
                join.restart(now)

    def next_timeout(self) -> float | None:
        """Return when `next_queries` will have a topic; None without a join."""
        times = (join.query_at for joins in self._joins.values() for join in joins)
        return min(times, default=None)

    def next_queries(self, now: float) -> list[bytes]:
        """Return the topics to query now, and schedule their next queries."""
        topics = []
        for topic, joins in self._joins.items():
            due = [join for join in joins if join.query_at <= now]
            for join in due:
                join.on_query(now, self._rng.random())
            if due:
                topics.append(topic)
        return topics

    def response_to(self, topic: bytes, host: str) -> bytes | None:
        """Return the response to a query from `host`, None if we announce no port.

        Multicast without a query, with our own address as `host`, it is an
        announcement.
        """
        joins = self._joins.get(topic, ())
        ports = {join.port: None for join in joins if join.port is not None}
        if not ports:
            return None
        peers = [Address(SENDER, port) for port in ports][:MAX_PEERS]
        return encode_response(topic, self._own_token(host), peers)

    def on_packet(self, data: bytes, sender: Address, now: float) -> Reaction:
        """Process a packet that arrived by multicast from the interface's own subnet.

        Raises `ProtocolError` if it is malformed; the state does not change then.
        """
        match decode(data):
            case LanQuery(topics):
                return Reaction(self._on_query(topics, sender, now), ())
            case LanResponse(answers):
                found = [
                    pair for each in answers for pair in self._on_answer(each, sender)
                ]
                return Reaction(
                    (), tuple(pair for pair in found if pair[0].on_heard(pair[1], now))
                )

    def _on_query(
        self, topics: tuple[bytes, ...], sender: Address, now: float
    ) -> tuple[bytes, ...]:
        # Each topic once, however often one packet names it.
        responses = (
            self.response_to(topic, sender.host) for topic in dict.fromkeys(topics)
        )
        return tuple(
            response
            for response in responses
            if response is not None and self._may_send(now)
        )

    def _on_answer(
        self, answer: LanAnswer, sender: Address
    ) -> list[tuple[TopicJoin, Address]]:
        # Multicast brings our own answers back. The sender's address does not identify
        # them: another process of this host has the same one.
        if answer.token in self._own_tokens:
            return []
        # Only the sender's own address is accepted: a third party's could be a target
        # that the sender wants us to dial.
        ports = [port for host, port in answer.peers if host in (SENDER, sender.host)]
        return [
            (join, Address(sender.host, port))
            for join in self._joins.get(answer.topic, ())
            for port in dict.fromkeys(ports)
        ]

    def _may_send(self, now: float) -> bool:
        """Count one response; return False if too many were sent lately."""
        self._sent.leak(now)
        if self._sent.level > RESPONSE_BURST - 1:
            return False
        self._sent.level += 1
        return True

    def _own_token(self, host: str) -> bytes:
        # As dns-discovery 6 makes it; no other node can compute it.
        digest = hashlib.sha256(self._secret + host.encode()).digest()
        token = binascii.b2a_base64(digest, newline=False)
        self._own_tokens.pop(token, None)
        self._own_tokens[token] = None
        if len(self._own_tokens) > MAX_REMEMBERED:
            del self._own_tokens[next(iter(self._own_tokens))]
        return token
