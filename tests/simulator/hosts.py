"""The hosts and sites of the simulated network."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Host", "Site"]


@dataclass
class Site:
    """One place of the network."""

    name: str
    public: str = ""
    """The address of its NAT; without one, its hosts are on the internet."""
    forwards: dict[int, "Host"] = field(default_factory=dict)
    """Ports of the NAT that lead to a host."""


@dataclass
class Host:
    """One machine of the network."""

    name: str
    site: Site
    addresses: list[str]
    latency: float = 0.005
    """Seconds that a byte takes to or from it."""
    is_closed: bool = False
    """Whether a firewall drops connections from outside the site."""
    is_deaf: bool = False
    """Whether a firewall drops every connection to it."""
    has_liar_beside: bool = False
    """Whether a peer that lies has the same address for other sites."""
    listening: dict[int, Any] = field(default_factory=dict)

    @property
    def outside(self) -> str:
        """Return the address that it has for other sites."""
        return self.site.public or self.addresses[0]

    @property
    def is_global(self) -> bool:
        """Return True if it has addresses on the internet."""
        return not self.site.public
