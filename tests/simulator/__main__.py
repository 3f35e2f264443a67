"""Run the simulator.

python -m tests.simulator --seeds 0..300 --jobs 2   run these seeds, without the last
python -m tests.simulator --seeds 300               the same
python -m tests.simulator --seed 17 --trace         run one seed and print every step
python -m tests.simulator --seed 17 --shrink        find the fewest events it needs
python -m tests.simulator --seeds 300 --without trial-time   without that fix
python -m tests.simulator --without all             show which seeds fail without each

A seed that fails is printed with the command that repeats it. Every run is in one
process of its own hash seed, so the same seed takes the same steps everywhere.
"""

import argparse
import os
import sys
import time

from tests.simulator.draw import draw
from tests.simulator.fixes import FIXES
from tests.simulator.plan import Plan
from tests.simulator.run import Result, run_plan
from tests.simulator.shrink import shrink
from tests.simulator.table import UNFOUND, table
from tests.simulator.without import take_out
from tests.simulator.workers import run_many

COMMAND = "python -m tests.simulator"
SEEDS = 300  # that are run without arguments
SEEDS_WITHOUT = 1000  # of which one at least has to fail without each fix


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
    if args.without in FIXES or args.without is None:
        return _run_many(args)
    names = FIXES if args.without == "all" else args.without.split(",")
    line = ""
    seeds = args.seeds or range(SEEDS_WITHOUT)
    for line in table(names, seeds, args.jobs, args.findings):
        print(line, flush=True)
    return line.startswith(UNFOUND)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=COMMAND, allow_abbrev=False)
    parser.add_argument("--seed", type=int, help="run this seed")
    parser.add_argument("--events", help="keep only these events, as 0,3")
    parser.add_argument("--fetches", help="keep only these fetches and reads")
    parser.add_argument("--trace", action="store_true", help="print every step")
    parser.add_argument("--shrink", action="store_true", help="find the fewest events")
    parser.add_argument("--seeds", type=_seeds, help="run these seeds: N or A..B")
    parser.add_argument("--jobs", type=_count, default=1, help="processes")
    parser.add_argument(
        "--without",
        type=_fixes,
        help="take a fix of tests/simulator/fixes.py out; several, as a,b, or `all` "
        "print a table",
    )
    parser.add_argument(
        "--findings",
        type=_count,
        default=1,
        help="failing seeds after which the table has enough of a fix",
    )
    args = parser.parse_args()
    if args.seed is not None and args.without not in {None, *FIXES}:
        parser.error("One seed is run without one fix; name it after --without.")
    return args


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


def _fixes(text: str) -> str:
    unknown = [each for each in text.split(",") if each not in {*FIXES, "all"}]
    if unknown and text != "all":
        raise argparse.ArgumentTypeError(
            f"{unknown[0]!r} is no fix; use all, or one of {', '.join(FIXES)}."
        )
    return text


def _numbers(text: str | None, count: int) -> list[int]:
    if text is None:
        return list(range(count))
    return [int(each) for each in text.split(",") if each]


def _without(args: argparse.Namespace) -> str:
    """Return what a command needs to run without the same fix."""
    return f" --without {args.without}" if args.without else ""


def _run_one(args: argparse.Namespace) -> int:
    if args.without is not None:
        take_out(FIXES[args.without])
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
            f"repeat with: {COMMAND} --seed {plan.seed} --trace{_without(args)} "
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


def _run_many(args: argparse.Namespace) -> int:
    begun = time.perf_counter()
    failed = 0
    seeds = args.seeds or range(SEEDS)
    with run_many(seeds, args.jobs, args.without) as results:
        for result in results:
            if result.violations:
                failed += 1
                _print_result(result)
                repeat = f"{COMMAND} --seed {result.plan.seed} --shrink"
                print(f"  repeat with: {repeat}{_without(args)}", flush=True)
    seconds = time.perf_counter() - begun
    print(f"{len(seeds)} seeds, {failed} failed, {seconds:.0f} s")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
