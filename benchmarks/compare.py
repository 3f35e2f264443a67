"""Compare two checkouts of shoal: `scripts/bench compare OTHER [WORKLOAD…] -n 7`.

Each checkout runs the shoal sides of its own workloads in its own process. The rounds
alternate, and the checkout that runs first changes from round to round. Both run in new
virtual environments with the Python and the packages of this checkout, so only the code
of shoal and of its benchmarks differs.
"""

import argparse
import json
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from benchmarks import machine
from benchmarks.measure import clean_environment
from benchmarks.model import Column, Sample
from benchmarks.table import lay_out
from benchmarks.workloads import WORKLOADS

__all__ = ["main"]

HERE = Path(__file__).resolve().parent.parent
DEFAULT = (
    *("one-to-one", "one-to-one-open", "pipelined", "random-reads"),
    *("small-files", "start-up", "crowd"),
)
ROUNDS = 7
TOLERANCE = 0.03  # difference of a ratio from 1 beyond which its row is marked
_SCRIPT = "import sys\nfrom shoal.__main__ import main\nsys.exit(main())\n"


@dataclass(frozen=True)
class Checkout:
    """The folder of a checkout, and the Python that imports shoal from it."""

    root: Path
    python: Path

    @classmethod
    def prepare(cls, root: Path, folder: Path) -> "Checkout":
        """Make a virtual environment in `folder` that imports shoal from `root`."""
        venv.create(folder, symlinks=True)
        python = folder / "bin" / "python"
        paths = [root, root / "src", sysconfig.get_path("purelib")]
        [packages] = folder.glob("lib/python*/site-packages")
        # Python does not read the .pth files of a folder that another .pth file names,
        # so the editable installation of this checkout has no effect.
        lines = "".join(f"{path}\n" for path in paths)
        (packages / "checkout.pth").write_text(lines, encoding="utf-8")
        script = folder / "bin" / "shoal"
        script.write_text(f"#!{python}\n{_SCRIPT}", encoding="utf-8")
        script.chmod(0o755)
        return cls(root, python)

    def describe(self) -> str:
        """Return the commit and the path that programs of this checkout import from.

        Raises `SystemExit` if the path is not in the checkout.
        """
        code = "import shoal.__main__; print(shoal.__main__.__file__)"
        found = _output(self.root, str(self.python), "-c", code)
        if not Path(found).is_relative_to(self.root):
            sys.exit(f"The programs of {self.root} would run {found}.")
        return f"{_output(self.root, 'git', 'describe', '--always', '--dirty')} {found}"

    @contextmanager
    def start(self, workload: str, scratch: Path) -> Iterator["subprocess.Popen[str]"]:
        """Start a worker for a workload; it ends with the `with` block."""
        worker = HERE / "benchmarks" / "programs" / "compared.py"
        with subprocess.Popen(
            [str(self.python), str(worker), workload, str(scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.root,
            env=clean_environment(),
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.communicate()


def _output(root: Path, *argv: str) -> str:
    env = clean_environment()
    return subprocess.check_output(argv, cwd=root, env=env, text=True).strip()


def main(words: list[str]) -> int:
    """Measure both checkouts and print a table for each workload."""
    options = _parse(words)
    with TemporaryDirectory(prefix="shoal-compare-", dir=options.scratch) as folder:
        scratch = Path(folder)
        ours = Checkout.prepare(HERE, scratch / "this")
        other = Checkout.prepare(options.other.resolve(), scratch / "other")
        print(f"this:  {ours.describe()}\nother: {other.describe()}", flush=True)
        for name in options.workloads or DEFAULT:
            samples = _measure((other, ours), name, options.rounds, scratch)
            print(f"\n{name}, {options.rounds} rounds\n{_render(name, samples)}")
            print(machine.describe(), flush=True)
    return 0


def _measure(
    checkouts: tuple[Checkout, Checkout], name: str, rounds: int, scratch: Path
) -> tuple[list[dict[str, Sample]], list[dict[str, Sample]]]:
    """Return what each checkout measured: for each round, a sample by side."""
    samples: tuple[list[Any], list[Any]] = ([], [])
    with ExitStack() as stack:
        workers = [stack.enter_context(each.start(name, scratch)) for each in checkouts]
        # Round 0 warms up and is not counted.
        for number in range(rounds + 1):
            print(f"  {name}: round {number} of {rounds}", file=sys.stderr, flush=True)
            for index in (0, 1) if number % 2 else (1, 0):
                worker = workers[index]
                assert worker.stdin is not None
                assert worker.stdout is not None
                worker.stdin.write("run\n")
                worker.stdin.flush()
                line = worker.stdout.readline()
                if not line:
                    sys.exit(f"{name} failed in {checkouts[index].root}.")
                if number:
                    samples[index].append(json.loads(line))
    return samples


def _render(
    name: str, samples: tuple[list[dict[str, Sample]], list[dict[str, Sample]]]
) -> str:
    rows = [["side", "figure", "other", "this", "this / other, by round", ""]]
    for side in samples[0][0]:
        for column in WORKLOADS[name].columns:
            pair = [[each[side].get(column.key) for each in runs] for runs in samples]
            old, new = ([v for v in values if v is not None] for values in pair)
            if any(old) and any(new):
                rows.append([side, column.heading, *_compare(column, old, new)])
    return lay_out(rows)


def _compare(column: Column, old: list[float], new: list[float]) -> list[str]:
    shown = [f"{median(v) * column.scale:,.{column.digits}f}" for v in (old, new)]
    ratios = [b / a for a, b in zip(old, new, strict=True) if a]
    middle = median(ratios)
    spread = f"{middle:.3f} ({min(ratios):.2f}-{max(ratios):.2f})"
    return [*shown, spread, "*" if abs(middle - 1) > TOLERANCE else ""]


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "scripts/bench compare", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help=f"[{' '.join(DEFAULT)}]"
    )
    parser.add_argument("-n", dest="rounds", type=int, default=ROUNDS)
    parser.add_argument("--scratch", type=Path, default=Path(gettempdir()))
    options = parser.parse_args(words)
    if unknown := [each for each in options.workloads if each not in WORKLOADS]:
        parser.error(f"there is no workload {unknown[0]!r}; see scripts/bench --help")
    if options.rounds < 1:
        parser.error("-n must be at least 1")
    return options
