"""What one pick costs, by how many chunks there are; this is measured, not simulated.

Every pick is made as a download makes it: asked for, arrived, verified.
"""

import gc
import time
from random import Random

from msgspec import Struct

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.picker import ChunkPicker

__all__ = ["COUNTS", "Picks", "measure_picks"]

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
PARTIAL = 7  # peers that have some chunks each; one more has everything
PICKS = 200_000  # at least, over as many pickers as it takes
WINDOW = 4  # chunks asked for at once
SHARE = 0.3  # of the chunks that a partial peer has


class Picks(Struct, frozen=True):
    """Say what a pick cost."""

    chunks: int
    """How many there were to choose from, at first."""
    seconds: float
    """For one pick, on average over the whole download."""

    @property
    def rate(self) -> float:
        """Return how many picks were made per second."""
        return 1 / self.seconds


def measure_picks(chunks: int, seed: int = 1) -> Picks:
    """Fetch `chunks` chunks from a few peers, as often as it takes to measure it."""
    rounds = -(-PICKS // chunks)
    seconds = 0.0
    for number in range(rounds):
        picker, peers = _prepare(chunks, Random(seed + number))
        gc.collect()
        gc.disable()
        begin = time.perf_counter()
        _fetch(picker, peers)
        seconds += time.perf_counter() - begin
        gc.enable()
        assert picker.is_complete
    return Picks(chunks, seconds / (rounds * chunks))


def _prepare(chunks: int, rng: Random) -> tuple[ChunkPicker[int], range]:
    """Return a picker that knows peers which have all and some of the chunks."""
    picker: ChunkPicker[int] = ChunkPicker(Bitfield(chunks), rng)
    peers = range(1 + PARTIAL)
    picker.on_peer_joined(0, None)
    for peer in peers[1:]:
        have = Bitfield(chunks)
        for index in rng.sample(range(chunks), int(SHARE * chunks)):
            have.add(index)
        picker.on_peer_joined(peer, have)
    return picker, peers


def _fetch(picker: ChunkPicker[int], peers: range) -> None:
    while not picker.is_complete:
        for peer in peers:
            for index in picker.next_requests(peer, WINDOW):
                picker.on_chunk_arrived(index, peer)
                picker.on_chunk_verified(index)
