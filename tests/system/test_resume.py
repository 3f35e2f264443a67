"""Downloads that are cut short: what was verified is kept."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers.badpeers import NeverAnswers, StopsHalfway
from tests.helpers.commands import LOOPBACK, run
from tests.helpers.fakeserver import Background, FakeServer
from tests.helpers.process import Finished, Program
from tests.helpers.requirements import require
from tests.helpers.terminal import at_terminal
from tests.helpers.wire import Content

CONTENT = Content.make(100_000)
BIG = Content.make(2 << 20)


def test_after_kill_9_only_what_is_missing_is_fetched(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with Background(lambda: StopsHalfway(CONTENT, 50)) as server:
        args = (CONTENT.id, "-o", target, "--peer", server.address, "--json")
        with run("get", *args) as program:
            program.wait_line(rf'"done": ?{50 * 1024}\b|"done": ?{49 * 1024 + 672}\b')
            program.kill()
        answered = set(server.requests[:50])
    assert not target.exists()
    with Background(lambda: FakeServer(CONTENT)) as server:
        with run("get", CONTENT.id, "-o", target, "--peer", server.address) as program:
            ended = program.finish()
        assert set(server.requests) == set(range(98)) - answered
        assert len(server.requests) == 48
    assert ended.code == 0
    assert "Resuming: " in ended.stderr
    assert target.read_bytes() == CONTENT.data
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_half_way_without_news_is_unfinished(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with Background(lambda: StopsHalfway(CONTENT, 50)) as server:
        args = (CONTENT.id, "-o", target, "--peer", server.address, "--timeout", 1)
        with run("get", *args) as program:
            ended = program.finish()
    assert ended.code == 7
    assert f"shoal get {CONTENT.id}" in ended.stderr
    assert not target.exists()


def test_a_second_get_on_one_target_says_so(tmp_path: Path) -> None:
    target = tmp_path / "out"
    background = Background(lambda: NeverAnswers(CONTENT))
    with background as server:
        args = (CONTENT.id, "-o", target, "--peer", server.address)
        with run("get", *args):
            background.wait_until(lambda: bool(server.requests))
            with run("get", *args) as second:
                ended = second.finish()
    assert ended.code == 1
    assert f"Another shoal is already downloading to {target}" in ended.stderr


# Runs the command on a small disk, then again on one that has grown.
_ON_SMALL_DISK = """
mount -t tmpfs -o size={size} tmpfs {folder} || exit 99
{command}; echo code $?
ls -A {folder} | wc -l
mount -o remount,size=16m {folder}
{command}; echo code $?
cat {folder}/out | sha256sum
"""


def _on_small_disk(size: int, folder: Path, server: FakeServer) -> Finished:
    require(None if os.geteuid() == 0 else "only root may mount a small disk")
    require(None if shutil.which("unshare") else "unshare is not installed")
    words = [BIG.id, "-o", str(folder / "out"), "--peer", str(server.address), "-q"]
    command = shlex.join([sys.executable, "-m", "shoal", "get", *words])
    script = _ON_SMALL_DISK.format(size=size, folder=folder, command=command)
    line = ["unshare", "--mount", "sh", "-c", script]
    with Program(line, env={**os.environ, **LOOPBACK}) as program:
        ended = program.finish()
    require("no tmpfs may be mounted here" if ended.code == 99 else None)
    return ended


def test_a_disk_too_small_is_known_at_the_start(tmp_path: Path) -> None:
    with Background(lambda: FakeServer(BIG)) as server:
        ended = _on_small_disk(1 << 20, tmp_path, server)
        assert sorted(server.requests) == list(range(BIG.count))
    first, left, second, path, *_ = ended.stdout.decode().split("\n")
    assert "disk is too full" in ended.stderr
    assert (first, left.strip(), path) == ("code 9", "0", "code 0"), second


def test_a_disk_that_fills_up_keeps_what_was_verified(tmp_path: Path) -> None:
    with Background(lambda: FakeServer(BIG)) as server:
        ended = _on_small_disk((2 << 20) + (12 << 10), tmp_path, server)
        repeated = len(server.requests) - BIG.count
    lines = ended.stdout.decode().split("\n")
    assert lines[0] == "code 9", ended.stderr
    assert "full" in ended.stderr
    assert lines[1].strip() == "1"  # the staging folder
    assert "code 0" in lines
    # What was under way does not count; what was journaled is not asked for again.
    assert repeated < BIG.count // 2


@pytest.mark.parametrize("extra", [[], ["--no-progress"], ["--color", "never"]])
def test_a_terminal_gets_a_bar(extra: list[str], tmp_path: Path) -> None:
    with Background(lambda: StopsHalfway(CONTENT, 50)) as server:
        words = [CONTENT.id, "-o", "out", "--peer", str(server.address)]
        said = at_terminal("get", *words, "--timeout", "1", *extra, cwd=tmp_path)
    assert ("━" in said) is (extra != ["--no-progress"])
    assert "run the same command again" in " ".join(said.split())
    if "never" in extra:
        assert "\x1b[3" not in said  # no colours


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    with Background(lambda: FakeServer(CONTENT)) as server:
        args = (CONTENT.id, "-o", tmp_path / "out", "--peer", server.address, "-v")
        with run("get", *args) as program:
            ended = program.finish()
    assert "\x1b" not in ended.stderr
    assert "\r" not in ended.stderr
    assert f"Connected to {server.address} (peer)." in ended.stderr
