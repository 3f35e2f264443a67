"""The progress bar in a real terminal, and plain lines without one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.commands import link_of, peer_of, run, share
from tests.helpers.process import Program
from tests.helpers.terminal import Terminal

RATE = "--limit-down"
COLOR = "\x1b[3"  # the start of each sequence for a foreground colour
BAR = "\x1b[2K"  # wipes a line before it is redrawn
NAME = "a file [red] of many words and quite a long name é.bin"


class Shared:
    """A shared file, and the command that downloads it."""

    def __init__(self, program: Program) -> None:
        link = link_of(program)
        self.get = ("get", link, "--peer", peer_of(program), RATE, "1M")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    file = tmp_path_factory.mktemp("terminal") / NAME
    file.write_bytes(bytes(range(256)) * 1000)
    with share(file, "--chunk-size", "16K") as program:
        yield Shared(program)


def _lines(screen: str) -> list[str]:
    """Return the lines that were drawn, without control sequences."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    return [line for line in re.split(r"[\r\n]+", plain) if line.strip()]


@pytest.mark.parametrize(
    ("env", "words", "has_color"),
    [
        ({}, (), True),
        ({}, ("--color", "never"), False),
        ({"NO_COLOR": "1"}, (), False),
        ({"NO_COLOR": "1"}, ("--color", "always"), True),
        ({"SHOAL_COLOR": "never"}, (), False),
    ],
)
def test_a_bar_is_drawn_and_wiped(
    env: dict[str, str],
    words: tuple[str, ...],
    has_color: bool,
    shared: Shared,
    tmp_path: Path,
) -> None:
    with Terminal("shoal", *shared.get, *words, env=env, cwd=tmp_path) as terminal:
        assert terminal.finish() == 0
        screen = terminal.said
    assert BAR in screen
    assert (COLOR in screen) is has_color
    assert re.search(r"250\.0 KiB .*iB/s from 1", "\n".join(_lines(screen)))
    assert max(map(len, _lines(screen))) <= 80
    assert screen.endswith(f"{BAR}{NAME}\r\n")


def test_the_bar_fits_on_one_line_of_a_narrow_terminal(
    shared: Shared, tmp_path: Path
) -> None:
    with Terminal("shoal", *shared.get, columns=40, cwd=tmp_path) as terminal:
        assert terminal.finish() == 0
        screen = terminal.said
    drawn = [line for line in _lines(screen) if "%" in line]
    assert drawn
    assert max(map(len, drawn)) <= 40
    assert "100 %" in drawn[-1]
    assert "\x1b[1A\x1b[2K\x1b[1A" not in screen, "the bar took more than one line"


def test_the_bar_becomes_shorter_when_the_terminal_does(
    shared: Shared, tmp_path: Path
) -> None:
    words = (*shared.get, RATE, "200K")
    with Terminal("shoal", *words, cwd=tmp_path) as terminal:
        terminal.wait(r"/250\.0 KiB")
        terminal.resize(40)
        terminal.wait(r"\d %")
        terminal.resize(100)
        terminal.wait(r"/250\.0 KiB")
        assert terminal.finish() == 0


@pytest.mark.parametrize("words", [(), ("--no-progress",), ("-q",)])
def test_no_control_sequence_is_written_without_a_bar(
    words: tuple[str, ...], shared: Shared, tmp_path: Path
) -> None:
    env = {"TERM": "dumb" if not words else "xterm"}
    with Terminal("shoal", *shared.get, *words, env=env, cwd=tmp_path) as terminal:
        assert terminal.finish() == 0
        assert terminal.said == f"{NAME}\r\n"


def test_control_characters_in_a_title_are_escaped(tmp_path: Path) -> None:
    evil = tmp_path / "x[red]\x1b]0;owned\x07y"
    evil.write_bytes(bytes(3_000_000))
    words = ("share", evil.name, "--name", "plain")
    with Terminal("shoal", *words, cwd=tmp_path) as terminal:
        terminal.wait("Ctrl-C")
        assert "\x1b]0" not in terminal.said
        assert _lines(terminal.said)[0].startswith(r"x[red]\x1b]0;owned\x07y ")
        terminal.send("\x03")
        assert terminal.finish() == 130


def test_characters_that_the_encoding_lacks_are_escaped(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "日本"
    folder.mkdir()
    (folder / "é 日.txt").write_text("x")
    with share(folder) as server:
        link = link_of(server)
        peer = ("--peer", peer_of(server))
        env = {"PYTHONIOENCODING": "latin-1"}
        ended = run("ls", link, *peer, env=env).finish()
        assert (ended.code, ended.stderr) == (0, "")
        assert ended.stdout.decode("latin-1").endswith("- é \\u65e5.txt\n")
        ended = run("get", link, *peer, env=env, cwd=tmp_path / "日本").finish()
        assert (ended.code, ended.stdout) == (0, b"\\u65e5\\u672c\n")


def test_a_log_has_neither_bar_nor_colour(shared: Shared, tmp_path: Path) -> None:
    ended = run(*shared.get, "--color", "always", cwd=tmp_path).finish()
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.decode() == f"{NAME}\n"
