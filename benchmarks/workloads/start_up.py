"""The cost of starting a process."""

import sys
from collections.abc import Sequence
from functools import partial
from statistics import median

from tests.helpers.netns import Namespace

from benchmarks.measure import run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.launch import missing_programs
from benchmarks.peers.shoal import shoal_argv

__all__ = ["WORKLOAD"]

TIMES = 5  # processes started in one run
PYTHON = "python alone"


def prepare(setup: Setup) -> Sequence[Side]:
    """Return a side for each command; there is nothing else to prepare."""
    namespace = setup.stack.enter_context(Namespace())
    commands = {
        PYTHON: [sys.executable, "-c", "pass"],
        "import shoal": [sys.executable, "-c", "import shoal"],
        "shoal --version": shoal_argv("--version"),
        "shoal --help": shoal_argv("--help"),
        "shoal get --help": shoal_argv("get", "--help"),
    }
    if setup.admits("node alone", lambda: missing_programs("node")):
        commands["node alone"] = ["node", "-e", "0"]
    return [Side(n, partial(_run, namespace, argv)) for n, argv in commands.items()]


def _run(namespace: Namespace, argv: list[str]) -> Sample:
    outcomes = [run_client(argv, namespace=namespace) for _ in range(TIMES)]
    return {
        "wall": median(each.wall for each in outcomes),
        "cpu": median(each.cpu for each in outcomes),
    }


WORKLOAD = Workload(
    name="start-up",
    title="From the start of a process to its end, with nothing to do",
    how=(
        "The page cache and the byte code are warm. Entering the namespace, one to two "
        f"milliseconds, is included in all figures. One run is the median of {TIMES} "
        "processes."
    ),
    columns=(Column("wall", "ms", 0, 1e3), Column("cpu", "CPU ms", 0, 1e3)),
    ratios=(
        Ratio("import shoal : python alone", "wall", "import shoal", PYTHON),
        Ratio("shoal get --help : python alone", "wall", "shoal get --help", PYTHON),
    ),
    prepare=prepare,
)
