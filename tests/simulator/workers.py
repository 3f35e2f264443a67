"""Run many seeds in worker processes, with all fixes or without one of them."""

import gc
import multiprocessing
import resource
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from tests.simulator.draw import draw
from tests.simulator.fixes import FIXES
from tests.simulator.run import Result, run_plan
from tests.simulator.without import take_out

__all__ = ["run_many"]

MAX_LEFT = 20_000  # objects of earlier runs that a worker has
MAX_MEMORY = 400 << 20  # bytes of a worker; thirty nodes need less than a quarter
RUNS = 200  # of one worker, until a new process takes its place


@contextmanager
def run_many(
    seeds: range, jobs: int, without: str | None = None
) -> Iterator[Iterator[Result]]:
    """Run seeds in `jobs` processes; yield an iterator over their results, in order.

    Leaving the block ends the processes. `without` names a fix that they do not have.
    """
    with multiprocessing.Pool(jobs, _begin, (without,), maxtasksperchild=RUNS) as pool:
        few = len(seeds) < 50 or without is not None
        yield pool.imap(_run, seeds, chunksize=1 if few else 8)


def _begin(without: str | None) -> None:
    if without is not None:
        take_out(FIXES[without])


def _run(seed: int) -> Result:
    """Run a seed in a worker; check that its memory is given back.

    What is left is compared with the time after the first run of the worker: a killed
    process leaves some objects until the next run.
    """
    try:
        result = run_plan(draw(seed))
    except Exception as error:
        # A fault of the simulator itself; the other seeds continue.
        traceback.print_exc()
        return Result(draw(seed), [f"the simulator raised {error!r}"], "", [], 0.0)
    gc.collect()
    objects = len(gc.get_objects())
    _after_first.append(objects)
    if objects > _after_first[0] + MAX_LEFT:
        more = objects - _after_first[0]
        result.violations.append(f"{more} objects are left since the first run")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    if peak > MAX_MEMORY:
        result.violations.append(f"the worker has used {peak >> 20} MiB of memory")
    return result


_after_first: list[int] = []  # objects in this worker after each run
