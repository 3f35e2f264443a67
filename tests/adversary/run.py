"""Run attacks against the real command, and see that nothing came of them.

python -m tests.adversary.run --all
python -m tests.adversary.run CASE…

Each case gets a `shoal share` of its own, in a network namespace that this makes for
itself, so no packet leaves the machine. While and after the attack an honest
`shoal get` fetches. What has to hold:

1. the sharer is alive;
2. the honest download is identical and takes at most 1.5 times what it takes when
   nobody attacks, which is measured beside it; what else the machine does is told
   from the attack by trying again;
3. the sharer's memory is back within 10 MiB of that before; or, where the allocator
   keeps more of it, attacking once more does not add to that;
4. its open files are back, to the number;
5. no traceback on anybody's standard error.

It says a line a case, and ends with 1 if anything did not hold. Some cases run at a
time (`--jobs`); those that have not begun within `--within` seconds have failed, and so
has one that is not over in a minute. `--file-limit N` bounds the files of each sharer.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.adversary.adv import ATTACKS, LISTENERS
from tests.adversary.trial import Seen, try_case
from tests.helpers.netns import Namespace, missing_namespaces

JOBS = 4  # cases at a time; each is mostly waiting
WITHIN = 900.0  # seconds
INSIDE = "SHOAL_ADVERSARY_NAMESPACE"
# A case of its own: half-open connections beyond what the sharer may have files for.
FEW_FILES = {"half_open": 128}
HEADER = (
    f"{'':7} {'case':24} {'honest':>7} {'slower':>7} {'more memory':>12} {'CPU':>5}"
)


def run_all(
    cases: Sequence[str], *, jobs: int, within: float, file_limit: int | None
) -> int:
    """Run these cases; return how many failed."""
    deadline = time.monotonic() + within
    failed = []
    with tempfile.TemporaryDirectory(prefix="shoal-adversary-") as folder:
        os.environ["XDG_DATA_HOME"] = folder
        say(HEADER)
        with ThreadPoolExecutor(jobs) as pool:
            running = {
                pool.submit(run_one, case, Path(folder), deadline, file_limit): case
                for case in cases
            }
            for future in as_completed(running):
                case, error = running[future], future.exception()
                if error is None:
                    say(line(case, future.result()))
                elif isinstance(error, AssertionError):
                    failed.append(case)
                    say(f"FAILED  {case:24} {' '.join(str(error).split())[-500:]}")
                else:
                    raise error
    say(f"{len(cases) - len(failed)} of {len(cases)} held")
    if failed:
        say("Not: " + " ".join(failed))
    return len(failed)


def run_one(case: str, folder: Path, deadline: float, file_limit: int | None) -> Seen:
    """Run one case in a folder of its own."""
    assert time.monotonic() < deadline, "not tried: the time was over"
    name, _, limit = case.partition("@")
    own = folder / case
    own.mkdir()
    return try_case(name, own, int(limit) if limit else file_limit)


def line(case: str, seen: Seen) -> str:
    """Return how a case that held stands in the table."""
    return (
        f"ok      {case:24} {seen.honest:5.1f} s {seen.slower:6.2f}x "
        f"{seen.memory:+8} KiB {seen.load:5.0%}"
    )


def say(text: str) -> None:
    """Write a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Do what the module says."""
    known = [*ATTACKS, *(f"{name}@{limit}" for name, limit in FEW_FILES.items())]
    known += LISTENERS
    parser = argparse.ArgumentParser(prog="run")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--within", type=float, default=WITHIN)
    parser.add_argument("--file-limit", type=int)
    args = parser.parse_args()
    unknown = [case for case in args.cases if case not in known]
    if unknown or not (args.cases or args.all):
        say("\n".join(known))
        return 2
    if INSIDE not in os.environ:
        problem = missing_namespaces()
        assert problem is None, problem
        with Namespace() as namespace:
            os.environ[INSIDE] = "1"
            argv = [sys.executable, "-m", "tests.adversary.run", *sys.argv[1:]]
            return os.spawnvp(os.P_WAIT, "nsenter", namespace.command(argv))
    failed = run_all(
        known if args.all else args.cases,
        jobs=args.jobs,
        within=args.within,
        file_limit=args.file_limit,
    )
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
