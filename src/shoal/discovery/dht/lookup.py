"""One lookup of a topic in the DHT, and when the next one is due; pure.

`Lookup` finds a topic's peers, then announces a port. Its caller sends the datagrams
that `next_queries` returns, passes every received message to `on_message`, calls
`on_timeout` at `wake_at`, and after each of these calls `next_queries` again until
`is_done`. `on_message` returns peers as they arrive, long before the end.

It is Kademlia's iterative lookup (BEP 5): query the nodes nearest to the topic for
nearer ones until the k nearest live nodes have all responded. A response counts only
if it comes from the queried address, with the transaction id of the query and the
expected node id; after any other message the node runs into its timeout.
"""

import enum
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from shoal.core.names.address import Address
from shoal.core.names.address_scope import is_acceptable
from shoal.discovery.dht.krpc import (
    TRANSACTION_SIZE,
    DhtNode,
    KrpcMessage,
    KrpcResponse,
    build_announce_peer,
    build_get_peers,
)
from shoal.discovery.dht.nodes import Candidate, Candidates, NodeState, distance

__all__ = [
    "ALPHA",
    "INTERVAL",
    "K",
    "QUERY_TIMEOUT",
    "RETRY",
    "Datagram",
    "Lookup",
    "LookupSchedule",
    "WaitRange",
]

K = 8  # nodes to announce to, and that must have responded (BEP 5)
ALPHA = 4  # queries in flight at once, slow ones not counted
QUERY_TIMEOUT = 3.0  # seconds until a queried node counts as failed
SLOW_SHARE = 0.25  # of the timeout, after which others are queried as well
MAX_QUERIES = 250  # queries in one lookup, however many nodes strangers name
MAX_PEERS = 1000  # different peers taken from one lookup


class WaitRange(NamedTuple):
    """Bound a wait from both sides."""

    shortest: float
    """Seconds."""
    longest: float
    """Seconds."""


# docs/protocol.md, "DHT discovery"; nodes forget a peer after about 30 minutes.
INTERVAL = WaitRange(600.0, 900.0)
RETRY = WaitRange(5.0, 60.0)  # the first wait, and the longest while we are alone


class Datagram(NamedTuple):
    """Hold one UDP payload and its destination."""

    address: Address
    """The node to send it to."""
    data: bytes
    """The payload."""


class _Stage(enum.Enum):
    LOOKING = enum.auto()
    ANNOUNCING = enum.auto()
    DONE = enum.auto()


class _Query(NamedTuple):
    tid: bytes
    sent_at: float


class Lookup:
    """Look one topic up once and, with a `port`, announce it to the k closest nodes.

    It starts from `nodes`, known from earlier lookups, and the addresses in
    `bootstrap`. `node_id` is this node's own.
    """

    def __init__(
        self,
        topic: bytes,
        *,
        node_id: bytes,
        rng: Random,
        nodes: Iterable[DhtNode] = (),
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
        self._queries: dict[Address, _Query] = {}
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
        """Return True if nothing more will be sent or awaited."""
        return self._stage is _Stage.DONE

    @property
    def wake_at(self) -> float | None:
        """Return when `on_timeout` is due, None if no response is awaited."""
        return min((self._due(address) for address in self._queries), default=None)

    def is_awaiting(self, source: Address) -> bool:
        """Return True if this address has been queried and may still respond."""
        return source in self._queries

    def answered(self) -> list[DhtNode]:
        """Return the nodes that have responded, in no particular order."""
        return [
            DhtNode(each.id, each.address)
            for each in self._candidates
            if each.state is NodeState.ANSWERED and each.id is not None
        ]

    def failed(self) -> list[Address]:
        """Return the nodes that have failed, in no particular order."""
        return [
            each.address for each in self._candidates if each.state is NodeState.FAILED
        ]

    def next_queries(self, now: float) -> list[Datagram]:
        """Return the datagrams to send now; each is returned once."""
        announcements: list[Datagram] = []
        if self._stage is _Stage.LOOKING:
            queries = [self._query(candidate, now) for candidate in self._choose()]
            if queries or self._is_looking():
                return queries
            # Nodes that are silent now are not among the closest; do not wait for them.
            self._queries.clear()
            self._stage = _Stage.ANNOUNCING
            if self._port is not None:
                announcements = self._announce(self._port, now)
        if not self._queries:
            self._stage = _Stage.DONE
        return announcements

    def on_message(self, message: KrpcMessage, source: Address) -> list[Address]:
        """Process a message from `source`; return the peers not returned before.

        Messages that answer no query of this lookup change nothing.
        """
        query = self._queries.get(source)
        if query is None or message.tid != query.tid:
            return []
        candidate = self._candidates[source]
        is_right = isinstance(message, KrpcResponse) and candidate.id in (
            None,
            message.node_id,
        )
        del self._queries[source]
        if self._stage is _Stage.ANNOUNCING:
            self.announced += is_right
            return []
        if not isinstance(message, KrpcResponse) or not is_right:
            candidate.state = NodeState.FAILED
            return []
        return self._accept(candidate, message)

    def on_timeout(self, now: float) -> None:
        """Mark nodes as slow or failed whose time has passed; call it at `wake_at`."""
        for address in [each for each in self._queries if self._due(each) <= now]:
            candidate = self._candidates[address]
            if candidate.state is NodeState.QUERIED:
                candidate.state = NodeState.SLOW
                if self._due(address) > now:
                    continue
            if candidate.state is NodeState.SLOW:
                candidate.state = NodeState.FAILED
            del self._queries[address]

    def _due(self, address: Address) -> float:
        is_new = self._candidates[address].state is NodeState.QUERIED
        patience = self._timeout * (SLOW_SHARE if is_new else 1)
        return self._queries[address].sent_at + patience

    def _choose(self) -> list[Candidate]:
        """Return the candidates to query next, bootstrap nodes first."""
        in_flight = sum(
            self._candidates[each].state is NodeState.QUERIED for each in self._queries
        )
        nearest = self._candidates.closest(K, without={NodeState.SLOW})
        fresh = [
            each
            for each in self._candidates.bootstrap() + nearest
            if each.state is NodeState.FRESH
        ]
        return fresh[: max(0, min(ALPHA - in_flight, self._queries_left))]

    def _is_looking(self) -> bool:
        """Return True if an awaited response may still change the k closest nodes."""
        closest = self._candidates.closest(K, without=())
        if any(each.state in (NodeState.QUERIED, NodeState.SLOW) for each in closest):
            return True
        is_settled = len(closest) == K and (
            self._queries_left == 0
            or all(each.state is not NodeState.FRESH for each in closest)
        )
        return bool(self._queries) and not is_settled

    def _query(self, candidate: Candidate, now: float) -> Datagram:
        candidate.state = NodeState.QUERIED
        self._queries_left -= 1
        tid = self._start_query(candidate.address, now)
        data = build_get_peers(tid, self._node_id, self._topic)
        return Datagram(candidate.address, data)

    def _announce(self, port: int, now: float) -> list[Datagram]:
        """Announce to the closest nodes that have responded with a token (BEP 5)."""
        unusable = {NodeState.FRESH, NodeState.QUERIED, NodeState.SLOW}
        return [
            Datagram(
                each.address,
                build_announce_peer(
                    self._start_query(each.address, now),
                    self._node_id,
                    self._topic,
                    port=port,
                    token=each.token,
                ),
            )
            for each in self._candidates.closest(K, without=unusable)
            if each.token is not None
        ]

    def _start_query(self, address: Address, now: float) -> bytes:
        """Record a query to an address; return its transaction id."""
        tid = self._rng.randbytes(TRANSACTION_SIZE)
        self._queries[address] = _Query(tid, now)
        return tid

    def _accept(self, candidate: Candidate, response: KrpcResponse) -> list[Address]:
        candidate.state = NodeState.ANSWERED
        candidate.token = response.token
        if candidate.id is None:
            self._candidates.learn_id(candidate, response.node_id)
        host = candidate.address.host
        # BEP 5 has a node return the k nearest; a malicious one gets no more accepted.
        nodes = sorted(response.nodes, key=lambda each: distance(each.id, self._topic))
        for node in nodes[:K]:
            if node.id != self._node_id and is_acceptable(node.address, host):
                self._candidates.add(node)
        fresh: list[Address] = []
        for peer in response.peers:
            if len(self._peers) == MAX_PEERS:
                break
            if peer not in self._peers and is_acceptable(peer, host):
                self._peers.add(peer)
                fresh.append(peer)
        return fresh


class LookupSchedule:
    """Decide after each lookup of a topic how long to wait before the next.

    Peers come and go most in a topic's first minutes: one node looks the topic up
    before another has announced it, two announce at once, an old entry is out of date.
    So lookups follow each other quickly at first and slow down to `interval`
    (docs/protocol.md, "DHT discovery"). While no other peer has been found, the wait
    stays within `retry`: a download should not wait much longer than necessary for its
    first source.
    """

    def __init__(
        self,
        *,
        rng: Random,
        port: int | None = None,
        interval: WaitRange = INTERVAL,
        retry: WaitRange = RETRY,
    ) -> None:
        self._rng = rng
        self._port = port
        self._interval = interval
        self._retry = retry
        self._next_wait = retry.shortest
        self._is_alone = True
        self.was_alone = False
        """Whether the previous lookup found no peer; False before the first lookup."""

    def on_peers(self, peers: Iterable[Address]) -> None:
        """Note the peers that the current lookup has found."""
        # A peer with our own port is most likely our own announcement: we do not know
        # the address at which others see us.
        if any(peer.port != self._port for peer in peers):
            self._is_alone = False

    def next_wait(self, *, is_failure: bool) -> float:
        """Return the seconds until the next lookup.

        `is_failure` is True if no node responded, or none accepted the announcement.
        """
        wait = self._next_wait
        self._next_wait = min(wait * 2, self._interval.longest)
        if self._is_alone or is_failure:
            wait = min(wait, self._retry.longest)
        elif wait >= self._interval.shortest:
            wait = self._rng.uniform(*self._interval)
        self.was_alone = self._is_alone
        self._is_alone = True
        return wait
