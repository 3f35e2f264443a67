"""Measure what a peer that arrives costs the event loop of a source.

python -m benchmarks.arrivals [--chunks N]

Each peer announces a random half of the chunks, requests any chunk and leaves, while
others with random halves stay. Prints the milliseconds of CPU for each step; the attack
is in docs/threat-model.md, "With the link".
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from random import Random
from statistics import median
from time import process_time

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.rarest import RarestFirst
from shoal.core.schedule.turns import Contributions

TIMES = 9
CROWDS = (0, 20, 100, 191)  # other peers


def measure(chunks: int, others: int, rng: Random) -> list[float]:
    """Return the median seconds to join, to be served first, and to leave."""
    rarest: RarestFirst[int] = RarestFirst(Bitfield.full(chunks), rng)
    contributions: Contributions[int] = Contributions(lambda: True)
    halves = [_half(chunks, rng) for _ in range(others + TIMES)]
    for peer in range(others):
        rarest.on_peer_joined(peer, halves[peer])
    times = []
    for peer in range(others, others + TIMES):
        have = halves[peer]
        times.append(
            [
                _seconds(partial(_join, rarest, contributions, peer, have)),
                _seconds(partial(rarest.next_for, peer)),
                _seconds(partial(rarest.on_peer_left, peer)),
            ]
        )
    return [median(step) for step in zip(*times, strict=True)]


def _join(
    rarest: RarestFirst[int],
    contributions: Contributions[int],
    peer: int,
    have: Bitfield,
) -> None:
    rarest.on_peer_joined(peer, have)
    contributions.on_peer_joined(peer, have)


def _half(chunks: int, rng: Random) -> Bitfield:
    bits = bytearray(rng.randbytes(-(-chunks // 8)))
    if chunks % 8:
        bits[-1] &= 0xFF << (8 - chunks % 8) & 0xFF
    return Bitfield.from_bytes(bytes(bits), chunks)


def _seconds(work: Callable[[], object]) -> float:
    begun = process_time()
    work()
    return process_time() - begun


def main() -> None:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="arrivals", allow_abbrev=False)
    parser.add_argument("--chunks", type=int, default=262_144)
    chunks = parser.parse_args().chunks
    sys.stdout.write(f"{chunks} chunks; ms\nothers   join  first chunk  leave\n")
    for others in CROWDS:
        join, first, leave = (1000 * s for s in measure(chunks, others, Random(1)))
        sys.stdout.write(f"{others:6} {join:6.2f} {first:12.2f} {leave:6.2f}\n")


if __name__ == "__main__":
    main()
