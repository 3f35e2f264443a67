"""The parameters of a simulation: numbers, latency, rates, leavers and liars."""

from collections.abc import Sequence
from random import Random

from msgspec import Struct

from shoal.core.manifest.chunks import Chunks

__all__ = ["EQUAL", "MIXED", "Scenario", "bound"]

MBIT = 125_000.0  # bytes per second
EQUAL = (100 * MBIT,)
MIXED = (20 * MBIT, 50 * MBIT, 100 * MBIT, 500 * MBIT)


class Scenario(Struct, frozen=True, kw_only=True):
    """The parameters of a swarm; the same parameters have the same outcome."""

    downloaders: int
    chunks: int = 1024
    chunk_size: int = 1024 * 1024
    """Bytes."""
    uplinks: Sequence[float] = EQUAL
    """Bytes per second, assigned in turn; the source has the mean."""
    latency: float = 0.02
    """One-way delay between any two nodes, in seconds."""
    neighbours: int = 40
    """Maximum number of connections of a node."""
    arrival: float = 1.0
    """Seconds within which all nodes arrive."""
    leavers: float = 0.0
    """Fraction of the downloaders that leave when they have half of the chunks."""
    liars: float = 0.0
    """Peers that claim every chunk and send garbage, as a fraction of downloaders."""
    committed: int = 256 * 1024
    """Bytes that a connection accepts before it is full; at least one chunk."""
    sessions: bool = False
    """Whether real sessions encode and decode every message, for small swarms."""
    seed: int = 1

    @property
    def share(self) -> Chunks:
        """Return the chunks of the share."""
        return Chunks(self.chunks * self.chunk_size, self.chunk_size)

    @property
    def source_rate(self) -> float:
        """Return the rate of the source's uplink."""
        return sum(self.uplinks) / len(self.uplinks)

    def rates(self, rng: Random) -> list[float]:
        """Return the rate of each downloader's uplink."""
        each = [self.uplinks[i % len(self.uplinks)] for i in range(self.downloaders)]
        rng.shuffle(each)
        return each


def bound(size: float, source: float, downloaders: Sequence[float]) -> float:
    """Return the least possible time in seconds, by a fluid model.

    `size` is in bytes, the uplinks in bytes per second.
    """
    number = len(downloaders)
    return max(size / source, number * size / (source + sum(downloaders)))
