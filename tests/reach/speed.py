"""Compare a punched connection and one of QUIC with a dialled one, side by side."""

import enum
import os
import statistics
import time
from pathlib import Path

from tests.helpers.commands import link_of
from tests.helpers.nats import CHANGED_PORT, Internet, Nat
from tests.helpers.programs import shoal

__all__ = ["Way", "describe", "measure"]

SIZE = 256 << 20  # bytes
ROUNDS = 5  # of each kind, in turn
PATIENCE = 120  # seconds for one download
PORT = 4001
NOWHERE = "192.0.2.1:6881"  # a DHT that never answers, so that only --peer finds peers
ALONE = ("--no-lan", "--dht-bootstrap", NOWHERE, "--port", PORT)


RATE = 100  # Mbit/s of a slow line
SLOW_SIZE = 64 << 20  # bytes
SHAPER = ("tbf", "rate", f"{RATE}mbit", "burst", "64kb", "latency", "50ms")


class Way(enum.Enum):
    """Name how two homes are connected."""

    DIALLED = "dialled"
    """To a port that the router of the sharer has mapped."""
    PUNCHED = "punched"
    """By TCP, through two NATs that keep ports."""
    UDP = "QUIC"
    """By UDP, through two NATs that change ports."""


NATS = {
    Way.DIALLED: (Nat.PCP, Nat.PRESERVING),
    Way.PUNCHED: (Nat.PRESERVING, Nat.PRESERVING),
    Way.UDP: (Nat.CHANGING, Nat.CHANGING),
}


def describe(folder: Path) -> str:
    """Return a table of the rates."""
    rows = []
    for size, is_slow in ((SIZE, False), (SLOW_SIZE, True)):
        rates: dict[Way, list[float]] = {way: [] for way in Way}
        for number in range(ROUNDS):
            for way in Way:
                place = folder / f"{way.name}{number}{is_slow}"
                rates[way].append(measure(place, size, way, is_slow=is_slow))
        line = f"{RATE} Mbit/s" if is_slow else "unlimited"
        rows += [
            f"| {way.value} | {line} | {statistics.median(each):.1f} | "
            f"{min(each):.1f}–{max(each):.1f} |"
            for way, each in rates.items()
        ]
    return (
        f"A file of {SIZE >> 20} MiB, from the start of the connection until it is "
        "verified and on the disk, between two homes; and one of "
        f"{SLOW_SIZE >> 20} MiB over a line of {RATE} Mbit/s (`tc tbf`). The dialled "
        "connection is made to a port that the router has mapped. The punched one is "
        "made by both homes, which are behind NATs that keep ports, and the one of "
        "QUIC through NATs that change "
        f"ports. {ROUNDS} of each, in turn, in MB/s.\n\n"
        "| connection | line | median | range |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def measure(folder: Path, size: int, way: Way, *, is_slow: bool = False) -> float:
    """Return the rate of a download, in MB/s; with `is_slow`, over a slow line."""
    folder.mkdir(parents=True)
    source, out = folder / "source", folder / "out"
    source.write_bytes(os.urandom(size))
    port = CHANGED_PORT + 1 if way is Way.UDP else PORT
    with Internet() as net:
        sharer, getter = (net.add_home(nat) for nat in NATS[way])
        if is_slow:
            sharer.namespace.run("tc", "qdisc", "add", "dev", "wan", "root", *SHAPER)
        dials = () if way is Way.DIALLED else ("--peer", f"{getter.address}:{port}")
        sharing = net.enter_context(
            shoal("share", source, *ALONE, *dials, ns=sharer.namespace)
        )
        link = link_of(sharing)
        if way is Way.DIALLED:
            sharing.wait_line("Reachable from the internet", stream="err")
        words = ("get", link, "-o", out, "--peer", f"{sharer.address}:{port}", "--json")
        getting = net.enter_context(shoal(*words, *ALONE, ns=getter.namespace))
        joined = getting.wait_line('"event":"peer".*"state":"joined".*', PATIENCE)[0]
        assert ('"path":"udp"' in joined) == (way is Way.UDP), joined
        started = time.monotonic()
        getting.wait_line('"event":"complete"', PATIENCE)
        taken = time.monotonic() - started
    assert out.read_bytes() == source.read_bytes()
    for path in (source, out):
        path.unlink()
    return size / taken / 1e6
