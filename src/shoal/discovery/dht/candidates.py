"""The nodes that one lookup has heard of, nearest to the topic first; pure.

Owns their states and the bound on their number. A node that claims the id, or on
the internet the /24, of a nearer one waits until that one has failed: whoever
wants to fill the neighbourhood of a topic has to own more than one network.
"""

import bisect
import enum
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from shoal.core.names.address import Address
from shoal.core.names.address_scope import subnet_of
from shoal.discovery.dht.krpc import Node

__all__ = ["MAX_CANDIDATES", "Candidate", "Candidates", "State", "distance"]

MAX_CANDIDATES = 400  # nodes; above what one lookup may ask, so fresh ones find room


class State(enum.Enum):
    """How far a lookup has got with one node."""

    FRESH = enum.auto()
    """Not asked yet."""
    ASKED = enum.auto()
    """Asked just now."""
    SLOW = enum.auto()
    """Asked a while ago; others are asked beside it, its answer is still welcome."""
    ANSWERED = enum.auto()
    """Has answered as the node it was said to be."""
    FAILED = enum.auto()
    """Silent, wrong or refusing; not asked again."""


@dataclass(slots=True)
class Candidate:
    """Hold what a lookup knows of one node."""

    address: Address
    """Where it is asked."""
    id: bytes | None
    """What it was said to be, None for a bootstrap node that has not answered."""
    distance: int
    """From its id to the topic."""
    subnet: str | None
    """The /24 of a global address."""
    state: State = State.FRESH
    """How far the lookup has got with it."""
    token: bytes | None = None
    """What it wants to be shown when something is announced to it."""


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
        """Take in a node whose id is not known yet."""
        self._by_address.setdefault(
            address, Candidate(address, None, 0, subnet_of(address.host))
        )

    def add(self, node: Node) -> None:
        """Take in a node by what others say of it; the first word counts."""
        if node.address in self._by_address:
            return
        gap = distance(node.id, self._topic)
        if len(self) >= self._limit and not self._make_room(gap):
            return
        candidate = Candidate(node.address, node.id, gap, subnet_of(node.address.host))
        self._by_address[node.address] = candidate
        bisect.insort(self._nearest, candidate, key=lambda each: each.distance)

    def learn_id(self, candidate: Candidate, node_id: bytes) -> None:
        """Give a bootstrap node the id that it has answered with."""
        candidate.id = node_id
        candidate.distance = distance(node_id, self._topic)
        bisect.insort(self._nearest, candidate, key=lambda each: each.distance)

    def bootstrap(self) -> list[Candidate]:
        """Return the nodes that still have no id."""
        return [each for each in self if each.id is None]

    def closest(self, count: int, without: Collection[State]) -> list[Candidate]:
        """Return up to `count` nodes nearest to the topic, one per id and /24.

        Failed nodes, and those in a state in `without`, are passed over and
        leave their id and their /24 to the next.
        """
        chosen: list[Candidate] = []
        taken: set[bytes | str] = set()
        for each in self._nearest:
            if each.state is State.FAILED or each.state in without:
                continue
            claims = {claim for claim in (each.id, each.subnet) if claim is not None}
            if taken.isdisjoint(claims):
                taken |= claims
                chosen.append(each)
                if len(chosen) == count:
                    break
        return chosen

    def _make_room(self, gap: int) -> bool:
        """Drop the farthest node that nobody has asked, if farther than `gap`."""
        for index in range(len(self._nearest) - 1, -1, -1):
            candidate = self._nearest[index]
            if candidate.distance <= gap:
                return False
            if candidate.state is State.FRESH:
                del self._nearest[index]
                del self._by_address[candidate.address]
                return True
        return False


def distance(node_id: bytes, topic: bytes) -> int:
    """Return the distance of Kademlia between two ids: their exclusive or."""
    return int.from_bytes(node_id, "big") ^ int.from_bytes(topic, "big")
