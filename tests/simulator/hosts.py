"""The hosts and sites of the simulated network."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from shoal.core.names.address import Address
from tests.simulator.nat import CHANGING, PRESERVING, Nat
from tests.simulator.plan import SitePlan

__all__ = ["Host", "Site", "make_sites"]


@dataclass
class Site:
    """One place of the network."""

    name: str
    public: str = ""
    """The address of its NAT; without one, its hosts are on the internet."""
    forwards: dict[int, "Host"] = field(default_factory=dict)
    """Ports of the NAT that lead to a host."""
    nats: list[Nat] = field(default_factory=list)
    """The NATs between its hosts and the internet, the nearest first."""
    maps: str = ""
    """As in the plan."""

    @property
    def keeps_ports(self) -> bool:
        """Return True if the internet sees the ports that its hosts use."""
        return all(nat.kind == PRESERVING for nat in self.nats)

    @property
    def changes_ports(self) -> bool:
        """Return True if the internet sees one other port for each port."""
        return any(nat.kind == CHANGING for nat in self.nats)


@dataclass
class Host:
    """One machine of the network."""

    name: str
    site: Site
    addresses: list[str]
    latency: float = 0.005
    """Seconds that a byte takes to or from it."""
    firewall: Nat | None = None
    """What drops connections from outside the site, if anything does."""
    is_deaf: bool = False
    """Whether a firewall drops every connection to it."""
    has_liar_beside: bool = False
    """Whether a peer that lies has the same address for other sites."""
    listening: dict[int, Any] = field(default_factory=dict)
    sockets: dict[tuple[Address, Address], Any] = field(default_factory=dict)
    """The sockets that are connected or dial, by their own and the remote address."""
    lingering: dict[tuple[Address, Address], float] = field(default_factory=dict)
    """Until when the system keeps these of sockets that have closed (TIME_WAIT)."""

    @property
    def outside(self) -> str:
        """Return the address that it has for other sites."""
        return self.site.public or self.addresses[0]

    def number_of(self, port: int) -> int | None:
        """Return the number by which the internet dials a port that is mapped."""
        nats = self.site.nats
        mapped = nats[0].mapped if len(nats) == 1 else {}
        inner = Address(self.addresses[0], port)
        return next((n for n, each in mapped.items() if each == inner), None)

    def inner_port(self, address: Address) -> int:
        """Return the port of this host that an address on the internet leads to."""
        nats = self.site.nats
        mapped = nats[0].mapped if nats and address.host == self.outside else {}
        return mapped.get(address.port, address).port

    @property
    def is_global(self) -> bool:
        """Return True if it has addresses on the internet."""
        return not self.site.public

    @property
    def is_closed(self) -> bool:
        """Return True if a firewall drops connections from outside the site."""
        return self.firewall is not None

    @property
    def nats(self) -> list[Nat]:
        """Return what its packets to other sites pass, in this order."""
        return [self.firewall, *self.site.nats] if self.firewall else self.site.nats


def make_sites(plans: Sequence[SitePlan], rng: Random) -> list[Site]:
    """Return the sites of a plan, with their NATs and those of their carriers."""
    carriers: dict[int, Nat] = {}
    sites = []
    for number, plan in enumerate(plans):
        public = f"45.1.{number}.1" if plan.is_nat else ""
        site = Site(f"site{number}", public, maps=plan.maps if plan.is_nat else "")
        if plan.is_nat and plan.carrier is None:
            site.nats.append(Nat(plan.nat, rng, site.public))
        elif plan.is_nat and plan.carrier is not None:
            site.public = f"45.0.{plan.carrier}.1"
            carrier = Nat(PRESERVING, rng, site.public)
            site.nats = [
                Nat(plan.nat, rng, f"100.64.{number}.1"),
                carriers.setdefault(plan.carrier, carrier),
            ]
        sites.append(site)
    return sites
