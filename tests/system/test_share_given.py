"""`shoal share` of several paths, of a pipe, and with links followed."""

import os
import shlex
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.helpers.commands import Shared, in_shell, run, share


def make_tree(folder: Path) -> None:
    for name in ("one.jpg", "two.jpg", "sub/three"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(1000))


def test_several_paths_are_downloaded_as_one_folder(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / "link").symlink_to("one.jpg")
    words = [tmp_path / "one.jpg", tmp_path / "sub", "--name", "holiday"]
    with share(*words) as program:
        shared = Shared(tmp_path, program)
        assert shared.do("get", "-C", tmp_path / "into").code == 0
    into = tmp_path / "into" / "holiday"
    copies = {str(p.relative_to(into)) for p in into.rglob("*") if p.is_file()}
    assert copies == {"one.jpg", "sub/three"}
    with run("link", *words) as program:
        assert program.finish().stdout.decode().strip() != shared.link, "another home"
    with run("link", tmp_path, "--follow-symlinks", "--json") as program:
        assert b'"files":6' in program.finish().stdout  # with link, holiday's two


def test_a_pipe_is_shared_and_downloaded(tmp_path: Path) -> None:
    make_tree(tmp_path)
    script = f'tar c -C {tmp_path} sub one.jpg | exec "$@"'
    with in_shell(script, "share", "-", "--name", "x.tar", "--once") as program:
        program.wait_line("on port", stream="err")
        assert Shared(tmp_path, program).do("get", "-o", tmp_path / "copy").code == 0
        assert program.finish().code == 0
    with tarfile.open(tmp_path / "copy") as archive:
        assert "sub/three" in archive.getnames()
    left = list(Path(os.environ["XDG_DATA_HOME"]).rglob("spool/*"))
    assert left == []


def test_a_share_that_still_reads_a_pipe_can_be_interrupted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    words = ("share", "-", "--name", "x")
    with run(*words, env={"XDG_DATA_HOME": str(home)}, has_input=True) as program:
        program.write_line("the beginning")
        while not list(home.rglob("spool/*")):
            assert program.running
            os.sched_yield()
        program.send(signal.SIGINT)
        ended = program.finish()
    assert ended.code == 130
    assert not list(home.rglob("spool/*"))


@pytest.mark.parametrize("words", ["share - --name x", "get -", "get -i - -C out"])
def test_closed_standard_input_is_not_empty_input(words: str) -> None:
    """Input that is open for writing cannot be read either."""
    for redirected in ("<&-", "0>/dev/null"):
        command = [sys.executable, "-m", "shoal", *words.split()]
        text = f"{shlex.join(command)} {redirected}"
        ended = subprocess.run(["sh", "-c", text], capture_output=True, text=True)
        assert ended.returncode == 2, ended
        assert "Standard input is closed" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_what_cannot_be_shared_together_is_refused(tmp_path: Path) -> None:
    for words, message in (
        (["-"], "give it one with --name"),
        (["-", "x", "--name", "x"], "share other paths separately"),
        (["-", "--open"], "An open channel shares a file"),
        ([tmp_path, tmp_path / "x", "--open"], "An open channel has one file"),
        ([], "Missing argument 'PATH'"),
        (["/etc/hostname", "/usr/share"], "in several folders; name"),
    ):
        with run("share", *words) as program:
            ended = program.finish()
        assert (ended.code, message in ended.stderr) == (2, True), ended.stderr
