"""Count what a share that nobody fetches sends to the internet."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.helpers.capture import destinations, recorded, sent
from tests.helpers.commands import link_of
from tests.helpers.nats import Internet, Nat
from tests.helpers.programs import shoal

__all__ = ["Minute", "describe", "minutes"]

MINUTE = 60.0  # seconds
MINUTES = 6  # on the page


class Minute(NamedTuple):
    """What left a home in one minute."""

    to_dht: int
    """Packets to nodes of the DHT."""
    strangers: set[str]
    """Addresses of all others that packets were sent to."""


def describe(folder: Path) -> str:
    """Return a table of the packets of each minute."""
    seen = list(minutes(folder, MINUTES))
    head = " | ".join(f"{number}." for number in range(1, MINUTES + 1))
    dht = " | ".join(str(minute.to_dht) for minute in seen)
    others = " | ".join(str(len(minute.strangers)) for minute in seen)
    return (
        "Packets that leave a home behind a NAT, in which one file is shared that "
        "nobody fetches, in each minute from the start. The first two lookups "
        "announce the share as fast as they can. From then on, lookups and the "
        "questions for newcomers are at most 20 packets in any minute.\n\n"
        f"| minute | {head} |\n" + "|---" * (MINUTES + 1) + "|\n"
        f"| packets to nodes of the DHT | {dht} |\n"
        f"| others that packets were sent to | {others} |\n"
    )


def minutes(folder: Path, count: int) -> Iterator[Minute]:
    """Share a file behind a NAT, and yield what leaves the home in each minute."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "source"
    source.write_bytes(random.Random(3).randbytes(1 << 20))
    with Internet() as net:
        home, bootstrap = net.add_home(Nat.PRESERVING), net.start_dht()
        nodes = {each.address for each in net.homes} - {home.address}
        words = ("share", source, "--no-lan", "--dht-bootstrap", bootstrap)
        started = time.monotonic()
        sharing = net.enter_context(shoal(*words, ns=home.namespace))
        link_of(sharing)
        for number in range(count):
            path = folder / f"packets{number}"
            with recorded(home.router, path):
                time.sleep(max(0, started + (number + 1) * MINUTE - time.monotonic()))
            yield Minute(
                sum(1 for each in sent(path, home.address) if each in nodes),
                destinations(path) - nodes - {home.address},
            )
