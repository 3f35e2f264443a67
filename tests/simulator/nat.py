"""NATs and firewalls of the simulated network, which remember the flows they let out.

They filter as those of Linux do (conntrack): a packet gets in only from an address and
port to which one has gone out, at the port that this one came from.
"""

from dataclasses import dataclass
from random import Random

from shoal.core.names.address import Address

__all__ = ["CHANGING", "FIREWALL", "PRESERVING", "SYMMETRIC", "Nat"]

PRESERVING = "preserving"  # packets leave from the port that the program uses
CHANGING = "changing"  # from another one for each socket, the same to everyone
SYMMETRIC = "symmetric"  # from another one for each destination
FIREWALL = "firewall"  # the address and port stay

FLOW_TIME = 120.0  # seconds that Linux remembers a SYN without an answer


@dataclass
class _Flow:
    inner: Address
    outer: Address
    until: float
    """When it is forgotten."""


class Nat:
    """Translate the addresses of packets, and drop those that no one awaits."""

    def __init__(self, kind: str, rng: Random, host: str = "") -> None:
        """Have the address `host` outside; a firewall has none."""
        self.kind = kind
        self.host = host
        self.forwards: dict[int, list[str]] = {}
        """Ports that are always open, and the addresses of the host behind each."""
        self.mapped: dict[int, Address] = {}
        """Ports that nodes have had mapped, and where each leads."""
        self._rng = rng
        self._out: dict[tuple[Address, Address], _Flow] = {}  # by inner and remote
        self._in: dict[tuple[Address, Address], _Flow] = {}  # by outer and remote
        self._ports: dict[Address, int] = {}  # of a changing NAT, by inner

    def let_out(self, inner: Address, remote: Address, now: float) -> Address:
        """Return the address that a packet to `remote` gets; let its answers in."""
        flow = self._out.get((inner, remote))
        if flow is None or flow.until < now:
            outer = self._choose(inner, remote, now)
            flow = _Flow(inner, outer, 0.0)
            self._out[inner, remote] = self._in[outer, remote] = flow
        flow.until = now + FLOW_TIME
        return flow.outer

    def map(self, inner: Address, *, keeps_port: bool) -> Address:
        """Let everyone in to a port; return where the internet reaches it.

        That is the same port only if that `keeps_port` and it is free.
        """
        for number, mapped in self.mapped.items():
            if mapped == inner:
                return Address(self.host, number)
        number = inner.port if keeps_port else self._draw_port()
        while number in self.mapped or number in self.forwards:
            number = self._draw_port()
        self.mapped[number] = inner
        return Address(self.host, number)

    def unmap(self, inner: Address) -> None:
        """End the mapping of a port."""
        self.mapped = {n: each for n, each in self.mapped.items() if each != inner}

    def let_in(self, remote: Address, outer: Address, now: float) -> Address | None:
        """Return where a packet of `remote` to `outer` leads; None if it is dropped."""
        flow = self._in.get((outer, remote))
        if flow is not None and flow.until >= now:
            return flow.inner
        if outer.port in self.mapped:
            return self.mapped[outer.port]
        hosts = self.forwards.get(outer.port)
        return None if hosts is None else Address(hosts[0], outer.port)

    def _choose(self, inner: Address, remote: Address, now: float) -> Address:
        if self.kind == FIREWALL:
            return inner
        port = inner.port
        if self.kind == CHANGING:
            port = self._ports.setdefault(inner, self._draw_port())
        elif self.kind == SYMMETRIC:
            port = self._draw_port()
        while self._is_taken(Address(self.host, port), inner, remote, now):
            port = self._draw_port()
        return Address(self.host, port)

    def _draw_port(self) -> int:
        return self._rng.randint(10_000, 60_000)

    def _is_taken(
        self, outer: Address, inner: Address, remote: Address, now: float
    ) -> bool:
        flow = self._in.get((outer, remote))
        return flow is not None and flow.until >= now and flow.inner != inner
