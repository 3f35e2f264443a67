"""A DHT of simulated nodes under a fake clock, honest ones and others.

`Simulation.run` drives one `Lookup` through it. Every datagram passes through the
real encoding in both directions and takes a random time each way.
"""

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from shoal.core.names.address import Address
from shoal.core.names.address_scope import subnet_of
from shoal.discovery.dht.bencode import Encodable, Value, decode, encode
from shoal.discovery.dht.candidates import distance
from shoal.discovery.dht.krpc import Node, parse_message
from shoal.discovery.dht.lookup import Lookup
from shoal.errors import ProtocolError

PER_BUCKET = 8
LATENCY = (0.01, 0.12)  # seconds, one way


def compact(address: Address) -> bytes:
    """Return the six bytes of BEP 5."""
    ip = bytes(int(part) for part in address.host.split("."))
    return ip + address.port.to_bytes(2, "big")


def compact_node(node: Node) -> bytes:
    """Return the 26 bytes of BEP 5."""
    return node.id + compact(node.address)


def reply(tid: Value, **body: Encodable) -> bytes:
    """Return a reply with these keys in its body."""
    encoded = {key.encode(): value for key, value in body.items()}
    assert isinstance(tid, bytes)
    return encode({b"t": tid, b"y": b"r", b"r": encoded})


class SimulatedNode:
    """Answer get_peers and announce_peer as an honest node does."""

    def __init__(self, me: Node) -> None:
        self.me = me
        self.known: list[Node] = []
        self.peers: dict[bytes, list[Address]] = {}

    def answer(self, data: bytes, source: Address) -> bytes | None:
        """Return the answer to a query, None for silence."""
        query = decode(data)
        assert isinstance(query, dict)
        arguments = query[b"a"]
        assert isinstance(arguments, dict)
        assert query[b"ro"] == 1
        topic = arguments[b"info_hash"]
        assert isinstance(topic, bytes)
        if query[b"q"] == b"announce_peer":
            return self.on_announce(query[b"t"], topic, arguments, source)
        return self.on_get_peers(query[b"t"], topic, source)

    def on_get_peers(self, tid: Value, topic: bytes, source: Address) -> bytes | None:
        nearest = heapq.nsmallest(8, self.known, lambda each: distance(each.id, topic))
        body: dict[str, Encodable] = {
            "id": self.me.id,
            "token": self.token(source),
            "nodes": b"".join(map(compact_node, nearest)),
        }
        if topic in self.peers:
            body["values"] = [compact(peer) for peer in self.peers[topic]]
        return reply(tid, **body)

    def on_announce(
        self, tid: Value, topic: bytes, arguments: dict[bytes, Value], source: Address
    ) -> bytes | None:
        port = arguments[b"port"]
        assert isinstance(port, int)
        assert arguments[b"implied_port"] == 0
        if arguments[b"token"] != self.token(source):
            return encode({b"t": b"x", b"y": b"e", b"e": [203, b"bad token"]})
        self.peers.setdefault(topic, []).append(Address(source.host, port))
        return reply(tid, id=self.me.id)

    def token(self, source: Address) -> bytes:
        return self.me.id[:4] + compact(source)[:4]


class DeadNode(SimulatedNode):
    """Say nothing."""

    def answer(self, data: bytes, source: Address) -> bytes | None:
        return None


@dataclass
class Outcome:
    """What one pass has found and what it cost."""

    peers: list[Address] = field(default_factory=list)
    sent: dict[Address, int] = field(default_factory=dict)
    lasted: float = 0.0
    first_peer_at: float | None = None


class Simulation:
    """Hold the nodes, and carry datagrams between them and one lookup."""

    def __init__(self, rng: Random, *, me: str = "9.9.9.9") -> None:
        self.rng = rng
        self.me = Address(me, 40_000)
        self.nodes: dict[Address, SimulatedNode] = {}

    def add(
        self, kind: type[SimulatedNode], count: int, *, on_loopback: bool = False
    ) -> list[SimulatedNode]:
        """Add nodes, on the internet each in a /24 of its own."""
        made = []
        for _ in range(count):
            number = len(self.nodes) + 1
            host = f"5.{number >> 8}.{number & 255}.7"
            address = Address("127.0.0.1" if on_loopback else host, 10_000 + number)
            node = kind(Node(self.rng.randbytes(20), address))
            self.nodes[address] = node
            made.append(node)
        return made

    def connect(self) -> None:
        """Fill every node's table, as if all had been looking for long.

        As in libtorrent, a table has one node of each /24 of the internet.
        """
        everyone = [
            (node.me, subnet_of(node.me.address.host)) for node in self.nodes.values()
        ]
        self.rng.shuffle(everyone)
        for node in self.nodes.values():
            buckets: dict[int, list[Node]] = {}
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
        """Return the nodes that a topic belongs to."""
        nodes = self.nodes.values() if among is None else among
        return heapq.nsmallest(count, nodes, lambda each: distance(each.me.id, topic))

    def run(self, lookup: Lookup) -> Outcome:
        """Drive one pass to its end."""
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
            assert wake_at is not None, "it awaits nothing and is not done"
            if not arriving or wake_at < arriving[0][0]:
                assert wake_at >= now, "the clock stands still"
                now = wake_at
                lookup.on_timeout(now)
                continue
            now, _, source, answer = heapq.heappop(arriving)
            try:
                found = lookup.on_reply(parse_message(answer), source)
            except ProtocolError:
                continue
            if found and outcome.first_peer_at is None:
                outcome.first_peer_at = now
            outcome.peers += found
