"""What became of a simulated crowd, as the figures that are recorded."""

import time

from msgspec import Struct

from benchmarks.simulation.crowd import Crowd
from benchmarks.simulation.scenario import Scenario, bound

__all__ = ["Outcome", "simulate"]

LONGEST = 1e6  # simulated seconds until a crowd is given up


class Outcome(Struct, frozen=True):
    """Say how it went; all shares are of the data that arrived and verified."""

    bound: float
    """Simulated seconds in which a fluid would be everywhere."""
    last: float
    """Simulated seconds until the last had it all."""
    copies: float
    """What the source sent, in copies of the whole."""
    twice: float
    """Share that came though it was there already."""
    wrong: float
    """Share that did not verify."""
    control: float
    """Bytes of messages beside chunks, for each chunk."""
    control_share: float
    """Those bytes as a share of the data."""
    chunks: int
    """Chunks that arrived and verified."""
    processor: float
    """Seconds of processor; the only figure that is not the same every time."""

    @property
    def over(self) -> float:
        """Return the time of the last as a multiple of the bound."""
        return self.last / self.bound


def simulate(crowd: Crowd) -> Outcome:
    """Let a crowd have it all; raises `RuntimeError` when it does not end."""
    scenario, begun = crowd.scenario, time.process_time()
    if not crowd.run(LONGEST):
        raise RuntimeError("the simulated crowd does not come to an end")
    got = sum(each.have.count for each in crowd.downloaders)
    control = sum(crowd.tally.bytes.values()) / got
    return Outcome(
        bound=_bound(scenario, crowd),
        last=max(each.finished or 0.0 for each in crowd.downloaders),
        copies=crowd.source.sent / scenario.chunks,
        twice=sum(each.wasted for each in crowd.downloaders) / got,
        wrong=sum(each.wrong for each in crowd.downloaders) / got,
        control=control,
        control_share=control / scenario.chunk_size,
        chunks=got,
        processor=time.process_time() - begun,
    )


def _bound(scenario: Scenario, crowd: Crowd) -> float:
    """Return the bound of those who stay until they have it all.

    What leavers give while they are there is not counted as theirs to give, what they
    take neither: their uplinks are as wide as the others', so it hardly matters.
    """
    stay = [n.uplink.rate for n in crowd.downloaders if n.number not in crowd.leavers]
    return bound(scenario.share.size, crowd.source.uplink.rate, stay)
