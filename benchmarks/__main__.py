"""The command line of the benchmarks; `scripts/bench --help`."""

import argparse
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir

from tests.helpers.netns import missing_namespaces

from benchmarks import compare, machine, report, runner, table
from benchmarks.record import Record
from benchmarks.workloads import WORKLOADS

DOCS = Path(__file__).parent.parent / "docs"
ROUNDS = 5


def main() -> int:
    """Run workloads, compare two checkouts, or simulate a swarm."""
    if sys.argv[1:2] == ["simulate"]:
        from benchmarks.simulate import main as simulate

        return simulate(sys.argv[2:])
    # An exception ends the programs that we started and removes our files.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(143))
    if sys.argv[1:2] == ["compare"]:
        return compare.main(sys.argv[2:])
    options = _parse()
    if options.draw:
        report.draw(DOCS, WORKLOADS)
        return 0
    problem = missing_namespaces()
    if problem is not None:
        print(f"The benchmarks need network namespaces: {problem}", file=sys.stderr)
        return 1
    for name in options.workloads or WORKLOADS:
        _run(name, options)
    return 0


def _run(name: str, options: argparse.Namespace) -> None:
    workload = WORKLOADS[name]
    print(f"{name}: {workload.title}", flush=True)
    result = runner.run(
        workload, options.rounds, options.scratch, print_progress, options.peers
    )
    print(f"\n{table.render(workload, result)}\n", flush=True)
    if options.write:
        measured = Record(
            command=f"scripts/bench -n {options.rounds} {name}",
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            machine=machine.describe(),
            result=result,
        )
        report.update(DOCS, WORKLOADS, name, measured)


def print_progress(text: str) -> None:
    """Print a line of progress to standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    known = "\n".join(f"  {name:16} {each.title}" for name, each in WORKLOADS.items())
    parser = argparse.ArgumentParser(
        "scripts/bench",
        allow_abbrev=False,
        description="Measure shoal and the other programs that this machine has, in "
        "turn. `scripts/bench compare` measures two checkouts of shoal, "
        "`scripts/bench simulate` simulates a swarm; both have their own options.",
        epilog=f"workloads:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help="what to run [all]"
    )
    parser.add_argument(
        "-n",
        dest="rounds",
        type=int,
        default=ROUNDS,
        help=f"runs of each side [{ROUNDS}]",
    )
    parser.add_argument(
        "--peers",
        type=lambda text: text.split(","),
        default=(),
        metavar="NAME,…",
        help="run only the sides whose names begin with one of these words, as in "
        "shoal,curl",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="record the results in docs/benchmarks.json and draw tables and picture",
    )
    parser.add_argument(
        "--draw", action="store_true", help="only draw the recorded results"
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        default=Path(gettempdir()),
        help="folder for up to 11 GiB of temporary files",
    )
    options = parser.parse_args()
    if unknown := [each for each in options.workloads if each not in WORKLOADS]:
        parser.error(f"there is no workload {unknown[0]!r}; see --help")
    if options.rounds < 1:
        parser.error("-n must be at least 1")
    if options.write and options.peers:
        parser.error("--write records all sides; leave out --peers")
    return options


if __name__ == "__main__":
    sys.exit(main())
