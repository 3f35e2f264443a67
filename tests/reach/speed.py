"""Compare a punched connection with a dialled one, side by side."""

import os
import statistics
import time
from pathlib import Path

from tests.helpers.commands import link_of
from tests.helpers.nats import Internet, Nat
from tests.helpers.programs import shoal

__all__ = ["describe", "measure"]

SIZE = 256 << 20  # bytes
ROUNDS = 5  # of each kind, in turn
PATIENCE = 120  # seconds for one download
PORT = 4001
NOWHERE = "192.0.2.1:6881"  # a DHT that never answers, so that only --peer finds peers
ALONE = ("--no-lan", "--dht-bootstrap", NOWHERE, "--port", PORT)


def describe(folder: Path) -> str:
    """Return a table of the rates."""
    punched, dialled = [], []
    for number in range(ROUNDS):
        punched.append(measure(folder / f"punched{number}", SIZE, is_punched=True))
        dialled.append(measure(folder / f"dialled{number}", SIZE, is_punched=False))
    rows = [
        f"| {name} | {statistics.median(rates):.0f} | "
        f"{min(rates):.0f}–{max(rates):.0f} |"
        for name, rates in (("punched", punched), ("dialled", dialled))
    ]
    return (
        f"A file of {SIZE >> 20} MiB, from the start of the connection until it is "
        "verified and on the disk, between two homes that are each behind a "
        "port-preserving NAT. The punched connection is made by both, the dialled one "
        "to a port that the router has mapped. "
        f"{ROUNDS} of each, in turn, in MB/s.\n\n"
        "| connection | median | range |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def measure(folder: Path, size: int, *, is_punched: bool) -> float:
    """Return the rate of a download, in MB/s.

    Both homes are behind NATs that keep ports. If the connection is not punched, the
    getter dials a port that the router of the sharer has mapped.
    """
    folder.mkdir(parents=True)
    source, out = folder / "source", folder / "out"
    source.write_bytes(os.urandom(size))
    with Internet() as net:
        sharer = net.add_home(Nat.PRESERVING if is_punched else Nat.PCP)
        getter = net.add_home(Nat.PRESERVING)
        dials = ("--peer", f"{getter.address}:{PORT}") if is_punched else ()
        sharing = net.enter_context(
            shoal("share", source, *ALONE, *dials, ns=sharer.namespace)
        )
        link = link_of(sharing)
        if not is_punched:
            sharing.wait_line("Reachable from the internet", stream="err")
        words = ("get", link, "-o", out, "--peer", f"{sharer.address}:{PORT}", "--json")
        getting = net.enter_context(shoal(*words, *ALONE, ns=getter.namespace))
        getting.wait_line('"event":"peer".*"state":"joined"', PATIENCE)
        started = time.monotonic()
        getting.wait_line('"event":"complete"', PATIENCE)
        taken = time.monotonic() - started
    assert out.read_bytes() == source.read_bytes()
    for path in (source, out):
        path.unlink()
    return size / taken / 1e6
