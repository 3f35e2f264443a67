"""Fuzz one target with atheris, which is guided by the branches that inputs reach.

python -m tests.fuzz.run TARGET --seconds 600

Starts from the target's seeds and from `corpus/TARGET`, and exits with 1 at the first
fault, after printing the traceback and the input. With `--keep`, afterwards writes to
that folder the few inputs that together reach all that was reached.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["shoal"]):
    from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
MAX_LENGTH = 4096  # bytes of an input
MAX_KEPT = 40  # inputs of a target in the repository
MAX_KEPT_LENGTH = 512  # bytes of each of them


def main() -> None:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="run", allow_abbrev=False)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside is not None:
        _fuzz(args.target, args.seconds, args.inside)
        return
    with tempfile.TemporaryDirectory(prefix="shoal-fuzz-") as folder:
        found = Path(folder, "found")
        found.mkdir()
        for number, seed in enumerate(TARGETS[args.target].seeds):
            (found / f"seed-{number}").write_bytes(seed)
        # libFuzzer ends its process itself, so it has one of its own.
        command = [sys.executable, "-m", "tests.fuzz.run", args.target]
        command += ["--seconds", str(args.seconds), "--inside", str(found)]
        code = subprocess.run(command, check=False).returncode
        if args.keep:
            _keep(args.target, found)
    sys.exit(code)


def _fuzz(name: str, seconds: int, found: Path) -> None:
    """Fuzz until the time is over or a fault is found; does not return."""
    known = CORPUS / name
    known.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}"]
    options += ["-rss_limit_mb=2048", "-timeout=10", f"-artifact_prefix={found}/"]
    atheris.Setup([name, *options, str(found), str(known)], TARGETS[name])
    atheris.Fuzz()


def _keep(name: str, found: Path) -> None:
    """Copy the shortest inputs to the corpus in the repository."""
    known = CORPUS / name
    known.mkdir(parents=True, exist_ok=True)
    fresh = sorted(found.glob("[0-9a-f]*"), key=lambda path: path.stat().st_size)
    short = [path for path in fresh if path.stat().st_size <= MAX_KEPT_LENGTH]
    for path in short[:: max(1, len(short) // MAX_KEPT)][:MAX_KEPT]:
        shutil.copyfile(path, known / path.name[:16])


if __name__ == "__main__":
    main()
