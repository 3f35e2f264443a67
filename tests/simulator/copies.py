"""Check how many copies sources and origins send to a crowd that began together."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tests.simulator.jobs import JobState
from tests.simulator.machine import SimMachine
from tests.simulator.plan import Share
from tests.simulator.reach import Reach

if TYPE_CHECKING:
    from tests.simulator.run import World

__all__ = ["Copies"]

MAX_COPIES = 1.25  # of a share that its source sends to a crowd that starts together
MAX_FAST_COPIES = 2.0  # the same of a source that is not the slowest to send
MAX_TAKEN = 1.5  # copies that such a crowd takes from an origin
MIN_COPIED = 20  # chunks of a share whose copies are counted


class Copies:
    """Count the copies in one world."""

    def __init__(self, world: "World", reach: Reach) -> None:
        self._world = world
        self._reach = reach

    def check(self) -> None:
        """Check every share, unless something happened that costs more copies."""
        plan = self._world.plan
        if plan.events or plan.loss or any(share.open for share in plan.shares):
            return  # an open channel uses the lines as well
        for share in plan.shares:
            states = [
                state
                for machine in self._world.machines
                for state in machine.jobs
                if state.job.share == share.number
            ]
            self._check_share(share, states)

    def _check_share(self, share: Share, states: list[JobState]) -> None:
        owner = self._world.machines[share.owner]
        wanted: set[int] = set()
        sent = owner.uploaded(share) / share.chunk
        for state in states:
            wanted |= state.wanted(share)
            # A chunk with bytes of a file that is left out is not passed on.
            within = share.chunks_within(state.job.selects)
            sent -= len(state.wanted(share) - within)
        if len(states) < 2 or len(wanted) < MIN_COPIED or not self._is_crowd(states):
            return
        copies = sent / len(wanted)
        self._world.trace("copies", f"{copies:.2f} of {len(wanted)}")
        if copies > self._most(owner, states):
            self._world.report(
                f"m{share.owner} sent {copies:.2f} copies of s{share.number} "
                f"to {len(states)} nodes"
            )
        origin = self._world.origins.get(share.number)
        taken = origin.sent / share.chunk / len(wanted) if origin else 0.0
        if taken > MAX_TAKEN:
            self._world.report(f"{taken:.2f} copies were taken from an origin")

    def _most(self, owner: SimMachine, states: Iterable[JobState]) -> float:
        """Return the most copies that a source sends a crowd.

        A source that is faster than its receivers rightly sends more.
        """
        rate = owner.spec.limit_up
        uplinks = [self._world.machines[s.job.machine].spec.limit_up for s in states]
        is_slowest = rate is not None and all(not up or up >= rate for up in uplinks)
        return MAX_COPIES if is_slowest else MAX_FAST_COPIES

    def _is_crowd(self, states: list[JobState]) -> bool:
        """Return True if all began together, ended, and reach each other."""
        begun = [state.began_at for state in states]
        machines = [self._world.machines[state.job.machine] for state in states]
        return (
            max(begun) - min(begun) < 0.5
            and all(s.status == "done" and s.job.kind == "fetch" for s in states)
            and all(s.job.seed for s in states)
            and all(
                self._reach.can_meet(a, b) for a in machines for b in machines if a != b
            )
        )
