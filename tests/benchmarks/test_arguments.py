"""Programs refuse abbreviated options, which a check for the whole word would miss."""

import ast
from pathlib import Path

import pytest
from benchmarks.simulate import main

ROOT = Path(__file__).parents[2]
PROGRAMS = [
    path
    for folder in ("benchmarks", "scripts", "src", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "node_modules" not in path.parts and "ArgumentParser(" in path.read_text()
]


def test_an_abbreviated_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--peers", "1", "--compile"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --compile" in capsys.readouterr().err


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_no_program_accepts_abbreviations(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and "ArgumentParser" in ast.unparse(node.func):
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            assert given.get("allow_abbrev") == "False"
