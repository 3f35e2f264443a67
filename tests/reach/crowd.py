"""Six homes fetch what a seventh shares, each behind a NAT and with a slow uplink."""

import json
import random
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.helpers.nats import Internet, Nat
from tests.helpers.programs import Program, shoal

__all__ = ["GETTERS", "Crowd", "describe", "measure"]

GETTERS = 6
UPLINK = 20  # Mbit/s of each home
SHAPER = ("tbf", "rate", f"{UPLINK}mbit", "burst", "64kb", "latency", "100ms")
SIZE = 128 << 20  # bytes
PATIENCE = 300  # seconds for all


class Crowd(NamedTuple):
    """What came of it."""

    connected: float
    """Seconds from the start of the getters until the first one had a peer."""
    last: float
    """Seconds from the start of the getters until the last one was complete."""
    copies: float
    """How many times the sharer has sent the file."""


def describe(folder: Path) -> str:
    """Return a table of the figures."""
    crowd = measure(folder, SIZE)
    bound = seconds_at_least(SIZE)
    after = crowd.last - crowd.connected
    return (
        f"Six homes fetch a file of {SIZE >> 20} MiB that a seventh shares. Each is "
        f"behind a port-preserving NAT and sends {UPLINK} Mbit/s (`tc tbf`), and there "
        "is nobody else but the DHT. The bound is the time in which the sharer sends "
        "the file once.\n\n"
        "| | |\n|---|---|\n"
        f"| bound | {bound:.1f} s |\n"
        f"| last complete, from the start of the six | {crowd.last:.1f} s, "
        f"{crowd.last / bound:.2f} of the bound |\n"
        f"| last complete, from the first connection | {after:.1f} s, "
        f"{after / bound:.2f} of the bound |\n"
        f"| sent by the sharer | {crowd.copies:.2f} copies |\n"
    )


def seconds_at_least(size: int) -> float:
    """Return the least seconds in which all can have a file: the sharer sends it once.

    The six together send faster than the sharer, so its uplink is the bound.
    """
    return size * 8 / (UPLINK * 1e6)


def measure(folder: Path, size: int, net: tuple[Internet, str] | None = None) -> Crowd:
    """Share a file of `size` bytes with six homes; `net` has a DHT already."""
    if net is None:
        with Internet() as made:
            return measure(folder, size, (made, made.start_dht()))
    internet, bootstrap = net
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "source"
    source.write_bytes(random.Random(9).randbytes(size))
    homes = [internet.add_home(Nat.PRESERVING) for _ in range(GETTERS + 1)]
    for home in homes:
        home.namespace.run("tc", "qdisc", "add", "dev", "wan", "root", *SHAPER)
    options = ("--no-lan", "--dht-bootstrap", bootstrap, "--json")
    outs = [folder / f"out{number}" for number in range(GETTERS)]
    with ExitStack() as stack:
        share = shoal("share", source, *options, ns=homes[0].namespace)
        sharing = stack.enter_context(share)
        link = json.loads(sharing.wait_line(r'^\{.*"event":"start".*')[0])["link"]
        started = time.monotonic()
        getting = []
        for out, home in zip(outs, homes[1:], strict=True):
            words = ("get", link, "-o", out, "--seed", *options)
            getting.append(stack.enter_context(shoal(*words, ns=home.namespace)))
        sharing.wait_line('"state":"joined"', PATIENCE)
        connected = time.monotonic() - started
        for program in getting:
            program.wait_line('"event":"complete"', PATIENCE)
        last = time.monotonic() - started
        copies = sent_by(sharing) / size
    assert all(out.read_bytes() == source.read_bytes() for out in outs)
    return Crowd(connected, last, copies)


def sent_by(sharing: Program) -> int:
    """Return the bytes that a sharer with --json has sent to all peers."""
    sent: dict[str, int] = {}
    for line in sharing.find(r"^\{.*"):
        event = json.loads(line[0])
        if event["event"] == "peer" and "uploaded" in event:
            sent[event["address"]] = max(
                event["uploaded"], sent.get(event["address"], 0)
            )
    return sum(sent.values())
