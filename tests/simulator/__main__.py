"""Run the simulator.

python -m tests.simulator --seeds 0..300 --jobs 2   run these seeds, without the last
python -m tests.simulator --seeds 300               the same
python -m tests.simulator --seed 17 --trace         run one seed and print every step
python -m tests.simulator --seed 17 --shrink        find the fewest events it needs

A seed that fails is printed with the command that repeats it. Every run is in one
process of its own hash seed, so the same seed takes the same steps everywhere.
"""

import argparse
import gc
import multiprocessing
import os
import resource
import sys
import time
import traceback

from tests.simulator.draw import draw
from tests.simulator.plan import Plan
from tests.simulator.run import Result, run_plan
from tests.simulator.shrink import shrink

COMMAND = "python -m tests.simulator"
MAX_LEFT = 20_000  # objects of earlier runs that a worker has
MAX_MEMORY = 400 << 20  # bytes of a worker; thirty nodes need less than a quarter


def main() -> int:
    """Run with the arguments of the command line; return the exit code."""
    args = _parse()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of a set depends on the hashes, and the steps of a run on that.
        os.environ["PYTHONHASHSEED"] = "0"
        argv = [sys.executable, "-m", "tests.simulator", *sys.argv[1:]]
        os.execv(sys.executable, argv)
    if args.seed is not None:
        return _run_one(args)
    return _run_many(args.seeds, args.jobs)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=COMMAND, allow_abbrev=False)
    parser.add_argument("--seed", type=int, help="run this seed")
    parser.add_argument("--events", help="keep only these events, as 0,3")
    parser.add_argument("--fetches", help="keep only these fetches and reads")
    parser.add_argument("--trace", action="store_true", help="print every step")
    parser.add_argument("--shrink", action="store_true", help="find the fewest events")
    parser.add_argument(
        "--seeds", type=_seeds, default="0..300", help="run these seeds: N or A..B"
    )
    parser.add_argument("--jobs", type=_count, default=1, help="processes")
    return parser.parse_args()


def _seeds(text: str) -> range:
    """Return the seeds from A to B, without B, for `A..B`; from 0 for a number."""
    first, dots, end = text.partition("..")
    try:
        seeds = range(int(first), int(end)) if dots else range(int(first))
    except ValueError:
        seeds = range(0)
    if not seeds or seeds[0] < 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} names no seeds; write 300 for the first 300, or 300..600."
        )
    return seeds


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes.")
    return int(text)


def _numbers(text: str | None, count: int) -> list[int]:
    if text is None:
        return list(range(count))
    return [int(each) for each in text.split(",") if each]


def _run_one(args: argparse.Namespace) -> int:
    plan = draw(args.seed)
    events = _numbers(args.events, len(plan.events))
    jobs = _numbers(args.fetches, len(plan.jobs))
    plan = plan.only(events, jobs)
    result = run_plan(plan, keeps_trace=args.trace)
    for line in result.lines:
        print(line)
    if args.trace:
        _print_plan(plan)
    _print_result(result)
    if result.violations and args.shrink:
        kept_events, kept_jobs = shrink(plan)
        events = [events[n] for n in kept_events]
        jobs = [jobs[n] for n in kept_jobs]
        print(
            f"repeat with: {COMMAND} --seed {plan.seed} --trace "
            f"--events={','.join(map(str, events))} "
            f"--fetches={','.join(map(str, jobs))}"
        )
    return bool(result.violations)


def _print_plan(plan: Plan) -> None:
    for each in (*plan.sites, *plan.machines, *plan.shares, *plan.jobs):
        print(each)


def _print_result(result: Result) -> None:
    print(
        f"seed {result.plan.seed}: {len(result.plan.machines)} nodes, "
        f"{result.seconds:.0f} virtual seconds, trace {result.digest[:16]}"
    )
    for text in result.violations:
        print(f"  {text}")


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


def _run_many(seeds: range, jobs: int) -> int:
    begun = time.perf_counter()
    failed = 0
    with multiprocessing.Pool(jobs, maxtasksperchild=200) as pool:
        for result in pool.imap(_run, seeds, chunksize=1 if len(seeds) < 50 else 8):
            if result.violations:
                failed += 1
                _print_result(result)
                print(f"  repeat with: {COMMAND} --seed {result.plan.seed} --shrink")
                sys.stdout.flush()
    seconds = time.perf_counter() - begun
    print(f"{len(seeds)} seeds, {failed} failed, {seconds:.0f} s")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
