"""Write docs/reach.md: who can fetch from whom, after how many seconds, and how fast.

    python -m tests.reach [PART...]

measures everything, or some parts of `PARTS`, and leaves the others as they are. It
takes about twenty minutes, and must be run by root on a machine with nft, miniupnpd,
tc and libtorrent.
"""

import os
import sys
import tempfile
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.helpers.nats import missing_nats
from tests.helpers.router import missing_router
from tests.reach import crowd, idle, speed, tables

PAGE = Path(__file__).parent.parent.parent / "docs" / "reach.md"
WIDTH = 88  # characters of a line
IDLE = "idle"  # it waits for minutes, so it runs beside the others, and is the last
PARTS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "dht": ("With the DHT as the only third party", tables.alone),
    "common": ("With one common peer, and no DHT", tables.common),
    "mapped": ("With a router that maps ports", tables.mapped),
    "ipv6": ("With IPv6", tables.ipv6),
    "relay": ("With a relay", tables.relayed),
    "speed": ("How fast", speed.describe),
    "crowd": ("Six homes and a sharer, each behind a NAT", crowd.describe),
    IDLE: ("What a share that waits sends", idle.describe),
}
"""The heading of each part, and the function that measures it in a folder."""


def main(*names: str) -> None:
    """Measure some parts, or all, and write the page after each."""
    missing = missing_nats() or missing_router()
    assert missing is None, missing
    page = sections(PAGE.read_text())
    names = names or tuple(PARTS)
    with tempfile.TemporaryDirectory() as home, ThreadPoolExecutor(1) as pool:
        os.environ["XDG_DATA_HOME"] = home
        beside = (
            pool.submit(PARTS[IDLE][1], Path(home, IDLE)) if IDLE in names else None
        )
        for name in names:
            heading, measure = PARTS[name]
            if name == IDLE and beside is not None:
                page[heading] = beside.result()
            else:
                page[heading] = measure(Path(home, name)) + _load()
            known = [each for each, _ in PARTS.values() if each in page]
            parts = [f"## {each}\n\n{filled(page[each])}\n" for each in known]
            PAGE.write_text("\n".join([tables.INTRODUCTION, *parts]))


def _load() -> str:
    """Return a sentence with the load, which makes each program start later."""
    load = os.getloadavg()[1]
    return f"\nThe load was {load:.0f}, on {os.cpu_count()} processors.\n"


def filled(text: str) -> str:
    """Return a text with lines of paragraphs of no more than `WIDTH` characters."""
    parts = text.strip().split("\n\n")
    return "\n\n".join(
        part if part.startswith("|") else textwrap.fill(part, WIDTH) for part in parts
    )


def sections(page: str) -> dict[str, str]:
    """Return the text below each heading of a page."""
    parts = [each.partition("\n") for each in page.split("\n## ")[1:]]
    return {heading: text for heading, _, text in parts}


if __name__ == "__main__":
    main(*sys.argv[1:])
