"""Measure and show tables with the seconds that each two kinds of machines need."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.helpers.nats import Nat
from tests.reach.matrix import Pair, Reached, by_common_peer, by_dht, by_relay

__all__ = ["INTRODUCTION", "alone", "common", "ipv6", "mapped", "relayed"]

BASIC = [nat for nat in Nat if not nat.has_ipv6 and not nat.maps]
MAPPING = [nat for nat in Nat if nat.maps and not nat.has_ipv6]
IPV6 = [nat for nat in Nat if nat.has_ipv6]
OTHERS = [Nat.PUBLIC, Nat.PRESERVING, Nat.SYMMETRIC]  # beside those that are new

_KINDS = {
    Nat.PUBLIC: "a server with global addresses of IPv4 and IPv6 and no firewall",
    Nat.PRESERVING: "most routers at home: connections leave from the port that the "
    "program uses (`masquerade`), and nothing unexpected gets in",
    Nat.CHANGING: "some carriers: connections leave from another port than the "
    "program uses, the same to everyone (`masquerade to :PORT`), and nothing "
    "unexpected gets in",
    Nat.SYMMETRIC: "some routers of offices and of mobile networks: each connection "
    "leaves from a random port (`masquerade random,fully-random`)",
    Nat.FIREWALL: "a global address, and nothing unexpected gets in",
    Nat.NESTED: "a router at home behind the NAT of a carrier, both port-preserving",
    Nat.PCP: "a port-preserving NAT that maps ports by PCP: the real miniupnpd",
    Nat.NAT_PMP: "the same, without PCP",
    Nat.UPNP: "the same, with UPnP alone",
    Nat.IPV6: "a global IPv6 address only, and nothing unexpected gets in",
    Nat.DUAL: "a symmetric NAT of IPv4, and a global IPv6 address; nothing unexpected "
    "gets in by either",
    Nat.PINHOLE: "a global IPv6 address only, and a firewall that lets connections to "
    "a port in if asked by PCP: the real miniupnpd",
}
INTRODUCTION = (
    """\
# Who reaches whom

`python -m tests.reach` makes this page. It builds an internet of network namespaces, in
which nftables and the kernel of Linux are the NATs and firewalls, with a DHT of 20
nodes of libtorrent. Each cell has the seconds from the start of `shoal get` to its end,
for a file of one chunk, including the start of the program, and how the getter says
that it reached the peer that sent it: `direct` (one of the two was dialled), `mapped`
(the sharer dialled a port that the getter's router maps), `punched` (both dialled each
other at the same time) or `relayed`. The sharer has been alone for 40 s before, so its
first lookup is over. "–" means that no chunk arrived within a minute, or within 20 s
with a common peer. Empty cells are not measured.

| kind | what it stands for |
|---|---|
"""
    + "".join(f"| {nat.value} | {text} |\n" for nat, text in _KINDS.items())
    + """
Behind a port-changing NAT, a machine does not know its TCP port on the internet until
two peers have told it, or the router (see `shoal doctor`); a common peer tells the
others. But the nodes of the DHT tell it the port of its UDP socket. So with
`shoal[quic]` it connects by UDP, after TCP has had 3 s, or 0.5 s if the own NAT is the
one that changes ports ([QUIC](protocol.md#quic)). Without that, only the cells beside
the public machine would have a number in its row and its column of the first table.

A NAT that draws ports at random lets no dial in, and its own dials come from a port
that the other side does not expect. So it connects only with peers that let everyone
in. Two machines that do not reach each other still exchange everything through a third
one that both reach, if that one downloads the share or has it, or through a relay that
the link names. For a second share, two machines that let no one in connect from other
ports, which both compute. Only if a router lets in at another port than it sends from,
because it maps or forwards one, may the second share have to wait for the end of the
first.
"""
)
_WITH_COMMON = "\nThe same with one common peer, and no DHT:\n\n"


def alone(folder: Path) -> str:
    """Return the table of each two basic kinds that have only the DHT."""
    return (
        "A sharer that lets no one in hears of a getter when it asks the DHT for "
        "newcomers, every 10 to 15 s. That is most of the time here.\n\n"
        + _table(by_dht(_square(BASIC), folder))
    )


def common(folder: Path) -> str:
    """Return the table of each two basic kinds that have a common peer."""
    return (
        "The common peer is public and connected with both, but has another file only."
        "\n\n" + _table(by_common_peer(_square(BASIC), folder))
    )


def mapped(folder: Path) -> str:
    """Return the tables of those whose router maps ports."""
    pairs = _beside(MAPPING)
    return (
        "The DHT is the only third party. The others dial the port that the router has "
        "mapped.\n\n"
        + _table(by_dht(pairs, folder / "dht"))
        + _WITH_COMMON
        + _table(by_common_peer(pairs, folder / "common"))
    )


def ipv6(folder: Path) -> str:
    """Return the tables of those with IPv6."""
    pairs = list(dict.fromkeys([*_beside(IPV6), *_square(IPV6)]))
    return (
        "The DHT of IPv4 and that of IPv6 are the only third parties. A machine with "
        "IPv6 only and one with IPv4 only have no network in common.\n\n"
        + _table(by_dht(pairs, folder / "dht", is_ipv6=True))
        + _WITH_COMMON
        + "A common peer names only the address that it is connected with. So a "
        "machine that it has met by IPv4 is not introduced to one with IPv6 only, and "
        "two that it has met so do not try IPv6.\n\n"
        + _table(by_common_peer(pairs, folder / "common"))
    )


def relayed(folder: Path) -> str:
    """Return the table of those that do not meet by the DHT, with a relay."""
    pairs = [
        pair
        for pair in _square(BASIC)
        if Nat.PUBLIC not in pair and Nat.SYMMETRIC in pair
    ]
    return (
        "The pairs that do not meet by the DHT alone, with `share --relay`: the "
        "transit relay of magic-wormhole on a public machine. A relay is used only "
        "after the direct ways have failed for some seconds.\n\n"
        + _table(by_relay(pairs, folder))
    )


def _square(kinds: list[Nat]) -> list[Pair]:
    return [Pair(sharer, getter) for sharer in kinds for getter in kinds]


def _beside(kinds: list[Nat]) -> list[Pair]:
    """Return each kind with itself, and with `OTHERS` both ways."""
    pairs = [Pair(kind, kind) for kind in kinds]
    for kind in kinds:
        for other in OTHERS:
            pairs += [Pair(kind, other), Pair(other, kind)]
    return pairs


def _table(measured: Iterable[tuple[Pair, Reached | None]]) -> str:
    """Return a table with a row for each sharer and a column for each getter."""
    found = dict(measured)
    getters = [nat for nat in Nat if any(pair.getter is nat for pair in found)]
    lines = [
        "| sharer ↓ getter → | " + " | ".join(each.value for each in getters) + " |",
        "|---" * (len(getters) + 1) + "|",
    ]
    for sharer in Nat:
        if any(pair.sharer is sharer for pair in found):
            cells = [_cell(found, Pair(sharer, getter)) for getter in getters]
            lines.append(f"| {sharer.value} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(found: Mapping[Pair, Reached | None], pair: Pair) -> str:
    if pair not in found:
        return " "
    reached = found[pair]
    return "–" if reached is None else f"{reached.seconds:.1f} {reached.path}"
