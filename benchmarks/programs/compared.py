"""Run the shoal sides of one workload, a round for each line of standard input.

python benchmarks/programs/compared.py WORKLOAD FOLDER

`benchmarks.compare` starts this script with the Python of a checkout, whose own
`benchmarks` and `shoal` it imports. Each round prints its samples by side as JSON.
"""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

__all__: list[str] = []

SIDES = ("shoal", "import shoal")
LARGEST = 3 << 30
"""Bytes in the file of `random-reads`: two copies should stay in the page cache. By
default its chunks are as large as those of any larger file."""


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
