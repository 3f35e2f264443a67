"""Record which real programs work with shoal, for docs/compatibility.md.

A test of a real program has the mark `program(kind, name, version, what)`. With
`-p tests.helpers.compatibility --compatibility FILE`, the run of these tests writes the
page; with `--keep-rows`, the rows of tests that were not run stay. `version` says how
to find out the version:

    pip:NAME        the distribution NAME in the environment of the tests
    readers:NAME    the distribution NAME in .venv-readers
    npm:NAME        the package NAME in a `node_modules` of the tests
    dpkg:NAME       the Debian package NAME
    python          the interpreter of the tests
    COMMAND         the first number in the output of the command
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Generator, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["KINDS", "Row", "find_version", "page_of", "read_page", "rows_of"]

ROOT = Path(__file__).parents[2]
NODE_MODULES = ("tests/interop/node", "tests/interop/servers")
READERS = ROOT / ".venv-readers/bin/python"
KINDS = {
    "origins": "Servers that are origins",
    "clients": "Clients of the gateway",
    "readers": "Libraries that read through fsspec",
    "dht": "The DHT",
    "lan": "The LAN",
    "channels": "Open channels",
    "system": "Shells, browsers and other programs",
}
"""The title of each section of the page, by the kind of its rows."""
MAX_RESULT = 160  # characters
# Some names have a digit in them, too.
_NUMBERS = (re.compile(r"\d+(?:\.\d+)+\w*"), re.compile(r"\d+"))
_HEAD = """# Compatibility

Each row is a real program that was run with shoal. `scripts/compatibility` runs the
tests that are named, and writes this page.
"""


class Row(NamedTuple):
    """A program, and how it did."""

    kind: str
    name: str
    version: str
    what: str
    result: str
    test: str
    """The test, without its parameters."""


@cache
def find_version(how: str) -> str:
    """Return the version of a program; "?" if it cannot be found."""
    place, _, name = how.partition(":")
    try:
        if how == "python":
            return sys.version.split()[0]
        if place == "pip":
            return metadata.version(name)
        if place == "readers":
            code = f"from importlib.metadata import version; print(version({name!r}))"
            return _output([str(READERS), "-c", code]).strip()
        if place == "npm":
            paths = (ROOT / each / "node_modules" / name for each in NODE_MODULES)
            found = next(path for path in paths if path.is_dir())
            version: str = json.loads((found / "package.json").read_text())["version"]
            return version
        if place == "dpkg":
            text = _output(["dpkg-query", "-W", "-f", "${Version}", name])
            return text.partition(":")[2] or text
        text = _output(shlex.split(how))
        numbers = [match[0] for each in _NUMBERS if (match := each.search(text))]
        return str(numbers[0])
    except (OSError, LookupError, StopIteration, subprocess.SubprocessError):
        return "?"


def _output(argv: list[str]) -> str:
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    return ended.stdout + ended.stderr


def rows_of(item: pytest.Item, result: str) -> Iterator[Row]:
    """Yield a row for each mark of a test."""
    test = item.nodeid.partition("[")[0]
    for mark in item.iter_markers("program"):
        kind, name, version, what = mark.args
        assert kind in KINDS, f"{item.nodeid}: no kind {kind}"
        yield Row(kind, name, find_version(version), what, result, test)


def read_page(text: str) -> Iterator[Row]:
    """Yield the rows of a page."""
    kinds = {title: kind for kind, title in KINDS.items()}
    kind = ""
    for line in text.splitlines():
        if line.startswith("## "):
            kind = kinds[line.removeprefix("## ")]
        elif line.endswith("` |"):
            cells = re.split(r"(?<!\\) \| ", line[2:-2])
            *named, test = (each.replace("\\|", "|") for each in cells)
            yield Row._make([kind, *named, test.strip("`")])


def page_of(rows: list[Row]) -> str:
    """Return the page with these rows; those of one program and purpose are one."""
    worst: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (row.kind, row.name.lower(), row.what)
        if key not in worst or worst[key].result == "works":
            worst[key] = row
    text = _HEAD
    for kind, title in KINDS.items():
        listed = [worst[key] for key in sorted(worst) if key[0] == kind]
        if listed:
            text += f"\n## {title}\n\n| program | version | tried | result | test |\n"
            text += "|---|---|---|---|---|\n"
        for row in listed:
            cells = (*row[1:5], f"`{row.test}`")
            escaped = (each.replace("|", "\\|") for each in cells)
            text += f"| {' | '.join(escaped)} |\n"
    return text


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the page."""
    parser.addoption("--compatibility", metavar="FILE", help="the page to write")
    parser.addoption(
        "--keep-rows", action="store_true", help="keep the rows of other tests"
    )


_rows: list[Row] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the result of a test."""
    report = yield
    is_last = report.when == "call" or not report.passed
    if is_last and item.get_closest_marker("program") is not None:
        _rows.extend(rows_of(item, _result(report)))
    return report


def _result(report: pytest.TestReport) -> str:
    if report.passed:
        return "works"
    if report.skipped:
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else ""
        return f"not tried: {reason}"[:MAX_RESULT]
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash is not None else str(report.longrepr)
    return f"fails: {message.splitlines()[0]}"[:MAX_RESULT]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page."""
    path = session.config.getoption("--compatibility")
    if path and _rows:
        page = Path(path)
        others: list[Row] = []
        if session.config.getoption("--keep-rows"):
            new = {(row.name, row.what) for row in _rows}
            listed = read_page(page.read_text())
            others = [each for each in listed if (each.name, each.what) not in new]
        page.write_text(page_of([*others, *_rows]))
