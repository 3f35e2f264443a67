"""Each line of docs/tasks/readers.md works, and fetches what its table says."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import shoal
from tests.helpers.sharing import sharing

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tasks/readers.md"
PYTHON = ROOT / ".venv-readers/bin/python"
TOOLS = ROOT / "tests/helpers/readers"
ROW = re.compile(r"\| (.+?) \| `(.+)` \| ([0-9.]+) \| ([0-9.]+) \|")
SLACK = 0.3  # MB; whether a program reads ahead depends on its threads


class Row(NamedTuple):
    """A line of the table: megabytes that the program asks for, and receives."""

    program: str
    line: str
    asked: float
    fetched: float


ROWS = [
    Row(found[1], found[2], float(found[3]), float(found[4]))
    for found in map(ROW.fullmatch, PAGE.read_text().splitlines())
    if found
]


DISTRIBUTIONS = {
    "PyAV": "av",
    "PyTorch": "torch",
    "UPath": "universal-pathlib",
    "ibis": "ibis-framework",
}


def mark_of(row: Row) -> pytest.MarkDecorator:
    """Return the mark of a row, which docs/compatibility.md repeats."""
    name = row.program.partition(",")[0].partition(" ")[0]
    version = f"readers:{DISTRIBUTIONS.get(name, name)}"
    return pytest.mark.program(
        "readers", row.program, version, "the line of docs/tasks/readers.md"
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the programs, and write the files that the lines read."""
    top = tmp_path_factory.mktemp("readers") / "files"
    subprocess.run([ROOT / "scripts/setup", "readers"], check=True, timeout=1500)
    subprocess.run([PYTHON, TOOLS / "make.py", top], check=True, timeout=200)
    return top


@pytest.fixture(scope="module")
def shared(files: Path) -> Iterator[shoal.BlockingShare]:
    """Share the files."""
    with sharing() as share:
        yield share(files)


def run(place: str, line: str, environment: dict[str, str]) -> dict[str, Any]:
    """Run a line on a share or a local folder; return what `run.py` prints."""
    done = subprocess.run(
        [PYTHON, "-W", "ignore", TOOLS / "run.py", place, line],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def number_in(text: str) -> float:
    """Return the number in a result: threads add floats in any order."""
    found = re.search(r"-?[0-9.]+(e[+-]?[0-9]+)?", text)
    assert found is not None
    return float(found[0])


def test_the_table_has_a_row_for_each_program() -> None:
    assert len(ROWS) >= 24
    assert len({row.program for row in ROWS}) == len(ROWS)


@pytest.mark.long
@pytest.mark.timeout(2000)
@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=mark_of(row), id=row.program) for row in ROWS]
)
def test_a_line_reads_a_share_as_it_reads_local_files(
    row: Row, files: Path, shared: shoal.BlockingShare, tmp_path: Path
) -> None:
    environment = {
        "SHOAL_PEER": f"127.0.0.1:{shared.port}",
        "SHOAL_LAN_ONLY": "1",
        "SHOAL_NO_LAN": "1",
        "SHOAL_INTERFACES": "127.0.0.1",
        # What is read must come from the peer, and nothing from earlier runs.
        "XDG_DATA_HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "datasets"),
    }
    before = shared.uploaded
    remote = run(str(shared.link).removeprefix("shoal:"), row.line, environment)
    fetched = (shared.uploaded - before) / 1e6
    local = run(str(files), row.line, environment)
    assert number_in(remote["value"]) == pytest.approx(number_in(local["value"]))
    assert fetched <= row.fetched + max(SLACK, row.fetched / 10)
    # Reads in other processes are not counted.
    if remote["asked"]:
        assert remote["asked"] / 1e6 == pytest.approx(row.asked, rel=0.15, abs=0.1)
