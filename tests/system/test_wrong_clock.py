"""A transfer does not depend on the real-time clock."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import link_of, peer_of, run
from tests.helpers.requirements import require

YEARS = 365 * 24 * 3600  # seconds
SHIM = Path(__file__).parent.parent / "helpers" / "wrong_clock.c"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build the library that shifts the clock of a program."""
    is_linux = sys.platform == "linux"
    require(None if is_linux and shutil.which("cc") else "no C compiler on Linux")
    built = tmp_path_factory.mktemp("shim") / "wrong_clock.so"
    argv = ["cc", "-shared", "-fPIC", "-O1", "-o", str(built), str(SHIM), "-ldl"]
    subprocess.run(argv, check=True, capture_output=True)
    return str(built)


def clock(shim: str, years: float, *, jumps: bool = False) -> dict[str, str]:
    shifted = {"LD_PRELOAD": shim, "CLOCK_SHIFT": str(int(years * YEARS))}
    return {**shifted, "CLOCK_JUMPS": "1"} if jumps else shifted


def test_the_library_shifts_the_clock(shim: str) -> None:
    argv = [sys.executable, "-c", "import time; print(time.time())"]
    said = subprocess.run(argv, env=clock(shim, -20), check=True, capture_output=True)
    assert float(said.stdout) < time.time() - 19 * YEARS


@pytest.mark.parametrize("years", [-40, 10, 70])
@pytest.mark.parametrize("whose", ["share", "get"])
def test_a_wrong_clock_changes_nothing(
    whose: str, years: int, shim: str, make_file: MakeFile, tmp_path: Path
) -> None:
    source, out = make_file(300_000, 5), tmp_path / "out"
    env = {whose: clock(shim, years)}
    with run("share", source, env=env.get("share")) as sharing:
        link = link_of(sharing)
        peer = peer_of(sharing)
        with run("get", link, "-o", out, "--peer", peer, env=env.get("get")) as getting:
            assert getting.finish(30).code == 0
    assert out.read_bytes() == source.read_bytes()


def test_clocks_that_jump_by_ten_years_change_nothing(
    shim: str, make_file: MakeFile, tmp_path: Path
) -> None:
    source, out = make_file(3_000_000, 6), tmp_path / "out"
    env = clock(shim, 10, jumps=True)
    with run("share", source, env=env) as sharing:
        link = link_of(sharing)
        peer = peer_of(sharing)
        words = ("get", link, "-o", out, "--peer", peer, "--limit-down", "2M")
        assert run(*words, "--timeout", "5", env=env).finish(30).code == 0
    assert out.read_bytes() == source.read_bytes()
