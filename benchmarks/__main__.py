"""The command line of the benchmarks; `scripts/bench --help`."""

import argparse
import signal
import sys
from pathlib import Path
from tempfile import gettempdir

from tests.helpers.netns import missing_namespaces

from benchmarks import report, runner, table
from benchmarks.workloads import WORKLOADS

REPORT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
ROUNDS = 5


def main() -> int:
    """Run the workloads that were named, or all of them."""
    options = _parse()
    # So that what was started is ended and what was written is removed.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(143))
    problem = missing_namespaces()
    if problem is not None:
        print(f"The benchmarks need network namespaces: {problem}", file=sys.stderr)
        return 1
    for name in options.workloads or WORKLOADS:
        workload = WORKLOADS[name]
        print(f"{name}: {workload.title}", flush=True)
        result = runner.run(workload, options.rounds, options.scratch, print_progress)
        print(f"\n{table.render(result)}\n", flush=True)
        if options.write:
            command = f"scripts/bench -n {options.rounds} {name}"
            report.update(REPORT, result, command)
    return 0


def print_progress(text: str) -> None:
    """Say what is being done, on standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    known = "\n".join(f"  {name:16} {each.title}" for name, each in WORKLOADS.items())
    parser = argparse.ArgumentParser(
        "scripts/bench",
        description="Measure shoal and the peers that this machine has, in turn.",
        epilog=f"workloads:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help="which to run; all by default"
    )
    parser.add_argument(
        "-n", dest="rounds", type=int, default=ROUNDS, help="runs of each side [5]"
    )
    parser.add_argument(
        "--write", action="store_true", help="put the tables into docs/benchmarks.md"
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        default=Path(gettempdir()),
        help="folder for temporary files of up to 11 GiB",
    )
    options = parser.parse_args()
    if unknown := [each for each in options.workloads if each not in WORKLOADS]:
        parser.error(f"there is no workload {unknown[0]!r}; see --help")
    if options.rounds < 1:
        parser.error("-n wants at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
