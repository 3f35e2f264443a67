"""Interrupted downloads keep their verified chunks; progress is drawn or printed."""

from pathlib import Path

import pytest

from tests.helpers.badpeers import StopsHalfway
from tests.helpers.commands import run
from tests.helpers.fakeserver import Background, FakeServer
from tests.helpers.terminal import at_terminal
from tests.helpers.wire import Content

CONTENT = Content.make(100_000)


def test_after_a_kill_only_missing_chunks_are_fetched(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("extra", [[], ["--no-progress"], ["--color", "never"]])
def test_a_terminal_shows_a_progress_bar(extra: list[str], tmp_path: Path) -> None:
    with Background(lambda: StopsHalfway(CONTENT, 50)) as server:
        words = [CONTENT.id, "-o", "out", "--peer", str(server.address)]
        said = at_terminal("get", *words, "--timeout", "1", *extra, cwd=tmp_path)
    assert ("━" in said) is (extra != ["--no-progress"])
    assert "run the same command again" in " ".join(said.split())
    if "never" in extra:
        assert "\x1b[3" not in said  # no colours


def test_a_pipe_receives_plain_lines(tmp_path: Path) -> None:
    with Background(lambda: FakeServer(CONTENT)) as server:
        args = (CONTENT.id, "-o", tmp_path / "out", "--peer", server.address, "-v")
        with run("get", *args) as program:
            ended = program.finish()
    assert "\x1b" not in ended.stderr
    assert "\r" not in ended.stderr
    assert f"Connected to {server.address} (peer)." in ended.stderr
