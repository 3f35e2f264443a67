"""Run seeds of the simulator; docs/reliability.md says what it covers."""

import os
import subprocess
import sys

import pytest

SEEDS = 300
LONG_SEEDS = 3000
REGRESSIONS = [
    519,  # a source that was punched through to waited for all connections of a liar
    405_983,  # the only receiver of an empty `--once` share crashed just after hello
    501_286,  # the server of a named channel was stopped, and had not sent its sizes
    500_534,  # a liar's sizes did not fit the target that `fetch_open` with seed found
    740_553,  # a node closed while a thread opened what it had fetched from a channel
    740_717,  # the server of a hash channel came back with a shortened file
]


def run(*words: str) -> str:
    """Run the simulator in a process of its own; return its output."""
    argv = [sys.executable, "-m", "tests.simulator", *words]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert not ended.returncode, ended.stdout + ended.stderr
    return ended.stdout


def jobs() -> str:
    """Return how many processes to use."""
    return str(min(2, os.cpu_count() or 1))


@pytest.mark.timeout(600)
def test_no_seed_violates_an_invariant() -> None:
    assert f"{SEEDS} seeds" in run("--seeds", f"0..{SEEDS}", "--jobs", jobs())


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_seed_of_many_violates_an_invariant() -> None:
    run("--seeds", f"{SEEDS}..{SEEDS + LONG_SEEDS}", "--jobs", jobs())


@pytest.mark.parametrize(
    "text", ["0:9", "x", "9..0", "5..5", "", "..", "-3", "1..2..3"]
)
def test_seeds_that_are_none_are_refused_with_one_sentence(text: str) -> None:
    argv = [sys.executable, "-m", "tests.simulator", f"--seeds={text}"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "names no seeds" in ended.stderr.splitlines()[-1]


def test_a_number_stands_for_the_first_seeds() -> None:
    assert run("--seeds", "2").startswith("2 seeds, 0 failed")


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_a_seed_that_failed_once_fails_no_more(seed: int) -> None:
    run("--seed", str(seed))


@pytest.mark.parametrize("seed", [1, 12, 88, 115, 188])
def test_one_seed_always_takes_the_same_steps(seed: int) -> None:
    words = ("--seed", str(seed), "--trace")
    assert run(*words) == run(*words)
