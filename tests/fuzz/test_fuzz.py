"""Everything that reads bytes from others raises only the errors that it documents."""

import subprocess
import sys
from random import Random

import pytest

from tests.fuzz.targets import TARGETS, corpus
from tests.helpers.requirements import require

CHANGES = 30  # inputs that are made of each that is kept
SECONDS = 600

EACH = pytest.mark.parametrize("name", TARGETS)


def change(data: bytes, rng: Random, others: list[bytes]) -> bytes:
    """Return other bytes: with one flipped, cut out, doubled, or from another input."""
    first, last = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    part = data[first:last]
    match rng.randrange(5):
        case 0:
            part = bytes(byte ^ 1 << rng.randrange(8) for byte in part[:1]) + part[1:]
        case 1:
            part = b""
        case 2:
            part *= rng.choice([2, 3, 100])
        case 3:
            part = rng.choice(others)
        case _:
            part = rng.choice([b"\x00", b"\xff", b"\xff\xff\xff\xff", b"9" * 20])
    return data[:first] + part + data[last:]


@EACH
def test_known_inputs_and_what_is_like_them_raise_only_documented_errors(
    name: str,
) -> None:
    target, known, rng = TARGETS[name], corpus(name), Random(7)
    for data in known:
        target(data)
        for _ in range(CHANGES):
            data = change(data, rng, known)[:4096]
            target(data)


@EACH
def test_the_seeds_are_valid(name: str) -> None:
    target = TARGETS[name]
    target.run(target.seeds[0])


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
@EACH
def test_fuzzing_finds_no_other_error(name: str) -> None:
    try:
        import atheris  # noqa: F401
    except ImportError:
        require("atheris has no package for this Python")
    command = [sys.executable, "-m", "tests.fuzz.run", name, "--seconds", str(SECONDS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
