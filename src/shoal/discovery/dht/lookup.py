"""One lookup of a topic in the DHT; pure.

`Lookup` finds a topic's peers, then announces a port. Its caller sends the datagrams
that `next_queries` returns, passes every received message to `on_message`, calls
`on_timeout` at `wake_at`, and after each of these calls `next_queries` again until
`is_done`. `on_message` returns peers as they arrive, long before the end.

It is Kademlia's iterative lookup (BEP 5): query the nodes nearest to the topic for
nearer ones until the k nearest live nodes have all responded. A response counts only
if it comes from the queried address, with the transaction id of the query and the
expected node id; after any other message the node runs into its timeout. A node that
returns peers and no nodes, as rtorrent and bittorrent-dht do, is asked for nodes, too.
"""

import enum
from collections.abc import Iterable, Iterator
from heapq import nsmallest
from math import inf
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
    build_find_node,
    build_get_peers,
)
from shoal.discovery.dht.nodes import Candidate, Candidates, NodeState, distance
from shoal.discovery.dht.pace import Pace, Priority

__all__ = [
    "ALPHA",
    "K",
    "MAX_QUERIES",
    "QUERY_TIMEOUT",
    "Datagram",
    "Lookup",
]

K = 8  # nodes to announce to, and that must have responded (BEP 5)
ALPHA = 4  # queries in flight at once, slow ones not counted
QUERY_TIMEOUT = 3.0  # seconds until a queried node counts as failed
SLOW_SHARE = 0.25  # of the timeout, after which others are queried as well
MAX_QUERIES = 250  # queries in one lookup, however many nodes strangers name
MAX_PEERS = 1000  # different peers taken from one lookup
MAX_OTHERS = 64  # nodes of the other address family after which no more are taken


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


class _Method(enum.Enum):
    GET_PEERS = enum.auto()
    FIND_NODE = enum.auto()
    ANNOUNCE = enum.auto()


class _Query(NamedTuple):
    method: _Method
    tid: bytes
    sent_at: float


class Lookup:
    """Look one topic up once and, with a `port`, announce it to the k closest nodes.

    It starts from `nodes`, known from earlier lookups, and the addresses in
    `bootstrap`. All of them have addresses of one family, IPv4 or IPv6, which are two
    networks (BEP 32); a lookup that `wants_both` also asks for the other one's nodes.
    `node_id` is this node's own. `pace`, which other lookups of this node
    use as well, says when a node may be sent a packet of this `priority`. There are
    `spacing` seconds between any two packets of this lookup.
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
        is_ipv6: bool = False,
        wants_both: bool = False,
        pace: Pace | None = None,
        priority: Priority = Priority.AWAITED,
        spacing: float = 0.0,
        timeout: float = QUERY_TIMEOUT,
        max_queries: int = MAX_QUERIES,
    ) -> None:
        self._topic = topic
        self._node_id = node_id
        self._rng = rng
        self.port = port
        """The port to announce; it may change until it is announced."""
        self._is_ipv6 = is_ipv6
        self._wants_both = wants_both
        self._pace = Pace() if pace is None else pace
        self.priority = priority
        """How urgent it is."""
        self.spacing = spacing
        """Seconds between any two packets."""
        self._sent_at = -inf  # the latest packet
        self._timeout = timeout
        self._queries_left = max_queries
        self._stage = _Stage.LOOKING
        self._queries: dict[Address, _Query] = {}
        self._peers: set[Address] = set()
        self._candidates = Candidates(topic)
        self._without_nodes: list[Candidate] = []
        self._announcing: list[Candidate] = []
        self._held_until: float | None = None
        self._slowest = 0.0  # seconds that a response has taken
        self.announced = 0
        """How many nodes have confirmed the announcement."""
        self.others: dict[Address, DhtNode] = {}
        """Nodes with addresses of the other family that were named."""
        self._seen: list[tuple[Address, Address]] = []
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
        """Return when `on_timeout` is due; None if nothing is awaited."""
        due = [self._due(address) for address in self._queries]
        if self._held_until is not None:
            due.append(self._held_until)
        return min(due, default=None)

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

    def take_seen(self) -> list[tuple[Address, Address]]:
        """Return nodes that have responded since, each with the address it sees."""
        seen, self._seen = self._seen, []
        return seen

    def nearest(self) -> list[DhtNode]:
        """Return the k closest nodes that have responded, the closest first."""
        return [
            DhtNode(each.id, each.address)
            for each in self._nearest()
            if each.id is not None
        ]

    def failed(self) -> list[Address]:
        """Return the nodes that have failed, in no particular order."""
        return [
            each.address for each in self._candidates if each.state is NodeState.FAILED
        ]

    def next_queries(self, now: float) -> list[Datagram]:
        """Return the datagrams to send now; each is returned once."""
        self._held_until = None
        if self._stage is _Stage.LOOKING:
            queries = self._ask_for_nodes(now) + self._ask_for_peers(now)
            if queries or self._held_until is not None or self._is_looking():
                return queries
            self._stage = _Stage.ANNOUNCING
            self._announcing = self._nodes_to_tell()
        announcements = self._announce(now)
        if not self._queries and not self._announcing:
            self._stage = _Stage.DONE
        return announcements

    def on_message(
        self, message: KrpcMessage, source: Address, now: float
    ) -> list[Address]:
        """Process a message from `source`; return the peers not returned before.

        Messages that answer no query of this lookup change nothing.
        """
        query = self._queries.get(source)
        if query is None or message.tid != query.tid:
            return []
        candidate = self._candidates[source]
        del self._queries[source]
        if not isinstance(message, KrpcResponse) or (
            candidate.id not in (None, message.node_id)
        ):
            if query.method is not _Method.ANNOUNCE:
                candidate.state = NodeState.FAILED
            return []
        self._slowest = max(self._slowest, now - query.sent_at)
        if message.seen is not None:
            self._seen.append((source, message.seen))
        if query.method is _Method.ANNOUNCE:
            self.announced += 1
            return []
        self._accept_nodes(candidate, message)
        if query.method is _Method.FIND_NODE:
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
        query = self._queries[address]
        is_new = self._candidates[address].state is NodeState.QUERIED
        patience = self._timeout
        if is_new or query.method is _Method.FIND_NODE:
            # On a slow line every node takes long.
            patience = min(patience, max(patience * SLOW_SHARE, 2 * self._slowest))
        return query.sent_at + patience

    def _ask_for_peers(self, now: float) -> list[Datagram]:
        """Query the nodes that come next, bootstrap nodes first."""
        in_flight = sum(
            self._candidates[each].state is NodeState.QUERIED for each in self._queries
        )
        nearest = self._candidates.closest(K, without={NodeState.SLOW})
        fresh = [
            each
            for each in self._candidates.bootstrap() + nearest
            if each.state is NodeState.FRESH
        ]
        free = min(ALPHA - in_flight, self._queries_left)
        return [self._query(each, now) for each in self._ready(fresh, now, free)]

    def _ready(
        self, candidates: Iterable[Candidate], now: float, count: int = K
    ) -> list[Candidate]:
        """Return up to `count` nodes that may be sent a packet now; note the others."""
        ready: list[Candidate] = []
        for each in candidates:
            if len(ready) >= count:
                break
            at = self._pace.ready_at(each.address, self.priority)
            if self.spacing:
                earlier = now if ready else self._sent_at
                at = max(at, earlier + self.spacing)
            if at <= now:
                ready.append(each)
            elif self._held_until is None or at < self._held_until:
                self._held_until = at
        return ready

    def _is_looking(self) -> bool:
        """Return True if an awaited response may still change the k closest nodes.

        One that is slow delays the announcement to the others only if there are none.
        """
        closest = self._candidates.closest(K, without={NodeState.SLOW})
        if any(each.state is NodeState.QUERIED for each in closest):
            return True
        if any(each.method is _Method.FIND_NODE for each in self._queries.values()):
            return True
        is_settled = len(closest) == K and (
            self._queries_left == 0
            or all(each.state is not NodeState.FRESH for each in closest)
        )
        if is_settled:
            return False
        states = [self._candidates[each].state for each in self._queries]
        return NodeState.QUERIED in states or bool(states and not self.answered())

    def _query(self, candidate: Candidate, now: float) -> Datagram:
        candidate.state = NodeState.QUERIED
        tid = self._start_query(_Method.GET_PEERS, candidate.address, now)
        data = build_get_peers(
            tid, self._node_id, self._topic, wants_both=self._wants_both
        )
        return Datagram(candidate.address, data)

    def _ask_for_nodes(self, now: float) -> list[Datagram]:
        """Query the nodes that have returned peers only."""
        datagrams: list[Datagram] = []
        for each in self._ready(self._without_nodes, now, self._queries_left):
            self._without_nodes.remove(each)
            tid = self._start_query(_Method.FIND_NODE, each.address, now)
            data = build_find_node(
                tid, self._node_id, self._topic, wants_both=self._wants_both
            )
            datagrams.append(Datagram(each.address, data))
        return datagrams

    def _nodes_to_tell(self) -> list[Candidate]:
        """Return the closest nodes that have responded with a token (BEP 5)."""
        if self.port is None:
            return []
        return [each for each in self._nearest() if each.token is not None]

    def _nearest(self) -> list[Candidate]:
        """Return the k closest nodes that have responded."""
        unusable = {NodeState.FRESH, NodeState.QUERIED, NodeState.SLOW}
        return self._candidates.closest(K, without=unusable)

    def _announce(self, now: float) -> list[Datagram]:
        datagrams: list[Datagram] = []
        for each in self._ready(self._announcing, now):
            assert self.port is not None
            assert each.token is not None
            self._announcing.remove(each)
            tid = self._start_query(_Method.ANNOUNCE, each.address, now)
            data = build_announce_peer(
                tid, self._node_id, self._topic, port=self.port, token=each.token
            )
            datagrams.append(Datagram(each.address, data))
        return datagrams

    def _start_query(self, method: _Method, address: Address, now: float) -> bytes:
        """Record a query to an address; return its transaction id."""
        self._queries_left -= 1
        self._sent_at = now
        self._pace.on_packet(address, now)
        tid = self._rng.randbytes(TRANSACTION_SIZE)
        self._queries[address] = _Query(method, tid, now)
        return tid

    def _accept_nodes(self, candidate: Candidate, response: KrpcResponse) -> None:
        if candidate.id is None:
            self._candidates.learn_id(candidate, response.node_id)
        ours, others = self._by_family(response)
        for node in self._acceptable(ours, candidate):
            self._candidates.add(node)
        if self._wants_both and len(self.others) < MAX_OTHERS:
            self.others |= {n.address: n for n in self._acceptable(others, candidate)}

    def _by_family(
        self, response: KrpcResponse
    ) -> tuple[tuple[DhtNode, ...], tuple[DhtNode, ...]]:
        """Return the nodes of our address family and those of the other."""
        both = response.nodes, response.nodes6
        return both[::-1] if self._is_ipv6 else both

    def _acceptable(
        self, nodes: Iterable[DhtNode], source: Candidate
    ) -> Iterator[DhtNode]:
        """Yield the nodes that a node may have named, at most k."""
        # BEP 5 has a node return the k nearest; a malicious one gets no more accepted.
        nearest = nsmallest(K, nodes, lambda each: distance(each.id, self._topic))
        for node in nearest:
            if node.id != self._node_id:
                if is_acceptable(node.address, source.address.host):
                    yield node

    def _accept(self, candidate: Candidate, response: KrpcResponse) -> list[Address]:
        candidate.state = NodeState.ANSWERED
        candidate.token = response.token
        if self._stage is _Stage.ANNOUNCING:
            if self.port is not None and response.token is not None:
                self._announcing.append(candidate)
        elif response.peers and not self._by_family(response)[0]:
            self._without_nodes.append(candidate)
        fresh: list[Address] = []
        for peer in response.peers:
            if len(self._peers) == MAX_PEERS:
                break
            # The other network has its own peers (BEP 32).
            if (":" in peer.host) != self._is_ipv6 or peer in self._peers:
                continue
            if is_acceptable(peer, candidate.address.host):
                self._peers.add(peer)
                fresh.append(peer)
        return fresh
