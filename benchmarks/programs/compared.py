"""Run the shoal sides of one workload, one round for each line of standard input.

python benchmarks/programs/compared.py WORKLOAD FOLDER

`benchmarks.compare` starts this script in a virtual environment that imports
`benchmarks` and `shoal` from a checkout. Each round prints its samples as JSON.
"""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

__all__: list[str] = []

SIDES = ("shoal", "import shoal")
LARGEST = 3 << 30
"""Bytes of the file of `random-reads`, so that two copies fit into the page cache. Its
default chunk size is the largest that shoal chooses, as for the usual file."""


def main(name: str, folder: str) -> None:
    """Prepare the workload, then run rounds until standard input ends."""
    from benchmarks.model import Setup
    from benchmarks.workloads import WORKLOADS, random_reads

    workload = WORKLOADS[name]
    random_reads.SIZE = LARGEST
    with ExitStack() as stack:
        place = TemporaryDirectory(prefix="shoal-bench-", dir=folder)
        setup = Setup(stack, Path(stack.enter_context(place)), SIDES)
        sides = [each for each in workload.prepare(setup) if setup.wants(each.name)]
        for _ in sys.stdin:
            print(json.dumps({each.name: each.run() for each in sides}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
