"""The cost of a pick by the number of chunks; measured, not simulated.

Every picked chunk is requested, arrives and is verified, as in a download.
"""

import gc
import time
from random import Random

from msgspec import Struct

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.picker import ChunkPicker

__all__ = ["COUNTS", "Picks", "measure_picks"]

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
PARTIAL = 7  # peers that have some of the chunks; one more has all
PICKS = 200_000  # at least, in as many downloads as necessary
WINDOW = 4  # chunks requested at once
SHARE = 0.3  # fraction of the chunks that a partial peer has


class Picks(Struct, frozen=True):
    """The measured cost of a pick."""

    chunks: int
    """The number of chunks in the download."""
    seconds: float
    """Seconds for one pick, averaged over the whole download."""

    @property
    def rate(self) -> float:
        """Return the picks per second."""
        return 1 / self.seconds


def measure_picks(chunks: int, seed: int = 1) -> Picks:
    """Pick `chunks` chunks from a few peers, as often as measuring needs."""
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
        assert not picker.left
    return Picks(chunks, seconds / (rounds * chunks))


def _prepare(chunks: int, rng: Random) -> tuple[ChunkPicker[int], range]:
    """Return a picker with one complete and several partial peers."""
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
    while picker.left:
        for peer in peers:
            for index in picker.next_requests(peer, WINDOW):
                picker.on_chunk_arrived(index, peer)
                picker.on_chunk_verified(index)
