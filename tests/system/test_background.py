"""A share in the background outlives its command, until `shoal stop`."""

import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.commands import run
from tests.helpers.events import lines_of
from tests.helpers.process import Finished

PATIENCE = 30.0  # seconds


class User:
    """One user, whose shares in the background all end with the test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "notes.txt"
        self.file.write_bytes(bytes(100_000))

    def run(self, *words: object) -> Finished:
        env = {"XDG_DATA_HOME": str(self.home)}
        return run(*words, env=env, cwd=self.home).finish()

    def pids(self) -> list[int]:
        folder = self.home / "shoal" / "background"
        return [int(path.name) for path in folder.glob("[0-9]*")]

    def log(self, pid: int) -> Path:
        return self.home / "shoal" / "background" / "logs" / f"{pid}.log"


def wait_for_end(pid: int) -> None:
    """Wait until a process that is not a child of this one has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], PATIENCE)[0], f"process {pid} runs on"
    finally:
        os.close(fd)


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path)
    yield user
    for pid in user.pids():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_a_share_is_served_after_its_command_has_returned(
    user: User, tmp_path: Path
) -> None:
    ended = user.run("share", user.file, "--background")
    assert ended.code == 0, ended.stderr
    link = ended.stdout.decode().strip()
    assert link not in ended.stderr, "a log is not the place for a link"
    (pid,) = user.pids()
    assert f"as process {pid}; shoal stop {pid} ends it." in ended.stderr
    port = ended.stderr.partition("on port ")[2].partition(".")[0]
    words = ("get", link, "-o", tmp_path / "out", "--peer", f"127.0.0.1:{port}")
    assert run(*words).finish().code == 0
    assert (tmp_path / "out").read_bytes() == user.file.read_bytes()
    assert "Ctrl-C" not in user.log(pid).read_text()
    assert b"complete, shared" in user.run("list").stdout
    stopped = user.run("stop", link)
    assert (stopped.code, stopped.stderr) == (0, f"Process {pid} has ended.\n")
    assert user.pids() == []
    again = user.run("stop", link)
    assert (again.code, "runs in the background;" in again.stderr) == (1, True)


def test_a_share_is_stopped_by_its_process_id(user: User) -> None:
    lines = lines_of(user.run("share", user.file, "--background", "--json").stdout)
    (pid,) = user.pids()
    assert [line["pid"] for line in lines] == [pid, pid]
    lines = lines_of(user.run("stop", pid, "--json").stdout)
    assert lines[-1]["stopped"] == 1


def test_a_share_that_fails_ends_with_its_error(user: User) -> None:
    ended = user.run("share", "nothing", "--background")
    assert (ended.code, ended.stdout) == (1, b"")
    assert ended.stderr == "shoal: There is no file nothing; check its name.\n"
    assert user.pids() == []


def test_a_process_that_was_killed_is_not_stopped_again(user: User) -> None:
    user.run("share", user.file, "--background", "-q")
    (pid,) = user.pids()
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)  # then its lock is released
    assert user.run("stop", pid).code == 1
    assert user.pids() == []


def test_the_background_share_ends_by_itself_with_once(
    user: User, tmp_path: Path
) -> None:
    lines = lines_of(
        user.run("share", user.file, "--background", "--once", "--json").stdout
    )
    peer = f"127.0.0.1:{lines[0]['port']}"
    words = ("get", lines[0]["link"], "-o", tmp_path / "out", "--peer", peer)
    assert run(*words).finish().code == 0
    assert user.log(lines[0]["pid"]).stat().st_mode & 0o777 == 0o600
    wait_for_end(lines[0]["pid"])
    assert user.run("stop", lines[0]["pid"]).code == 1


def test_the_link_is_that_of_the_share(user: User, tmp_path: Path) -> None:
    link = user.run("link", user.file).stdout
    shared = user.run("share", user.file, "--background", "--link-file", "link")
    assert (user.home / "link").read_bytes() == link == shared.stdout
    assert (user.home / "link").stat().st_mode & 0o777 == 0o600
    named = user.run("link", user.file, "--name", "other").stdout
    assert named != link
    assert user.run("stop", link.decode().strip()).code == 0


def test_a_pipe_is_shared_in_the_background(user: User, tmp_path: Path) -> None:
    words = ("share", "-", "--name", "x", "--background", "--once", "--json")
    env = {"XDG_DATA_HOME": str(user.home)}
    with run(*words, env=env, has_input=True) as program:
        program.write_line("from a pipe")
        program.end_input()
        start = lines_of(program.finish().stdout)[0]
    peer = f"127.0.0.1:{start['port']}"
    get = ("get", start["link"], "-o", tmp_path / "out", "--peer", peer)
    assert run(*get).finish().code == 0
    assert (tmp_path / "out").read_text() == "from a pipe\n"
    wait_for_end(start["pid"])
    assert not list(user.home.rglob("spool/*"))


def test_a_background_share_reads_its_limits_again_on_sighup(user: User) -> None:
    config = user.home / "config.toml"
    config.write_text('limit-up = "1M"')
    env = {"XDG_DATA_HOME": str(user.home), "SHOAL_CONFIG": str(config)}
    assert run("share", user.file, "--background", env=env).finish().code == 0
    (pid,) = user.pids()
    config.write_text('limit-up = "2M"')
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE
    while "Limits: up 2.0 MiB/s" not in user.log(pid).read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert user.run("stop", pid).code == 0


def test_python_m_shoal_is_the_command(user: User) -> None:
    help_text = user.run("--help").stdout.decode()  # as `python -m shoal`
    assert help_text.startswith("Usage: shoal [OPTIONS] COMMAND")
    assert " link " in help_text
    assert " stop " in help_text
