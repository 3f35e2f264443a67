"""The simulator finds each fault again whose fix is taken out of shoal."""

import os
import subprocess
import sys

import pytest

from shoal.core.report.stall_timer import StallTimer
from tests.simulator.fixes import FIXES
from tests.simulator.without import Edit, Fix, StaleEditError, take_out

QUICK = {
    "crossing-server": (0, "dialled each other and did not connect"),
    "selection-again": (22, "TargetExistsError"),
}
"""Fixes with a seed that fails soon without them, and what it reports."""
GAP = 100.0  # seconds that a process is stopped


def simulate(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the simulator in a process of its own."""
    argv = [sys.executable, "-m", "tests.simulator", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def waited() -> float:
    """Return how much of the time counts that a process was stopped."""
    timer = StallTimer(None, 0.0)
    timer.on_check(GAP)
    return timer.waited(GAP)


def test_every_fix_can_be_taken_out_of_the_code_as_it_is() -> None:
    for fix in FIXES.values():
        take_out(fix)()


def test_a_fix_is_out_until_it_is_put_back() -> None:
    assert waited() == 0.0
    put_back = take_out(FIXES["stopped-time"])
    try:
        assert waited() == GAP
    finally:
        put_back()
    assert waited() == 0.0


def test_a_fix_whose_code_has_changed_is_refused() -> None:
    function = "shoal.core.report.stall_timer:StallTimer.on_check"
    edits = (Edit(function, "if gap >", "if not gap >"), Edit(function, "none", ""))
    with pytest.raises(StaleEditError, match=r"'none' 0 times"):
        take_out(Fix("x", "", edits))
    assert waited() == 0.0


@pytest.mark.parametrize("name", QUICK)
def test_a_seed_fails_without_a_fix(name: str) -> None:
    seed, report = QUICK[name]
    ended = simulate("--seed", str(seed), "--without", name)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert report in ended.stdout


def test_a_table_shows_which_seeds_fail_without_each_fix() -> None:
    ended = simulate("--without", "crossing-server,trial-time", "--seeds", "1")
    rows = ended.stdout.splitlines()[2:]
    assert rows[0].startswith("| `crossing-server`: one end of a simultaneous open")
    assert "| 0–0 | 0 | dialled each other" in rows[0]
    assert rows[1].endswith("| 0–0 |  |  |")
    assert rows[-1] == "No seed fails without trial-time"
    assert ended.returncode == 1


def test_a_fix_that_does_not_exist_is_refused_with_one_sentence() -> None:
    ended = simulate("--without", "everything")
    assert ended.returncode == 2
    assert "'everything' is no fix; use all, or one of" in ended.stderr


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_fault_is_found_when_its_fix_is_taken_out() -> None:
    ended = simulate("--without", "all", "--jobs", str(min(2, os.cpu_count() or 1)))
    assert ended.returncode == 0, ended.stdout + ended.stderr
