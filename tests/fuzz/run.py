"""Fuzz one target with atheris, which is guided by the branches that inputs reach.

python -m tests.fuzz.run TARGET --seconds 600

Starts from the target's seeds and from `corpus/TARGET.hex`, which has an input a line,
and exits with an error at the first fault, after printing the traceback and the input.
With `--keep`, afterwards adds some of the shortest inputs that reached new branches to
that file.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["shoal"]):
    from tests.fuzz.targets import CORPUS, TARGETS, corpus

MAX_LENGTH = 4096  # bytes of an input
MAX_KEPT = 60  # inputs of a target in the repository
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
        for number, known in enumerate(corpus(args.target)):
            (found / f"known-{number}").write_bytes(known)
        # libFuzzer ends its process itself, so it has one of its own.
        command = [sys.executable, "-m", "tests.fuzz.run", args.target]
        command += ["--seconds", str(args.seconds), "--inside", str(found)]
        code = subprocess.run(command, check=False).returncode
        if args.keep:
            fresh = [path.read_bytes() for path in found.glob("[0-9a-f]*")]
            _keep(args.target, fresh)
    sys.exit(code)


def _fuzz(name: str, seconds: int, found: Path) -> None:
    """Fuzz until the time is over or a fault is found; does not return."""
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}"]
    options += ["-rss_limit_mb=2048", "-timeout=10", f"-artifact_prefix={found}/"]
    atheris.Setup([name, *options, str(found)], TARGETS[name])
    atheris.Fuzz()


def _keep(name: str, fresh: Sequence[bytes]) -> None:
    """Add short inputs to the corpus in the repository, of all lengths."""
    short = sorted({each for each in fresh if len(each) <= MAX_KEPT_LENGTH}, key=len)
    room = max(0, MAX_KEPT - len(corpus(name)))
    step = max(1, len(short) // room) if room else len(short) + 1
    kept = {*corpus(name), *short[::step][:room]} - {b"", *TARGETS[name].seeds}
    lines = sorted((each.hex() for each in kept), key=lambda line: (len(line), line))
    (CORPUS / f"{name}.hex").write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
