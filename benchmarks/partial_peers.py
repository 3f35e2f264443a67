"""Measure what a peer with a part of the chunks costs the event loop.

Run as `python -m benchmarks.partial_peers`. For each number of chunks it measures how
long `RarestFirst` (which chooses chunks to send) and `Scheduler` (which requests them)
take together when such a peer joins, announces one chunk, announces all others in one
message, and leaves. Several other partial peers are there already. The figures are
reported in docs/benchmarks.md; no test asserts them.
"""

import time
from random import Random

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.schedule.rarest import RarestFirst
from shoal.core.schedule.scheduler import Scheduler

COUNTS = (4_096, 65_536, 262_144, 1_048_576)
OTHERS = 7  # partial peers that are there already
SHARE = 0.5  # part of the chunks that each peer has
ROUNDS = 3  # of which the fastest counts
SINGLE = 100  # announcements of one chunk, for an average
NAMES = ("joins", "announces one", "announces the rest", "leaves")


def bitfield(count: int, rng: Random) -> Bitfield:
    """Return random chunks of about the part `SHARE`."""
    data = bytearray(rng.randbytes(count // 8))
    return Bitfield.from_bytes(bytes(data), count)


def measure(count: int, rng: Random) -> list[float]:
    """Return the seconds of one join, announcement of one, of the rest, and leaving."""
    rarest: RarestFirst[int] = RarestFirst(Bitfield.full(count), rng)
    scheduler: Scheduler[int] = Scheduler(Chunks(count, 1), Bitfield(count), rng)
    for peer in range(OTHERS):
        have = bitfield(count, rng)
        rarest.on_peer_joined(peer, have)
        scheduler.add(peer, have)
    have = bitfield(count, rng)
    missing = list(have.missing())
    single, rest = missing[:SINGLE], missing[SINGLE:]
    begun = time.perf_counter()
    rarest.on_peer_joined(OTHERS, have)
    scheduler.add(OTHERS, have)
    joined = time.perf_counter()
    for index in single:
        rarest.on_have(OTHERS, index)
        scheduler.on_have(OTHERS, [index])
    one = time.perf_counter()
    fresh = Bitfield.of(rest, count)
    ready = time.perf_counter()
    rarest.on_have_all(OTHERS, fresh)
    scheduler.on_have(OTHERS, fresh)
    all_ = time.perf_counter()
    rarest.on_peer_left(OTHERS)
    scheduler.remove(OTHERS)
    left = time.perf_counter()
    return [joined - begun, (one - joined) / SINGLE, all_ - ready, left - all_]


def main() -> None:
    """Print a row for each number of chunks, in milliseconds."""
    print(f"{'chunks':>10}", *(f"{name:>20}" for name in NAMES))
    for count in COUNTS:
        rounds = [measure(count, Random(seed)) for seed in range(ROUNDS)]
        fastest = [min(times) for times in zip(*rounds, strict=True)]
        print(f"{count:>10,}", *(f"{1000 * each:>17.4f} ms" for each in fastest))


if __name__ == "__main__":
    main()
