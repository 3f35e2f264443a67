"""An internet in network namespaces, with homes behind NATs and firewalls of nftables.

One namespace is the internet. Each home is another one, and so is each router between
the two. Addresses that begin with 60 are global, also to libtorrent, which ignores
some others, such as 11.0.0.0/8 (`dht_ignore_dark_internet`).
"""

import enum
import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.helpers.netns import Namespace, missing_namespaces
from tests.helpers.process import Program

__all__ = ["Home", "Internet", "Nat", "missing_nats"]

_FILTER = """
table ip filter {
  chain in {
    type filter hook input priority 0;
    iifname "wan" ct state established,related accept
    iifname "wan" drop
  }
  chain forward {
    type filter hook forward priority 0;
    ct state established,related accept
    iifname "wan" drop
  }
}
"""
_NAT = """
table ip nat {
  chain out { type nat hook postrouting priority 100; oifname "wan" %s; }
}
"""
_ROOT = Path(__file__).parent.parent.parent
CHANGED_PORT = 41_000  # of TCP, behind a NAT that changes ports
DHT_NODES = 20
DHT_PATIENCE = 60.0  # seconds until all of them have joined


class Nat(enum.Enum):
    """Name what is between a home and the internet."""

    PUBLIC = "public"
    """Nothing: the home has a global address."""
    PRESERVING = "port-preserving NAT"
    """A NAT that leaves ports as they are, as most routers at home."""
    CHANGING = "port-changing NAT"
    """A NAT that has another port for each port of a machine, the same to everyone.

    Linux has none; this one has one port for TCP and one for UDP. So only one socket at
    a time can talk to an address, and `shoal doctor`, which uses several, cannot.
    """
    SYMMETRIC = "symmetric NAT"
    """A NAT that draws another port for each connection."""
    FIREWALL = "firewall"
    """A firewall that lets only answers in; the home has a global address."""
    NESTED = "NAT behind NAT"
    """Two NATs that leave ports as they are, such as a router's and a carrier's."""


_RULES = {
    Nat.PRESERVING: ["masquerade"],
    Nat.CHANGING: [
        f"meta l4proto {protocol} masquerade to :{port}"
        for protocol, port in (("tcp", CHANGED_PORT), ("udp", CHANGED_PORT + 1))
    ],
    Nat.SYMMETRIC: ["masquerade random,fully-random"],
    Nat.NESTED: ["masquerade"],
}


class Home(NamedTuple):
    """One machine on the internet."""

    namespace: Namespace
    """Where its programs run."""
    address: str
    """The global address that others see it at."""


class Internet(ExitStack):
    """Namespaces that are joined; they end with the `with` block."""

    def __init__(self) -> None:
        super().__init__()
        self.core = self._add()
        """The internet itself; programs here are at no home."""
        self._homes = 0

    def add_home(self, nat: Nat) -> Home:
        """Return a new home behind a NAT of this kind."""
        self._homes += 1
        number = self._homes
        host, outside = self._add(), f"60.0.{number}"
        if nat is Nat.PUBLIC:
            _join(self.core, f"h{number}", host, "wan", outside)
            return Home(host, f"{outside}.2")
        router = self._add_router(self.core, number, outside, nat)
        if nat is Nat.FIREWALL:
            inside = f"60.1.{number}"
            self.core.run("ip", "route", "add", f"{inside}.0/24", "via", f"{outside}.2")
            _join(router, "lan", host, "wan", inside)
            return Home(host, f"{inside}.2")
        if nat is Nat.NESTED:
            router = self._add_router(router, 0, f"100.64.{number}", nat)
        _join(router, "lan", host, "wan", f"192.168.{number}")
        return Home(host, f"{outside}.2")

    def start_dht(self, count: int = DHT_NODES) -> str:
        """Start a DHT of libtorrent nodes on the internet; return a bootstrap node.

        Each node is at a global address in a /24 of its own.
        """
        homes = [self.add_home(Nat.PUBLIC) for _ in range(count)]
        nodes = [f"{home.namespace.pid}/{home.address}" for home in homes]
        argv = [sys.executable, "-m", "tests.interop.dht_nodes", *nodes]
        program = self.enter_context(Program(argv, cwd=_ROOT))
        return program.wait_line(r"^ready (\S+)$", DHT_PATIENCE)[1]

    def _add(self) -> Namespace:
        made = self.enter_context(Namespace())
        made.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        return made

    def _add_router(
        self, upstream: Namespace, number: int, subnet: str, nat: Nat
    ) -> Namespace:
        router = self._add()
        _join(upstream, f"h{number}", router, "wan", subnet)
        rules = _FILTER
        rules += "".join(_NAT % rule for rule in _RULES.get(nat, ()))
        router.run("sh", "-c", f"echo '{rules}' | nft -f -")
        return router


def missing_nats() -> str | None:
    """Return why NATs cannot be made here; None if they can."""
    if os.geteuid() != 0:
        return "only root may join namespaces"
    if shutil.which("nft") is None:
        return "nft is not installed"
    return missing_namespaces()


def _join(
    upper: Namespace, upper_device: str, lower: Namespace, device: str, subnet: str
) -> None:
    """Join two namespaces; the upper one is the way from the lower to anywhere."""
    upper.run(
        *("ip", "link", "add", upper_device, "type", "veth"),
        *("peer", "name", device, "netns", str(lower.pid)),
    )
    for namespace, name, end in ((upper, upper_device, 1), (lower, device, 2)):
        namespace.run("ip", "addr", "add", f"{subnet}.{end}/24", "dev", name)
        namespace.run("ip", "link", "set", name, "up")
    lower.run("ip", "route", "replace", "default", "via", f"{subnet}.1")
