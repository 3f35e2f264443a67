"""The outcome of a simulated swarm: the figures that are recorded."""

import time

from msgspec import Struct

from benchmarks.simulation.crowd import Crowd
from benchmarks.simulation.scenario import Scenario, bound

__all__ = ["Outcome", "simulate"]

LONGEST = 1e6  # simulated seconds after which a simulation fails


class Outcome(Struct, frozen=True):
    """The figures of a simulation; fractions are of the data that verified."""

    bound: float
    """The least possible time in simulated seconds, by a fluid model."""
    last: float
    """Simulated seconds until the last download was complete."""
    copies: float
    """Bytes that the source sent, as a multiple of the share's size."""
    twice: float
    """Fraction that arrived although it was already stored."""
    wrong: float
    """Fraction that did not verify."""
    control: float
    """Bytes of messages other than chunks, for each chunk."""
    control_share: float
    """These bytes as a fraction of the data."""
    chunks: int
    """The number of chunks that arrived and verified."""
    processor: float
    """Processor time in seconds; the only figure that differs between runs."""

    @property
    def over(self) -> float:
        """Return the time of the last download as a multiple of the bound."""
        return self.last / self.bound


def simulate(crowd: Crowd) -> Outcome:
    """Simulate a swarm to its end; raise `RuntimeError` if it does not end."""
    scenario, begun = crowd.scenario, time.process_time()
    if not crowd.run(LONGEST):
        raise RuntimeError("the simulation does not end")
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
    """Return the bound for the downloaders that stay until they are complete.

    The bound counts neither what leavers send nor what they receive; their uplinks are
    as fast as those of the others, so the difference is small.
    """
    stay = [n.uplink.rate for n in crowd.downloaders if n.number not in crowd.leavers]
    return bound(scenario.share.size, crowd.source.uplink.rate, stay)
