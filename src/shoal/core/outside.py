"""How this node looks from the internet, as others report it; pure.

Nodes of the DHT tell each node that asks them its address and UDP port (BEP 42, `ip`),
and peers tell the address and TCP port that they see (docs/protocol.md, "Own
addresses"). From that follows which kind of NAT is between, and the number by which
peers on the internet can dial our port. Anyone may lie, so what counts is what most
networks agree on.
"""

import enum
from collections import Counter, OrderedDict
from collections.abc import Collection, Hashable
from typing import TypeVar

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of, subnet_of

__all__ = ["NatKind", "Outside"]

K = TypeVar("K")

MAX_REPORTS = 32  # of each kind, one for each network
MIN_NODES = 4  # networks of DHT nodes that must have answered
MIN_PEERS = 2  # networks of peers that must have told the same port
MOST = 0.75  # part of the reports that must agree


class NatKind(enum.Enum):
    """Name what is between this node and the internet."""

    UNKNOWN = "unknown"
    """Too few have reported."""
    NONE = "none"
    """Others see an address of this machine. There may be a firewall."""
    PRESERVING = "preserving"
    """A NAT from which packets leave with the port that they have here."""
    CHANGING = "changing"
    """A NAT that has another port for each socket, the same to everyone."""
    SYMMETRIC = "symmetric"
    """A NAT that has another port for each destination: no peer can know it."""


class Outside:
    """Collect what others report of our addresses."""

    def __init__(self) -> None:
        """Start with no report."""
        self._nodes: OrderedDict[Hashable, tuple[Address, int]] = OrderedDict()
        self._peers: OrderedDict[Hashable, tuple[Address, int]] = OrderedDict()

    def on_node(self, node: str, seen: Address, port: int) -> None:
        """Note the address at which a DHT node sees our UDP port `port`."""
        _note(self._nodes, node, seen, port)

    def on_peer(self, peer: str, seen: Address, port: int) -> None:
        """Note the address at which a peer sees our connection from TCP port `port`."""
        _note(self._peers, peer, seen, port)

    def clear(self) -> None:
        """Forget all reports: this machine has changed networks."""
        self._nodes.clear()
        self._peers.clear()

    @property
    def host(self) -> str | None:
        """Return the address of this node on the internet; None if it is not known."""
        hosts = Counter(seen.host for seen, _ in self._nodes.values())
        return _agreed(hosts, MIN_NODES)

    def kind(self, own: Collection[str]) -> NatKind:
        """Return what is between; `own` are the addresses of this machine."""
        host = self.host
        if host is None:
            return NatKind.UNKNOWN
        if host in own:
            return NatKind.NONE
        ports = [
            (seen.port, port)
            for seen, port in self._nodes.values()
            if seen.host == host
        ]
        if sum(seen == port for seen, port in ports) >= MOST * len(ports):
            return NatKind.PRESERVING
        if _agreed(Counter(ports), MIN_NODES) is not None:
            return NatKind.CHANGING
        return NatKind.SYMMETRIC

    def changed_port(self, own: Collection[str]) -> int | None:
        """Return the number of our UDP port on the internet, if a NAT changes it.

        None if it does not, or if each destination sees another number.
        """
        if self.kind(own) is not NatKind.CHANGING:
            return None
        seen = Counter(seen.port for seen, _ in self._nodes.values())
        return _agreed(seen, MIN_NODES)

    def port(self, port: int) -> int:
        """Return the number by which peers on the internet can dial a TCP port.

        That is the one that most peers see, and `port` itself if too few have told one.
        """
        seen = Counter(seen.port for seen, ours in self._peers.values() if ours == port)
        agreed = _agreed(seen, MIN_PEERS)
        return port if agreed is None else agreed


def _note(
    reports: OrderedDict[Hashable, tuple[Address, int]],
    source: str,
    seen: Address,
    port: int,
) -> None:
    """Keep a report about a global address from the internet, one for each network."""
    network = subnet_of(source)
    if network is None or scope_of(seen.host) is not Scope.GLOBAL or not seen.port:
        return
    reports[network] = seen, port
    reports.move_to_end(network)
    if len(reports) > MAX_REPORTS:
        reports.popitem(last=False)


def _agreed(counts: Counter[K], least: int) -> K | None:
    """Return what most reports have in common, if there are enough of them."""
    total = sum(counts.values())
    for value, count in counts.most_common(1):
        if total >= least and count >= MOST * total:
            return value
    return None
