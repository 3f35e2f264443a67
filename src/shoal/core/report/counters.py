"""Count what a node has moved and how long that took; pure.

The code that moves bytes writes to a `Counters`, on the event loop, and `metrics` reads
it. Counters only ever grow, whichever peers and shares come and go.
"""

from bisect import bisect_left
from collections import Counter

__all__ = ["BOUNDS", "Counters", "Durations"]

BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""Seconds up to which durations are counted together; longer ones come last."""


class Durations:
    """Count how long something took, in classes."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        """How many took as long as each of `BOUNDS` and longer than the one before."""
        self.total = 0.0
        """Seconds of all."""

    def add(self, seconds: float) -> None:
        """Note one more."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Counters:
    """Count bytes and lies of all shares of a node."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        """Bytes of verified chunks, by the path they came."""
        self.sent: Counter[str] = Counter()
        """Bytes of chunks given, by the path they went."""
        self.failures = 0
        """Chunks and pages that did not verify."""
        self.writes = Durations()
        """Of writing a batch of chunks to the disk."""
        self.flushes = Durations()
        """Of a group commit: data and journal flushed."""
        self.reads = Durations()
        """Of reading what the page cache did not have, to give it."""
        self.turns = Durations()
        """Of waiting, as a peer that wants chunks, for its turn to be served."""
        self.waits = Durations()
        """Of waiting, as a reader, for a chunk that was not here."""
