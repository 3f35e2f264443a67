"""The progress bar in a real terminal, and plain lines without one."""

import re
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.commands import link_of, peer_of, run, share
from tests.helpers.process import Program
from tests.helpers.terminal import Terminal

RATE = "--limit-down"
COLOR = "\x1b[3"  # the start of each sequence for a foreground colour
FITTED = {
    40: r"\d+ % · [\d.]+ .*B/s.*",
    80: r"a file \[red\].*… ━*─* \d+ % · .*B/s.* · 1 peer",
    120: r"a file \[red\].*… ━*─* \d+ % · .*KiB of 250\.0 KiB · .*B/s.* · 1 peer",
}
"""The line of a download in a terminal of some widths."""
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
    words = ("shoal", *shared.get, RATE, "200K", *words)
    with Terminal(*words, env=env, cwd=tmp_path) as terminal:
        terminal.wait_screen(r"a file \[red\].*… ━*─* \d+ % · .*iB/s.* · 1 peer")
        assert terminal.finish() == 0
        assert (COLOR in terminal.said) is has_color
        last = [rf"{re.escape(NAME)}: 250\.0 KiB in .*", "1 peer, verified", NAME]
        assert re.fullmatch("\n".join(last[:1]), terminal.screen[0])
        assert "".join(terminal.screen[:-1]).endswith(last[1])
        assert terminal.screen[-1] == NAME


@pytest.mark.parametrize("columns", [120, 80, 40])
def test_the_line_fits_a_terminal_that_is_resized_meanwhile(
    columns: int, shared: Shared, tmp_path: Path
) -> None:
    """Whatever the width, one line of the screen shows the download, whole."""
    words = (*shared.get, RATE, "60K")
    with Terminal("shoal", *words, columns=columns, cwd=tmp_path) as terminal:
        for width in (columns, 40, 120, 80, 40):
            terminal.resize(width)
            terminal.wait_screen(FITTED[width])
            assert len(terminal.screen) == 1, terminal.screen


def test_a_message_is_written_above_the_line(shared: Shared, tmp_path: Path) -> None:
    words = (*shared.get, RATE, "100K", "-v")
    with Terminal("shoal", *words, columns=120, cwd=tmp_path) as terminal:
        terminal.wait_screen(FITTED[120])
        assert re.fullmatch(
            r"Connected to 127.0.0.1:\d+ \(peer, direct\)\.", terminal.screen[0]
        )
        assert len(terminal.screen) == 2


def test_the_steps_before_a_download_are_shown(shared: Shared, tmp_path: Path) -> None:
    words: tuple[str, ...] = ("shoal", "get", shared.get[1])
    with Terminal(*words, columns=120, cwd=tmp_path) as terminal:
        terminal.wait_screen("looking for peers.*")
    words = (*words, "--peer", "127.0.0.1:9", "--peer", "127.0.0.1:10")
    with Terminal(*words, columns=120, cwd=tmp_path) as terminal:
        terminal.wait_screen("connecting to 2 peers.*")


def test_the_sender_sees_who_has_everything(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(bytes(3_000_000))
    words = ("share", file.name, "--once", "2")
    home = {"XDG_DATA_HOME": str(tmp_path / "home")}
    with Terminal("shoal", *words, columns=120, cwd=tmp_path, env=home) as terminal:
        terminal.wait_screen("notes.txt: waiting for peers")
        text = "\n".join(terminal.screen)
        link = terminal.screen[0]
        typed = re.search("name this one:\n +shoal (.*)", text)
        assert typed is not None
        assert f"On the other machine:\n  shoal get {link}\n" in text
        get = ["shoal", *shlex.split(typed[1])[:4]]  # the first address, by IPv4
        assert get[2] == link
        for number in ("1", "2"):
            with Terminal(*get, "-o", number, cwd=tmp_path) as receiver:
                assert receiver.finish() == 0
            if number == "1":
                terminal.wait_screen(r".*\d+ peers? · .* · 1 has everything.*")
        assert terminal.finish() == 0
        seen = [re.sub(r":\d+", ":PORT", line) for line in terminal.screen[-3:]]
    assert seen == [
        "127.0.0.1:PORT has everything.",
        "127.0.0.1:PORT has everything. 2 peers have it now.",
        "2 peers have all of notes.txt.",
    ]


def told_command(terminal: Terminal) -> list[str]:
    """Return the words of the command with an address that a terminal shows."""
    terminal.wait_screen(r"  shoal .*--peer .*")
    text = "\n".join(terminal.screen)
    pattern = "On the other machine:\n +shoal .*\n.*name this one:\n +shoal (.*)"
    typed = re.search(pattern, text)
    assert typed is not None, text
    return ["shoal", *shlex.split(typed[1])]


def test_every_command_that_shares_says_what_to_type(tmp_path: Path) -> None:
    """The command of each, pasted without discovery, downloads the file."""
    (tmp_path / "notes.txt").write_bytes(b"notes")
    home = {"XDG_DATA_HOME": str(tmp_path / "home")}
    start = partial(Terminal, columns=200, cwd=tmp_path, env=home)

    def copy(command: list[str], out: str) -> None:
        place = command.index("OUT") - 1 if "OUT" in command else len(command)
        words = [*command[:place], *command[place + 2 :]]
        with Terminal(*words, "-o", out, cwd=tmp_path) as receiver:
            assert receiver.finish() == 0
        assert (tmp_path / out).read_bytes() == b"notes"

    with start("shoal", "share", "notes.txt", "--open", "team notes") as opened:
        copy(told_command(opened), "a")
    with start("shoal", "share", "notes.txt") as sharing:
        get = [*told_command(sharing)[:3], "-o", "b", "--peer", peer_in(sharing)]
        with start(*get, "--seed") as seeding:
            copy(told_command(seeding), "c")
    with start("shoal", "seed") as seed:
        copy(told_command(seed), "d")


def peer_in(terminal: Terminal) -> str:
    """Return the address that a terminal shows."""
    found = re.search(r"--peer (\S+)", "\n".join(terminal.screen))
    assert found is not None
    return found[1]


@pytest.mark.parametrize("words", [(), ("--no-progress",), ("-q",)])
def test_no_control_sequence_is_written_without_a_bar(
    words: tuple[str, ...], shared: Shared, tmp_path: Path
) -> None:
    env = {"TERM": "dumb" if not words else "xterm"}
    with Terminal("shoal", *shared.get, *words, env=env, cwd=tmp_path) as terminal:
        assert terminal.finish() == 0
        summary = rf"{re.escape(NAME)}: 250.0 KiB in .* from 1 peer, verified\r\n"
        summary = "" if words == ("-q",) else summary
        assert re.fullmatch(f"{summary}{re.escape(NAME)}\r\n", terminal.said)


def test_control_characters_in_a_title_are_escaped(tmp_path: Path) -> None:
    evil = tmp_path / "x[red]\x1b]0;owned\x07y"
    evil.write_bytes(bytes(3_000_000))
    words = ("share", evil.name, "--name", "plain")
    with Terminal("shoal", *words, cwd=tmp_path) as terminal:
        terminal.wait("Ctrl-C")
        assert "\x1b]0" not in terminal.said
        assert r"x[red]\x1b]0;owned\x07y " in terminal.said
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
    assert ended.code == 0
    assert re.fullmatch(rf"{re.escape(NAME)}: 250.0 KiB in .*verified\n", ended.stderr)
    assert ended.stdout.decode() == f"{NAME}\n"
