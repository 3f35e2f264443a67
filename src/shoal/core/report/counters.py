"""Count what a node has moved and how long that took; pure.

The code that moves bytes writes to a `Counters`, on the event loop, and `metrics` reads
it. Counters only ever grow, whichever peers and shares come and go.
"""

from bisect import bisect_left
from collections import Counter

__all__ = ["BOUNDS", "Counters", "Durations"]

BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""Upper bounds of the classes of durations, in seconds; the last class has none."""


class Durations:
    """Count durations by class."""

    def __init__(self) -> None:
        """Start with no duration."""
        self.counts = [0] * (len(BOUNDS) + 1)
        """How many durations are in each class."""
        self.total = 0.0
        """Sum of all durations, in seconds."""

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Counters:
    """Count the bytes and failures of all shares of a node."""

    def __init__(self) -> None:
        """Start with zeros."""
        self.received: Counter[str] = Counter()
        """Bytes of verified chunks received, by path."""
        self.sent: Counter[str] = Counter()
        """Bytes of chunks sent, by path."""
        self.failures = 0
        """Chunks and pages that did not verify."""
        self.writes = Durations()
        """Of writing a batch of chunks to the disk."""
        self.flushes = Durations()
        """Of flushing data and journal to the disk."""
        self.reads = Durations()
        """Of reading chunks from the disk, outside the page cache, to send them."""
        self.turns = Durations()
        """Of a peer's wait for its turn to receive chunks."""
        self.waits = Durations()
        """Of a reader's wait for a chunk that was not stored."""
