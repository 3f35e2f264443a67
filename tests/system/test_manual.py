"""`man shoal` and each `--help` are up to date and complete; their examples work."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from shoal.cli import cli
from shoal.config.options import OPTIONS
from shoal.core.names.link import Link
from tests.helpers.process import capture
from tests.helpers.requirements import require

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "shoal.1"
TABLE = ROOT / "docs" / "command-line.md"
CONTEXT = click.Context(cli)
COMMANDS = cli.list_commands(CONTEXT)
LINK = str(Link(bytes(32)))


def _help(name: str) -> str:
    command = cli.get_command(CONTEXT, name)
    assert command is not None
    return command.help or ""


def _examples() -> Iterator[str]:
    for text in (cli.help or "", *map(_help, COMMANDS)):
        for line in re.findall(r"^\s*(shoal [a-z].*)$", text, re.MULTILINE):
            yield re.split(r"\s{2,}|[|>]", line)[0].strip()


def _make(word: str) -> str:
    made = capture([sys.executable, ROOT / "docs" / "make_man.py", word], check=True)
    return made.stdout


def test_the_page_has_the_current_help_of_the_commands() -> None:
    assert _make("-") == PAGE.read_text(), "run python docs/make_man.py"


def test_the_table_in_the_docs_has_the_current_options() -> None:
    table = _make("-t")
    assert table in TABLE.read_text(), "run python docs/make_man.py"
    assert len(table.splitlines()) == len(OPTIONS) + 2
    commands = _make("-c")
    assert commands in TABLE.read_text(), "run python docs/make_man.py"
    assert len(commands.splitlines()) == len(COMMANDS) + 2


def test_the_table_of_limits_has_the_current_ones() -> None:
    script = ROOT / "docs" / "make_sizes.py"
    made = capture([sys.executable, script, "-"], check=True).stdout
    assert made in (ROOT / "docs/sizes.md").read_text(), f"run python {script.name}"


@pytest.mark.program("system", "mandoc", "dpkg:mandoc", "the manual page")
def test_mandoc_accepts_the_page() -> None:
    require(None if shutil.which("mandoc") else "mandoc is not installed")
    done = capture(["mandoc", "-Tlint", "-Wstyle", PAGE])
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_the_page_names_every_command_option_and_exit_code() -> None:
    require(None if shutil.which("mandoc") else "mandoc is not installed")
    done = capture(["mandoc", "-Tascii", "-O", "width=78", PAGE], check=True)
    text = re.sub(r".\x08", "", done.stdout)
    assert max(map(len, text.splitlines())) <= 85
    for name in COMMANDS:
        command = cli.get_command(CONTEXT, name)
        assert command is not None
        assert f"shoal {name}" in text
        for each in command.params:
            if isinstance(each, click.Option):
                assert all(option in text for option in each.opts)
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 9, 130, 143):
        assert re.search(rf"^ +{code} +\w", text, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(name: str) -> None:
    assert any(f"shoal {name}" in line for line in _help(name).splitlines()[1:])


@pytest.mark.parametrize("example", list(_examples()))
def test_each_example_is_a_valid_command_line(example: str) -> None:
    typed = example.replace("shoal:mfrggzdf…", LINK)
    program, name, *words = shlex.split(typed)
    command = cli.get_command(CONTEXT, name)
    assert (program, command is not None) == ("shoal", True)
    assert command is not None
    command.make_context(name, words, parent=CONTEXT)
