"""What is simulated: how many, how far apart, how fast, how honest and how faithful."""

from collections.abc import Sequence
from random import Random

from msgspec import Struct

from shoal.core.manifest.chunks import Chunks

__all__ = ["EQUAL", "MIXED", "Scenario", "bound"]

MBIT = 125_000.0  # bytes per second
EQUAL = (100 * MBIT,)
MIXED = (20 * MBIT, 50 * MBIT, 100 * MBIT, 500 * MBIT)


class Scenario(Struct, frozen=True, kw_only=True):
    """Describe one simulated crowd; the same one has the same outcome."""

    downloaders: int
    chunks: int = 1024
    chunk_size: int = 1024 * 1024
    """Bytes."""
    uplinks: Sequence[float] = EQUAL
    """Bytes per second; dealt out in turn, the source has the mean."""
    latency: float = 0.02
    """Seconds from one to any other."""
    neighbours: int = 40
    """Connections of one, at most."""
    arrival: float = 1.0
    """Seconds within which all arrive."""
    leavers: float = 0.0
    """Share of the downloaders that leave when they have half of it."""
    liars: float = 0.0
    """Share that says it has everything and sends garbage, beside the downloaders."""
    parallel: int = 1000
    """Connections that an uplink sends chunks on at once, at most."""
    committed: int = 256 * 1024
    """Bytes that one connection takes before it is full; a chunk in any case."""
    sessions: bool = False
    """Whether real sessions encode and decode every message; for small crowds."""
    seed: int = 1

    @property
    def share(self) -> Chunks:
        """Return how what everybody wants is cut."""
        return Chunks(self.chunks * self.chunk_size, self.chunk_size)

    @property
    def source_rate(self) -> float:
        """Return the uplink of the source."""
        return sum(self.uplinks) / len(self.uplinks)

    def rates(self, rng: Random) -> list[float]:
        """Return the uplink of each downloader."""
        each = [self.uplinks[i % len(self.uplinks)] for i in range(self.downloaders)]
        rng.shuffle(each)
        return each


def bound(size: float, source: float, downloaders: Sequence[float]) -> float:
    """Return the seconds that nobody can do better than, if bytes were a fluid.

    `size` is in bytes, the uplinks in bytes per second.
    """
    number = len(downloaders)
    return max(size / source, number * size / (source + sum(downloaders)))
