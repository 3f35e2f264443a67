"""The nodes that have answered, kept as starting points for later passes; pure."""

from collections.abc import Collection, Iterable

from shoal.core.names.address import Address
from shoal.core.names.address_scope import subnet_of
from shoal.discovery.dht.candidates import distance
from shoal.discovery.dht.krpc import Node

__all__ = ["MAX_KNOWN_NODES", "KnownNodes"]

MAX_KNOWN_NODES = 128  # over all topics


class KnownNodes:
    """Remember a bounded number of nodes, on the internet one per /24."""

    def __init__(self, *, limit: int = MAX_KNOWN_NODES) -> None:
        self._limit = limit
        self._nodes: dict[Address, Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def on_pass(self, answered: Collection[Node], failed: Iterable[Address]) -> None:
        """Take in how one pass has gone: who is alive, who is not."""
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

    def closest(self, topic: bytes, count: int) -> list[Node]:
        """Return up to `count` nodes, those nearest to the topic."""
        nodes = self._nodes.values()
        return sorted(nodes, key=lambda node: distance(node.id, topic))[:count]

    def clear(self) -> None:
        """Forget them all."""
        self._nodes.clear()
