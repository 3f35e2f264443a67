"""`shoal completion`: each shell completes commands, options and values."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.adversary.other_user import names_in_completion
from tests.helpers.commands import run
from tests.helpers.process import capture
from tests.helpers.requirements import require
from tests.helpers.terminal import PATH, Terminal


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Write the completion script for the shell that the test's name ends with."""
    shell = request.node.name.partition("[")[0].rpartition("_")[2]
    require(None if shutil.which(shell) else f"{shell} is not installed")
    ended = run("completion", shell).finish()
    assert (ended.code, ended.stderr) == (0, "")
    path = tmp_path / f"complete.{shell}"
    path.write_bytes(ended.stdout)
    return path


WORDS = [
    ("shoal ve", "verify"),
    ("shoal get --seed-", "--seed-for"),
    ("shoal --lan-", "--lan-only"),
    ("shoal -q --peer a:1 get --keep", "--keep-exec"),
    ("shoal get --color al", "always"),
    ("shoal get 4821-puri", "4821-purity"),
    ("shoal get 4821-purity-oly", "4821-purity-olympic"),
    ("shoal get 4821 purity olym", "olympic"),
]


def _ask(*argv: str, cwd: Path) -> str:
    env = {**os.environ, "PATH": PATH, "HOME": str(cwd)}
    done = capture(argv, env=env, cwd=cwd, check=True)
    return done.stdout


@pytest.mark.parametrize(("typed", "meant"), WORDS)
@pytest.mark.program(
    *("system", "bash", "bash --version"),
    "completes commands and options",
)
def test_words_are_completed_in_bash(typed: str, meant: str, script: Path) -> None:
    words = typed.split()
    lines = f"""
        source {script}
        COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
        _shoal_completion shoal
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    said = _ask("bash", "--norc", "-c", lines, cwd=script.parent)
    assert said.split() == [meant]


@pytest.mark.parametrize(("typed", "meant"), WORDS)
@pytest.mark.program(
    *("system", "fish", "fish --version"),
    "completes commands and options",
)
def test_words_are_completed_in_fish(typed: str, meant: str, script: Path) -> None:
    lines = f"source {script}; complete -C '{typed}'"
    said = _ask("fish", "--no-config", "-c", lines, cwd=script.parent)
    assert [line.split("\t")[0] for line in said.splitlines()] == [meant]


@pytest.mark.program("system", "zsh", "zsh --version", "completes commands and options")
def test_words_are_completed_in_zsh(script: Path) -> None:
    env = {"HOME": str(script.parent), "TERM": "dumb"}
    with Terminal("zsh", "-f", "-i", env=env, columns=200) as shell:
        shell.send("PS1='ready''> '; autoload -U compinit; compinit -u -D\r")
        shell.wait("ready> ")
        shell.send(f"source {script}; print load''ed\r")
        shell.wait("loaded.*ready> ")
        for typed, meant in WORDS:
            shell.send(f"{typed}\t")
            shell.wait(re.escape(f"{typed.rpartition(' ')[0]} {meant}"))
            shell.send("\x15")  # Ctrl-U: forget the line


@pytest.mark.parametrize("shell", ["bash"])
def test_completion_works_despite_an_invalid_config_file(
    shell: str, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text("nonsense")
    env = {
        "SHOAL_CONFIG": str(tmp_path / "config.toml"),
        "_SHOAL_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "shoal get --see",
        "COMP_CWORD": "2",
    }
    assert run(env=env).finish().stdout.decode().split() == [
        "plain,--seed",
        "plain,--seed-for",
    ]


def test_an_unknown_shell_and_json_are_refused() -> None:
    for words in (["tcsh"], ["bash", "--json"]):
        assert run("completion", *words).finish().code == 2


def test_names_that_are_commands_are_not_run(tmp_path: Path) -> None:
    names_in_completion(tmp_path)
