"""Find the fewest events, jobs and machines with which a seed still fails."""

from collections.abc import Callable

from tests.simulator.plan import Plan
from tests.simulator.run import run_plan

__all__ = ["kind_of", "shrink"]


def kind_of(violation: str) -> str:
    """Return a violation without the names and numbers in it."""
    words = violation.split()
    return " ".join(w for w in words if w.isalpha() and w.islower())[:60]


def shrink(
    plan: Plan, fails: Callable[[Plan], bool] | None = None
) -> tuple[list[int], list[int]]:
    """Return the numbers of the events and jobs that the first violation needs."""
    events, jobs = list(range(len(plan.events))), list(range(len(plan.jobs)))
    if fails is None:
        kinds = {kind_of(each) for each in run_plan(plan).violations}

        def fails(smaller: Plan) -> bool:
            return bool(kinds & {kind_of(v) for v in run_plan(smaller).violations})

    for chosen in (events, jobs):
        size = max(1, len(chosen) // 2)
        while size:
            start = 0
            while start < len(chosen):
                removed = chosen[start : start + size]
                del chosen[start : start + size]
                if not fails(plan.only(events, jobs)):
                    chosen[start:start] = removed
                    start += size
            size //= 2
    return events, jobs
