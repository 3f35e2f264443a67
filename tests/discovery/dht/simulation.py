"""A DHT of simulated nodes, honest or malicious, under a fake clock.

`Simulation.run` drives one `Lookup` through it. Every datagram is
encoded and decoded in both directions and takes a random time each way.
"""

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from random import Random

from shoal.core.names.address import Address
from shoal.core.names.address_scope import subnet_of
from shoal.discovery.dht.krpc import (
    BencodeInput,
    BencodeValue,
    DhtNode,
    bdecode,
    bencode,
    parse_message,
)
from shoal.discovery.dht.lookup import Lookup
from shoal.discovery.dht.nodes import distance
from shoal.errors import ProtocolError

PER_BUCKET = 8
LATENCY = (0.01, 0.12)  # seconds, one way


def compact(address: Address) -> bytes:
    """Return an address as compact peer info: 6 bytes (BEP 5) or 18 (BEP 32)."""
    return ip_address(address.host).packed + address.port.to_bytes(2, "big")


def compact_node(node: DhtNode) -> bytes:
    """Return a node as compact node info: 26 bytes (BEP 5) or 38 (BEP 32)."""
    return node.id + compact(node.address)


def build_response(tid: BencodeValue, **body: BencodeInput) -> bytes:
    """Return a KRPC response with these keys in its body."""
    encoded = {key.encode(): value for key, value in body.items()}
    assert isinstance(tid, bytes)
    return bencode({b"t": tid, b"y": b"r", b"r": encoded})


class SimulatedNode:
    """Answer as an honest node does."""

    def __init__(self, me: DhtNode) -> None:
        self.me = me
        self.known: list[DhtNode] = []
        self.peers: dict[bytes, list[Address]] = {}
        self._nodes: dict[str, BencodeInput] = {}  # as the current query wants them

    def answer(self, data: bytes, source: Address) -> bytes | None:
        """Return the answer to a query, None for silence."""
        query = bdecode(data)
        assert isinstance(query, dict)
        arguments = query[b"a"]
        assert isinstance(arguments, dict)
        assert query[b"ro"] == 1
        is_for_nodes = query[b"q"] == b"find_node"
        topic = arguments[b"target" if is_for_nodes else b"info_hash"]
        assert isinstance(topic, bytes)
        wanted = arguments.get(b"want", [b"n6" if ":" in source.host else b"n4"])
        assert isinstance(wanted, list)
        self._nodes = {}
        if b"n4" in wanted:
            self._nodes["nodes"] = self.nearest(topic)
        if b"n6" in wanted:
            self._nodes["nodes6"] = self.nearest(topic, is_ipv6=True)
        if is_for_nodes:
            return build_response(query[b"t"], id=self.me.id, **self._nodes)
        if query[b"q"] == b"announce_peer":
            return self.on_announce(query[b"t"], topic, arguments, source)
        return self.on_get_peers(query[b"t"], topic, source)

    def on_get_peers(
        self, tid: BencodeValue, topic: bytes, source: Address
    ) -> bytes | None:
        body: dict[str, BencodeInput] = {
            "id": self.me.id,
            "token": self.token(source),
            **self._nodes,
        }
        if topic in self.peers:
            body["values"] = [compact(peer) for peer in self.peers[topic]]
        return build_response(tid, **body)

    def on_announce(
        self,
        tid: BencodeValue,
        topic: bytes,
        arguments: dict[bytes, BencodeValue],
        source: Address,
    ) -> bytes | None:
        port = arguments[b"port"]
        assert isinstance(port, int)
        assert arguments[b"implied_port"] == 0
        if arguments[b"token"] != self.token(source):
            return bencode({b"t": b"x", b"y": b"e", b"e": [203, b"bad token"]})
        self.peers.setdefault(topic, []).append(Address(source.host, port))
        return build_response(tid, id=self.me.id)

    def nearest(self, topic: bytes, *, is_ipv6: bool = False) -> bytes:
        known = [n for n in self.known if (":" in n.address.host) == is_ipv6]
        nearest = heapq.nsmallest(8, known, lambda each: distance(each.id, topic))
        return b"".join(map(compact_node, nearest))

    def token(self, source: Address) -> bytes:
        return self.me.id[:4] + compact(source)[:4]


class DeadNode(SimulatedNode):
    """Answer nothing."""

    def answer(self, data: bytes, source: Address) -> bytes | None:
        return None


@dataclass
class Outcome:
    """Hold the result of one lookup and its cost."""

    peers: list[Address] = field(default_factory=list)
    sent: dict[Address, int] = field(default_factory=dict)
    lasted: float = 0.0
    first_peer_at: float | None = None


class Simulation:
    """Hold the nodes, and pass datagrams between them and one lookup."""

    def __init__(self, rng: Random, *, me: str = "9.9.9.9") -> None:
        self.rng = rng
        self.me = Address(me, 40_000)
        self.nodes: dict[Address, SimulatedNode] = {}

    def add(
        self, kind: type[SimulatedNode], count: int, *, on_loopback: bool = False
    ) -> list[SimulatedNode]:
        """Add nodes, each in its own /24 unless `on_loopback`."""
        made = []
        for _ in range(count):
            number = len(self.nodes) + 1
            host = f"5.{number >> 8}.{number & 255}.7"
            address = Address("127.0.0.1" if on_loopback else host, 10_000 + number)
            node = kind(DhtNode(self.rng.randbytes(20), address))
            self.nodes[address] = node
            made.append(node)
        return made

    def connect(self) -> None:
        """Fill every node's routing table, as after many lookups.

        As in libtorrent, a table has one node of each /24 of the internet.
        """
        everyone = [
            (node.me, subnet_of(node.me.address.host)) for node in self.nodes.values()
        ]
        self.rng.shuffle(everyone)
        for node in self.nodes.values():
            buckets: dict[int, list[DhtNode]] = {}
            subnets: set[str | None] = set()
            for other, subnet in everyone:
                gap = distance(other.id, node.me.id)
                bucket = buckets.setdefault(gap.bit_length(), [])
                if gap and len(bucket) < PER_BUCKET and subnet not in subnets:
                    bucket.append(other)
                    subnets |= {subnet} - {None}
            node.known = list(itertools.chain.from_iterable(buckets.values()))

    def closest(
        self, topic: bytes, count: int, among: Iterable[SimulatedNode] | None = None
    ) -> list[SimulatedNode]:
        """Return the nodes nearest to a topic."""
        nodes = self.nodes.values() if among is None else among
        return heapq.nsmallest(count, nodes, lambda each: distance(each.me.id, topic))

    def run(self, lookup: Lookup) -> Outcome:
        """Run one lookup to its end."""
        now = 0.0
        outcome = Outcome()
        serial = itertools.count()
        arriving: list[tuple[float, int, Address, bytes]] = []
        while True:
            for address, data in lookup.next_queries(now):
                outcome.sent[address] = outcome.sent.get(address, 0) + 1
                node = self.nodes.get(address)
                answer = node.answer(data, self.me) if node else None
                if answer is not None:
                    delay = self.rng.uniform(*LATENCY) + self.rng.uniform(*LATENCY)
                    item = (now + delay, next(serial), address, answer)
                    heapq.heappush(arriving, item)
            if lookup.is_done:
                outcome.lasted = now
                return outcome
            wake_at = lookup.wake_at
            assert wake_at is not None, "the lookup awaits nothing and is not done"
            if not arriving or wake_at < arriving[0][0]:
                assert wake_at >= now, "the clock stands still"
                now = wake_at
                lookup.on_timeout(now)
                continue
            now, _, source, answer = heapq.heappop(arriving)
            try:
                found = lookup.on_message(parse_message(answer), source, now)
            except ProtocolError:
                continue
            if found and outcome.first_peer_at is None:
                outcome.first_peer_at = now
            outcome.peers += found
