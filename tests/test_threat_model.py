"""The tests that pages of the documentation name exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.adversary.adv import ATTACKS as HOLDERS
from tests.adversary.codes import CODES
from tests.adversary.gateways import GATEWAYS
from tests.adversary.run import OTHERS
from tests.helpers.compatibility import Row, page_of, read_page

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "threat-model.md").read_text()
COMPATIBILITY = (ROOT / "docs" / "compatibility.md").read_text()
BOTH = TEXT + (ROOT / "docs" / "reliability.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
PROMISES = re.split(r"^### ", TEXT.split("\n## ")[1], flags=re.MULTILINE)[1:]
TABLES = re.findall(r"^(?:\| \||\| what ).*\n\|-.*\n((?:\|.*\n)+)", BOTH, re.MULTILINE)
ROWS = [line for table in TABLES for line in table.splitlines()]
ATTACKS = re.findall(r"^\| [0-9]+ \|.*$", TEXT, re.MULTILINE)
"""Attacks that succeeded once, each with a case of `tests.adversary.run`."""


@cache
def names_in(path: str) -> set[str]:
    """Return the names of the tests in a file."""
    nodes = ast.walk(ast.parse((ROOT / path).read_text()))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in nodes if isinstance(node, kinds)}


def test_every_named_test_exists() -> None:
    missing = [
        f"{path}::{test}"
        for path, test in NAMED.findall(BOTH + COMPATIBILITY)
        if not (ROOT / path).exists() or test not in names_in(path)
    ]
    assert not missing


def test_every_mention_of_a_test_is_recognised() -> None:
    assert len(NAMED.findall(BOTH)) == BOTH.count("::test_")


@pytest.mark.parametrize("promise", PROMISES, ids=lambda text: text.split("\n")[0])
def test_every_promise_has_its_four_parts(
    promise: str,
) -> None:
    words = ["**Promised:**", "**By:**", "**Not promised:**", "**Shown by:**"]
    assert [promise.count(word) for word in words] == [1] * 4
    assert NAMED.search(promise.partition("**Shown by:**")[2])


def test_every_row_names_a_test() -> None:
    assert len(PROMISES) > 10
    assert len(ROWS) > 40
    rows = [row for row in ROWS if row not in ATTACKS]
    assert [row for row in rows if not NAMED.search(row)] == []


def test_every_attack_that_succeeded_once_names_a_case() -> None:
    assert len(ATTACKS) >= 10
    cases = {case for row in ATTACKS for case in re.findall(r"`(\w+)`", row)}
    assert [row for row in ATTACKS if not re.search(r"`\w+` \|$", row)] == []
    assert cases <= {*HOLDERS, *CODES, *GATEWAYS, *OTHERS}


def test_at_least_sixty_programs_were_tried() -> None:
    rows = list(read_page(COMPATIBILITY))
    assert len(rows) >= 60
    assert len({row.name.lower() for row in rows}) >= 50
    assert not [row for row in rows if row.version == "?"]
    assert page_of(rows) == COMPATIBILITY, "run scripts/compatibility"
    assert {path for path, _ in NAMED.findall(COMPATIBILITY)} == {
        row.test.partition("::")[0] for row in rows
    }


def test_a_program_that_fails_in_one_of_several_tests_is_listed_as_such() -> None:
    works = Row("lan", "a | b", "1.0", "finds", "works", "tests/x.py::test_x")
    fails = works._replace(result="fails: no | answer")
    for rows in ([works, fails], [fails, works]):
        assert list(read_page(page_of(rows))) == [fails]
