"""An internet in network namespaces, with homes behind NATs and firewalls of nftables.

One namespace is the internet. Each home is another one, and so is each router between
the two. Addresses that begin with 60 are global, also to libtorrent, which ignores
some others, such as 11.0.0.0/8 (`dht_ignore_dark_internet`), and so are IPv6 addresses
that begin with 2a00.
"""

import enum
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.helpers.netns import Namespace, missing_namespaces
from tests.helpers.process import Program
from tests.helpers.router import start_router

__all__ = ["Home", "Internet", "Nat", "missing_nats"]

_FILTER = """
table inet filter {
  chain in {
    type filter hook input priority 0;
    meta l4proto ipv6-icmp accept
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
    """Nothing: the home has global addresses of IPv4 and IPv6."""
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
    PCP = "router with PCP"
    """A NAT that leaves ports as they are, and maps ports if asked by PCP."""
    NAT_PMP = "router with NAT-PMP"
    """The same, if asked by NAT-PMP."""
    UPNP = "router with UPnP"
    """The same, if asked by UPnP."""
    IPV6 = "IPv6 only"
    """A firewall that lets only answers in; the home has a global IPv6 address only."""
    DUAL = "symmetric NAT, and IPv6"
    """A symmetric NAT of IPv4, and a firewall of IPv6 that lets only answers in."""
    PINHOLE = "IPv6 and PCP"
    """A global IPv6 address only, and a firewall that opens ports if asked by PCP."""

    @property
    def maps(self) -> str | None:
        """Return the best protocol by which the router maps ports, if any."""
        return _SPEAKS.get(self)

    @property
    def has_ipv6(self) -> bool:
        """Return True for homes with IPv6 behind a firewall."""
        return self in (Nat.IPV6, Nat.DUAL, Nat.PINHOLE)


_RULES = {
    Nat.PRESERVING: ["masquerade"],
    Nat.CHANGING: [
        f"meta l4proto {protocol} masquerade to :{port}"
        for protocol, port in (("tcp", CHANGED_PORT), ("udp", CHANGED_PORT + 1))
    ],
    Nat.SYMMETRIC: ["masquerade random,fully-random"],
    Nat.NESTED: ["masquerade"],
    Nat.DUAL: ["masquerade random,fully-random"],
}
_SPEAKS = {
    Nat.PCP: "PCP",
    Nat.NAT_PMP: "NAT-PMP",
    Nat.UPNP: "UPnP",
    Nat.PINHOLE: "PCP",
}


class Home(NamedTuple):
    """One machine on the internet."""

    namespace: Namespace
    """Where its programs run."""
    address: str
    """The global address that others see it at; of IPv4, if it has one."""
    ipv6: str
    """Its global IPv6 address; empty if it has none."""
    router: Namespace
    """Its router to the internet, whose device there is `wan`; itself if public."""


class Internet(ExitStack):
    """Namespaces that are joined; they end with the `with` block."""

    def __init__(self) -> None:
        super().__init__()
        self.core = self._add()
        """The internet itself; programs here are at no home."""
        self.homes: list[Home] = []
        """All homes that have been added."""

    def add_home(self, nat: Nat) -> Home:
        """Return a new home behind a NAT of this kind."""
        home = self._make_home(len(self.homes) + 1, nat)
        self.homes.append(home)
        return home

    def _make_home(self, number: int, nat: Nat) -> Home:
        host, outside = self._add(), f"60.0.{number}"
        if nat is Nat.PUBLIC:
            ipv6 = f"2a00:0:{number}"
            _join(self.core, f"h{number}", host, "wan", outside)
            _join_ipv6(self.core, f"h{number}", host, "wan", ipv6)
            return Home(host, f"{outside}.2", f"{ipv6}::2", host)
        first = router = self._add_router(self.core, number, outside, nat)
        if nat is Nat.FIREWALL:
            inside = f"60.1.{number}"
            self.core.run("ip", "route", "add", f"{inside}.0/24", "via", f"{outside}.2")
            _join(router, "lan", host, "wan", inside)
            return Home(host, f"{inside}.2", "", router)
        if nat is Nat.NESTED:
            router = self._add_router(router, 0, f"100.64.{number}", nat)
        subnet = f"192.168.{number}"
        _join(router, "lan", host, "wan", subnet)
        if nat.maps:
            self._start_mapping(router, nat.maps, subnet)
        ipv6 = self._add_ipv6(router, number, host) if nat.has_ipv6 else ""
        if nat in (Nat.IPV6, Nat.PINHOLE):
            host.run("ip", "addr", "del", f"{subnet}.2/24", "dev", "wan")
            return Home(host, ipv6, ipv6, first)
        return Home(host, f"{outside}.2", ipv6, first)

    def start_dht(self, count: int = DHT_NODES, *, is_ipv6: bool = False) -> str:
        """Start a DHT of libtorrent nodes on the internet; return a bootstrap node.

        Each node is at a global address in a network of its own. Nodes with IPv4
        addresses and nodes with IPv6 addresses are two networks (BEP 32).
        """
        homes = [self.add_home(Nat.PUBLIC) for _ in range(count)]
        nodes = [
            f"{home.namespace.pid}/{home.ipv6 if is_ipv6 else home.address}"
            for home in homes
        ]
        argv = [sys.executable, "-m", "tests.interop.dht_nodes", *nodes]
        program = self.enter_context(Program(argv, cwd=_ROOT))
        return program.wait_line(r"^ready (\S+)$", DHT_PATIENCE)[1]

    def _start_mapping(self, router: Namespace, speaks: str, subnet: str) -> None:
        folder = Path(self.enter_context(tempfile.TemporaryDirectory()))
        daemon = start_router(
            *(router, folder),
            speaks=speaks,
            outside="wan",
            inside="lan",
            subnet=subnet,
        )
        self.enter_context(daemon)

    def _add_ipv6(self, router: Namespace, number: int, host: Namespace) -> str:
        """Give a home IPv6, behind the firewall of its router; return its address."""
        outside, inside = f"2a00:0:{number}", f"2a00:1:{number}"
        _join_ipv6(self.core, f"h{number}", router, "wan", outside)
        route = (f"{inside}::/64", "via", f"{outside}::2")
        self.core.run("ip", "-6", "route", "add", *route)
        _join_ipv6(router, "lan", host, "wan", inside)
        return f"{inside}::2"

    def _add(self) -> Namespace:
        made = self.enter_context(Namespace())
        forward = (
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/net/ipv6/conf/all/forwarding",
        )
        made.run("sh", "-c", f"echo 1 | tee {' '.join(forward)}")
        return made

    def _add_router(
        self, upstream: Namespace, number: int, subnet: str, nat: Nat
    ) -> Namespace:
        router = self._add()
        _join(upstream, f"h{number}", router, "wan", subnet)
        if nat.maps:
            return router  # `start_router` sets its rules
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


def _join_ipv6(
    upper: Namespace, upper_device: str, lower: Namespace, device: str, prefix: str
) -> None:
    """Give two joined namespaces IPv6 addresses as well."""
    for namespace, name, end in ((upper, upper_device, 1), (lower, device, 2)):
        address = (f"{prefix}::{end}/64", "dev", name, "nodad")
        namespace.run("ip", "addr", "add", *address)
    lower.run("ip", "-6", "route", "replace", "default", "via", f"{prefix}::1")
