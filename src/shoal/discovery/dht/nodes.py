"""The DHT nodes of one lookup, nearest first, and those kept between lookups; pure.

`Candidates` holds the nodes that one lookup has heard of, their states and the bound on
their number; `KnownNodes` holds nodes that answered. On the internet each gives one
place to a subnet at a time, which is an IPv4 /24 or an IPv6 /48: an attacker needs more
than one network to surround a topic.
"""

import bisect
import enum
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from shoal.core.names.address import Address
from shoal.core.names.address_scope import subnet_of
from shoal.discovery.dht.krpc import DhtNode

__all__ = [
    "MAX_CANDIDATES",
    "MAX_KNOWN_NODES",
    "Candidate",
    "Candidates",
    "KnownNodes",
    "NodeState",
    "distance",
]

MAX_CANDIDATES = 400  # nodes; more than a lookup may query, so new ones find room
MAX_KNOWN_NODES = 128  # over all topics


class NodeState(enum.Enum):
    """Tell how far a lookup has got with one node."""

    FRESH = enum.auto()
    """Not queried yet."""
    QUERIED = enum.auto()
    """Queried a short while ago."""
    SLOW = enum.auto()
    """Queried longer ago; the lookup queries others too, but awaits the response."""
    ANSWERED = enum.auto()
    """Has responded with the expected id."""
    FAILED = enum.auto()
    """Silent, wrong or refusing; not queried again."""


@dataclass(slots=True)
class Candidate:
    """Hold what a lookup knows of one node."""

    address: Address
    """The node's UDP address."""
    id: bytes | None
    """The id that others gave; None for a bootstrap node that has not responded."""
    distance: int
    """Distance from the id to the topic."""
    subnet: str | None
    """The /24 of a global IPv4 address, the /48 of an IPv6 one."""
    state: NodeState = NodeState.FRESH
    """How far the lookup has got with the node."""
    token: bytes | None = None
    """The token that the node requires in an announcement."""


class Candidates:
    """Keep the nodes of one lookup in order of their distance to its topic."""

    def __init__(self, topic: bytes, *, limit: int = MAX_CANDIDATES) -> None:
        self._topic = topic
        self._limit = limit
        self._by_address: dict[Address, Candidate] = {}
        self._nearest: list[Candidate] = []

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._by_address.values())

    def __getitem__(self, address: Address) -> Candidate:
        return self._by_address[address]

    def add_bootstrap(self, address: Address) -> None:
        """Add a node with an unknown id."""
        self._by_address.setdefault(
            address, Candidate(address, None, 0, subnet_of(address.host))
        )

    def add(self, node: DhtNode) -> None:
        """Add a node that another node named; the first id for an address is kept."""
        if node.address in self._by_address:
            return
        gap = distance(node.id, self._topic)
        if len(self) >= self._limit and not self._make_room(gap):
            return
        candidate = Candidate(node.address, node.id, gap, subnet_of(node.address.host))
        self._by_address[node.address] = candidate
        bisect.insort(self._nearest, candidate, key=lambda each: each.distance)

    def learn_id(self, candidate: Candidate, node_id: bytes) -> None:
        """Set the id that a bootstrap node has responded with."""
        candidate.id = node_id
        candidate.distance = distance(node_id, self._topic)
        bisect.insort(self._nearest, candidate, key=lambda each: each.distance)

    def bootstrap(self) -> list[Candidate]:
        """Return the nodes whose id is still unknown."""
        return [each for each in self if each.id is None]

    def closest(self, count: int, without: Collection[NodeState]) -> list[Candidate]:
        """Return up to `count` nodes nearest to the topic, one per id and subnet.

        Failed nodes, and those in a state in `without`, are skipped, and the next
        node with their id or subnet takes their place.
        """
        chosen: list[Candidate] = []
        taken: set[bytes | str] = set()
        for each in self._nearest:
            if each.state is NodeState.FAILED or each.state in without:
                continue
            claims = {claim for claim in (each.id, each.subnet) if claim is not None}
            if taken.isdisjoint(claims):
                taken |= claims
                chosen.append(each)
                if len(chosen) == count:
                    break
        return chosen

    def _make_room(self, gap: int) -> bool:
        """Drop the farthest fresh node if it is farther than `gap`."""
        for index in range(len(self._nearest) - 1, -1, -1):
            candidate = self._nearest[index]
            if candidate.distance <= gap:
                return False
            if candidate.state is NodeState.FRESH:
                del self._nearest[index]
                del self._by_address[candidate.address]
                return True
        return False


class KnownNodes:
    """Keep nodes that answered, as starting points for later lookups.

    Their number is bounded, and on the internet there is one per subnet.
    """

    def __init__(self, *, limit: int = MAX_KNOWN_NODES) -> None:
        self._limit = limit
        self._nodes: dict[Address, DhtNode] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def on_lookup(
        self, answered: Collection[DhtNode], failed: Iterable[Address]
    ) -> None:
        """Add the nodes that answered during a lookup and drop those that failed."""
        for address in failed:
            self._nodes.pop(address, None)
        for node in answered:
            self._nodes.pop(node.address, None)
        subnets = {subnet_of(address.host) for address in self._nodes}
        for node in answered:
            subnet = subnet_of(node.address.host)
            if subnet is None or subnet not in subnets:
                subnets.add(subnet)
                self._nodes[node.address] = node
        while len(self._nodes) > self._limit:
            del self._nodes[next(iter(self._nodes))]

    def closest(self, topic: bytes, count: int) -> list[DhtNode]:
        """Return up to `count` nodes, those nearest to the topic."""
        nodes = self._nodes.values()
        return sorted(nodes, key=lambda node: distance(node.id, topic))[:count]

    def clear(self) -> None:
        """Forget all nodes."""
        self._nodes.clear()


def distance(node_id: bytes, topic: bytes) -> int:
    """Return Kademlia's distance between two ids, their exclusive or (BEP 5)."""
    return int.from_bytes(node_id, "big") ^ int.from_bytes(topic, "big")
