"""Run a workload: every side in turn, round after round.

The sides alternate (A B A B …), so that what else the machine does meets all of
them, and a ratio is taken within a round. One round before the first is not
counted: it fills the page cache and lets just-in-time compilers warm up.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.model import Result, Sample, Setup, Workload

__all__ = ["run"]


def run(
    workload: Workload,
    rounds: int,
    scratch: Path,
    tell: Callable[[str], None],
    wanted: Sequence[str] = (),
) -> Result:
    """Prepare, run `rounds` times, and clean up whatever happens.

    With `wanted`, only sides whose name begins with one of these words run. Raises
    `AssertionError` when a side gives a wrong result.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(
            TemporaryDirectory(prefix="shoal-bench-", dir=scratch)
        )
        setup = Setup(stack, Path(folder), wanted)
        sides = [side for side in workload.prepare(setup) if setup.wants(side.name)]
        samples: dict[str, list[Sample]] = {side.name: [] for side in sides}
        for number in range(rounds + 1):
            tell(f"round {number} of {rounds}" if number else "warming up")
            for side in sides:
                sample = side.run()
                if number:
                    samples[side.name].append(sample)
    return Result(samples, setup.missing, setup.notes)
