"""Run attacks against the real command and check that it withstands them.

python -m tests.adversary.run --all
python -m tests.adversary.run CASE…

Each case has its own `shoal share`, in a network namespace, so no packet leaves the
machine. During and after the attack an honest `shoal get` fetches the share. Required:

1. the sharer still runs;
2. the honest download is correct and takes at most 1.5 times as long as without an
   attack, which is measured as well; a slow download is repeated, since other load on
   the machine may be the cause;
3. the sharer's memory returns to within 10 MiB of the amount before, or, if the
   allocator keeps more of it, does not grow further when the attack is repeated, and
   it never is more than 256 MiB;
4. the number of its open files returns to that before;
5. no program prints a traceback to standard error.

Cases that begin with `gateway_` attack a `shoal serve` in the same way; a user's
requests have to be answered during the attack.

The other cases have no sharer to attack from outside: their victims paste links, share
this machine with another user, use an origin, or download. Each checks its own promise.

Prints a line for each case, and exits with 1 if a requirement failed. Several cases run
at the same time (`--jobs`). A case fails if it has not started within `--within`
seconds, or if one attack or download takes more than three minutes. `--file-limit N`
limits the open files of each sharer.
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
from tests.adversary.arrivals import ARRIVALS
from tests.adversary.codes import CODES
from tests.adversary.crowds import CROWDS
from tests.adversary.downloaders import DOWNLOADERS
from tests.adversary.gateways import GATEWAYS
from tests.adversary.lan import LAN
from tests.adversary.links import LINKS
from tests.adversary.meetings import MEETINGS
from tests.adversary.misread import MISREAD
from tests.adversary.origins import ORIGINS
from tests.adversary.other_user import OTHER_USER
from tests.adversary.trial import Seen, try_case, try_gateway
from tests.helpers.netns import Namespace, missing_namespaces

JOBS = 6  # cases at the same time; each mostly waits
WITHIN = 900.0  # seconds
INSIDE = "SHOAL_ADVERSARY_NAMESPACE"
# An extra case: more half-open connections than the sharer may have files.
FEW_FILES = {"half_open": 128}
OTHERS = {
    **MISREAD,
    **OTHER_USER,
    **ORIGINS,
    **DOWNLOADERS,
    **LINKS,
    **LAN,
    **ARRIVALS,
    **MEETINGS,
    **CROWDS,
}
HEADER = (
    f"{'':7} {'case':24} {'honest':>7} {'slower':>7} {'more memory':>12} {'CPU':>5}"
)


def run_all(
    cases: Sequence[str], *, jobs: int, within: float, file_limit: int | None
) -> int:
    """Run these cases; return the number that failed."""
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
    say(f"{len(cases) - len(failed)} of {len(cases)} withstood")
    if failed:
        say("Failed: " + " ".join(failed))
    return len(failed)


def run_one(
    case: str, folder: Path, deadline: float, file_limit: int | None
) -> Seen | None:
    """Run one case in its own folder; return what was measured of a sharer."""
    assert time.monotonic() < deadline, "not started within the time limit"
    name, _, limit = case.partition("@")
    own = folder / case
    own.mkdir()
    if name in GATEWAYS:
        return try_gateway(name, own)
    if name in OTHERS:
        OTHERS[name](own)
        return None
    return try_case(name, own, int(limit) if limit else file_limit)


def line(case: str, seen: Seen | None) -> str:
    """Return the line of the table for a case that did not fail."""
    if seen is None:
        return f"ok      {case}"
    return (
        f"ok      {case:24} {seen.honest:5.1f} s {seen.slower:6.2f}x "
        f"{seen.memory:+8} KiB {seen.load:5.0%}"
    )


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run with the arguments of the command line."""
    known = [*ATTACKS, *(f"{name}@{limit}" for name, limit in FEW_FILES.items())]
    known += [*CODES, *LISTENERS, *GATEWAYS, *OTHERS]
    parser = argparse.ArgumentParser(prog="run", allow_abbrev=False)
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
