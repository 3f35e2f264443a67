"""Write docs/reach.md: who can fetch from whom, and after how many seconds.

    python -m tests.reach

takes some minutes, and must be run by root on a machine with nft and libtorrent.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.helpers.nats import Nat, missing_nats
from tests.reach.matrix import Pair, by_common_peer, by_dht, every_pair

PAGE = Path(__file__).parent.parent.parent / "docs" / "reach.md"
INTRODUCTION = """\
# Who reaches whom

`python -m tests.reach` makes this page. It builds an internet of network namespaces, in
which nftables and the kernel of Linux are the NATs and firewalls, with a DHT of 20
nodes of libtorrent. Each cell has the seconds from the start of `shoal get` to its end,
for a file of one chunk, including the start of the program. The sharer has been alone
for 40 s before, so its first lookups are over. "–" means that no chunk arrived within a
minute, or within 20 s with a common peer.

"""
KINDS = {
    Nat.PUBLIC: "a server with a global address and no firewall",
    Nat.PRESERVING: "most routers at home: connections leave from the port that the "
    "program uses (`masquerade`), and nothing unexpected gets in",
    Nat.CHANGING: "some carriers: connections leave from another port than the "
    "program uses, the same to everyone (`masquerade to :PORT`), and nothing "
    "unexpected gets in",
    Nat.SYMMETRIC: "some routers of offices and of mobile networks: each connection "
    "leaves from a random port (`masquerade random,fully-random`)",
    Nat.FIREWALL: "a global address, and nothing unexpected gets in",
    Nat.NESTED: "a router at home behind the NAT of a carrier, both port-preserving",
}
CONCLUSION = """\
Behind a port-changing NAT, a machine does not know its port on the internet until two
peers have told it, or the router (see `shoal doctor`); a common peer tells the others.
A NAT that draws ports at random lets no dial in, and its own dials come from a port
that the other side does not expect. So it connects only with peers that let everyone
in. Two machines that do not reach each other still exchange everything through a third
one that both reach, if that one downloads the share or has it. Two machines that let no
one in have one connection at a time, so a second share that both have waits for a third
machine, or for the end of the first.
"""


def main() -> None:
    """Measure everything and write the page."""
    missing = missing_nats()
    assert missing is None, missing
    pairs = every_pair()
    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_DATA_HOME"] = home
        alone = dict(by_dht(pairs, Path(home, "dht")))
        common = dict(by_common_peer(pairs, Path(home, "common")))
    kinds = [f"| {nat.value} | {text} |\n" for nat, text in KINDS.items()]
    parts = [
        INTRODUCTION + "| kind | what it stands for |\n|---|---|\n" + "".join(kinds),
        CONCLUSION,
        "## With the DHT as the only third party\n\n" + table(alone),
        "## With one common peer, and no DHT\n\n"
        "The common peer is public and connected with both, but has another file only."
        "\n\n" + table(common),
    ]
    PAGE.write_text("\n".join(parts))


def table(seconds: Mapping[Pair, float | None]) -> str:
    """Return a table with a row for each sharer and a column for each getter."""
    getters = [nat for nat in Nat if any(pair.getter is nat for pair in seconds)]
    lines = [
        "| sharer ↓ getter → | " + " | ".join(each.value for each in getters) + " |",
        "|---" * (len(getters) + 1) + "|",
    ]
    for sharer in Nat:
        cells = [seconds.get(Pair(sharer, getter)) for getter in getters]
        shown = ["–" if each is None else f"{each:.1f}" for each in cells]
        lines.append(f"| {sharer.value} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
