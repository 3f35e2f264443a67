"""One pass over one topic: look its peers up, then announce a port; pure.

The caller sends what `next_queries` returns, brings every datagram to `on_reply`,
calls `on_timeout` at `wake_at`, and after each of these asks `next_queries` again
until `is_done`. Peers come out of `on_reply` as they arrive, long before the end.

It is Kademlia's iterative lookup: ask the nodes nearest to the topic for nearer
ones until the k nearest that are alive have all answered. Only an answer from the
address that was asked, with the transaction id it was asked with and as the node it
was said to be, counts; anything else leaves the node to its time-out.
"""

import enum
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from shoal.core.names.address import Address
from shoal.core.names.address_scope import is_believable
from shoal.discovery.dht.candidates import Candidate, Candidates, State, distance
from shoal.discovery.dht.krpc import (
    TRANSACTION_SIZE,
    Message,
    Node,
    Query,
    Reply,
    build_announce_peer,
    build_get_peers,
)

__all__ = ["ALPHA", "K", "QUERY_TIMEOUT", "Datagram", "Lookup"]

K = 8  # nodes that are announced to, and that must have answered
ALPHA = 4  # questions under way at once, slow ones not counted
QUERY_TIMEOUT = 3.0  # seconds until a node that was asked counts as failed
SLOW_SHARE = 0.25  # of the time-out; then others are asked beside a silent node
MAX_QUERIES = 250  # questions in one pass, however many nodes strangers name
MAX_PEERS = 1000  # different peers taken from one pass


class Datagram(NamedTuple):
    """One UDP payload and where it goes."""

    address: Address
    """The node to send it to."""
    data: bytes
    """The payload."""


class _Stage(enum.Enum):
    LOOKING = enum.auto()
    ANNOUNCING = enum.auto()
    DONE = enum.auto()


class _Question(NamedTuple):
    tid: bytes
    asked_at: float


class Lookup:
    """Look one topic up once and, with a `port`, announce it to the k closest.

    `nodes` and `bootstrap` are where it starts: nodes known from before, and bare
    addresses. `node_id` is this node's own.
    """

    def __init__(
        self,
        topic: bytes,
        *,
        node_id: bytes,
        rng: Random,
        nodes: Iterable[Node] = (),
        bootstrap: Iterable[Address] = (),
        port: int | None = None,
        timeout: float = QUERY_TIMEOUT,
        max_queries: int = MAX_QUERIES,
    ) -> None:
        self._topic = topic
        self._node_id = node_id
        self._rng = rng
        self._port = port
        self._timeout = timeout
        self._queries_left = max_queries
        self._stage = _Stage.LOOKING
        self._asked: dict[Address, _Question] = {}
        self._peers: set[Address] = set()
        self._candidates = Candidates(topic)
        self.announced = 0
        """How many nodes have confirmed the announcement."""
        for address in bootstrap:
            self._candidates.add_bootstrap(address)
        for node in nodes:
            self._candidates.add(node)

    @property
    def is_done(self) -> bool:
        """Say whether nothing more will be sent or awaited."""
        return self._stage is _Stage.DONE

    @property
    def wake_at(self) -> float | None:
        """Return when `on_timeout` is due, None when nothing is awaited."""
        return min((self._due(address) for address in self._asked), default=None)

    def is_awaiting(self, source: Address) -> bool:
        """Say whether this address has been asked and may still answer."""
        return source in self._asked

    def answered(self) -> list[Node]:
        """Return the nodes that have answered, in no order."""
        return [
            Node(each.id, each.address)
            for each in self._candidates
            if each.state is State.ANSWERED and each.id is not None
        ]

    def failed(self) -> list[Address]:
        """Return the nodes that were asked in vain, in no order."""
        return [each.address for each in self._candidates if each.state is State.FAILED]

    def next_queries(self, now: float) -> list[Datagram]:
        """Return what is to be sent now; each of them is returned once."""
        if self._stage is _Stage.LOOKING:
            queries = [self._ask(candidate, now) for candidate in self._choose()]
            if queries or self._is_looking():
                return queries
            # Whoever is silent now is not among the closest and holds up nobody.
            self._asked.clear()
            self._stage = _Stage.ANNOUNCING
            if self._port is not None:
                return self._announce(self._port, now) or self._finish()
        if not self._asked:
            return self._finish()
        return []

    def on_reply(self, message: Message, source: Address) -> list[Address]:
        """Take in what `source` sent; return the peers not returned before.

        Messages that answer no question of this pass change nothing.
        """
        question = self._asked.get(source)
        if question is None or isinstance(message, Query):
            return []
        if message.tid != question.tid:
            return []
        candidate = self._candidates[source]
        is_right = isinstance(message, Reply) and candidate.id in (
            None,
            message.node_id,
        )
        del self._asked[source]
        if self._stage is _Stage.ANNOUNCING:
            self.announced += is_right
            return []
        if not isinstance(message, Reply) or not is_right:
            candidate.state = State.FAILED
            return []
        return self._take_in(candidate, message)

    def on_timeout(self, now: float) -> None:
        """Give up what has been awaited too long; call it at `wake_at`."""
        for address in [each for each in self._asked if self._due(each) <= now]:
            candidate = self._candidates[address]
            if candidate.state is State.ASKED:
                candidate.state = State.SLOW
                if self._due(address) > now:
                    continue
            if candidate.state is State.SLOW:
                candidate.state = State.FAILED
            del self._asked[address]

    def _due(self, address: Address) -> float:
        is_new = self._candidates[address].state is State.ASKED
        patience = self._timeout * (SLOW_SHARE if is_new else 1)
        return self._asked[address].asked_at + patience

    def _choose(self) -> list[Candidate]:
        """Return the candidates to ask next, bootstrap nodes first."""
        under_way = sum(
            self._candidates[each].state is State.ASKED for each in self._asked
        )
        nearest = self._candidates.closest(K, without={State.SLOW})
        wanted = [
            each
            for each in self._candidates.bootstrap() + nearest
            if each.state is State.FRESH
        ]
        return wanted[: max(0, min(ALPHA - under_way, self._queries_left))]

    def _is_looking(self) -> bool:
        """Say whether an answer under way may still change the k closest."""
        closest = self._candidates.closest(K, without=())
        if any(each.state in (State.ASKED, State.SLOW) for each in closest):
            return True
        is_settled = len(closest) == K and (
            self._queries_left == 0
            or all(each.state is not State.FRESH for each in closest)
        )
        return bool(self._asked) and not is_settled

    def _ask(self, candidate: Candidate, now: float) -> Datagram:
        candidate.state = State.ASKED
        self._queries_left -= 1
        tid = self._begin(candidate.address, now)
        data = build_get_peers(tid, self._node_id, self._topic)
        return Datagram(candidate.address, data)

    def _announce(self, port: int, now: float) -> list[Datagram]:
        """Announce to the closest nodes that have answered and gave a token."""
        unusable = {State.FRESH, State.ASKED, State.SLOW}
        return [
            Datagram(
                each.address,
                build_announce_peer(
                    self._begin(each.address, now),
                    self._node_id,
                    self._topic,
                    port=port,
                    token=each.token,
                ),
            )
            for each in self._candidates.closest(K, without=unusable)
            if each.token is not None
        ]

    def _begin(self, address: Address, now: float) -> bytes:
        """Note that an address is being asked; return the transaction id."""
        tid = self._rng.randbytes(TRANSACTION_SIZE)
        self._asked[address] = _Question(tid, now)
        return tid

    def _finish(self) -> list[Datagram]:
        self._stage = _Stage.DONE
        return []

    def _take_in(self, candidate: Candidate, reply: Reply) -> list[Address]:
        candidate.state = State.ANSWERED
        candidate.token = reply.token
        if candidate.id is None:
            self._candidates.learn_id(candidate, reply.node_id)
        host = candidate.address.host
        # The nearest k are what BEP 5 asks a node for; a liar gets no more in.
        nodes = sorted(reply.nodes, key=lambda each: distance(each.id, self._topic))
        for node in nodes[:K]:
            if node.id != self._node_id and is_believable(node.address, host):
                self._candidates.add(node)
        fresh: list[Address] = []
        for peer in reply.peers:
            if len(self._peers) == MAX_PEERS:
                break
            if peer not in self._peers and is_believable(peer, host):
                self._peers.add(peer)
                fresh.append(peer)
        return fresh
