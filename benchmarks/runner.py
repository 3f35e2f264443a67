"""Run a workload: every side in turn, in several rounds.

The sides alternate (A B A B …), so other load on the machine affects all of them, and
ratios are computed within a round. A round before the first is not counted: it fills
the page cache and warms up just-in-time compilers.
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
    """Prepare, run `rounds` times and always clean up.

    With `wanted`, run only the sides whose names begin with one of these words. Raises
    `AssertionError` if a side has a wrong result.
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
