"""Text from other people cannot control the terminal, wherever it is printed.

The real command escapes ESC, line ends and direction marks on standard output, on
standard error and in JSON lines.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.cli.output import printable
from shoal.core.wire.sealed_messages import Goodbye, Hello, Refuse, SealedMessage
from tests.helpers.commands import link_of, peer_of, run, share
from tests.helpers.holder import Holder, Talk, make_holding
from tests.helpers.process import Finished
from tests.helpers.terminal import at_terminal

EVIL = "\x1b[2J\x1b]0;x\x07\u202egpj.exe\nshoal: all is well\x9b31m"
MARK = "\u200f"  # permitted, since real names need it, and invisible
HOLDING = make_holding(50_000)


def assert_plain(ended: Finished) -> None:
    """Check that no printed text can control a terminal."""
    for text in (ended.stdout.decode(), ended.stderr):
        assert all(line.isprintable() for line in text.split("\n")), ascii(text)
        assert "\nshoal: all is well" not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\u202eb", r"a\u202eb"),
        ("a\nb", r"a\nb"),
        ("\x9b31m", r"\x9b31m"),
        ("\u2028", r"\u2028"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
        ("日本 é [b]", "日本 é [b]"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


class SaysEvil(Holder):
    """Send `EVIL` in a message that contains text."""

    first: tuple[SealedMessage, ...] = ()

    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(*self.first)

    def on_request(self, talk: Talk, index: int) -> None:
        talk.send(Refuse(index, EVIL[:64]), Refuse(None, EVIL[:64]))


class EvilGoodbye(SaysEvil):
    first = (Goodbye(EVIL[:64]),)


class EvilRoot(SaysEvil):
    def greet(self, talk: Talk) -> None:
        talk.send(Hello(1, EVIL.encode(), b"\xff"))


class EvilType(SaysEvil):
    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        body = b"\x82\xa4type\xa5" + b"hel\x1b[" + b"\xa4port\xa9" + EVIL.encode()[:9]
        talk.send_raw(bytes([len(body)]) + body)


class EvilAddresses(SaysEvil):
    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        host = EVIL.encode()[:9]
        body = (
            b"\x82\xa4type\xa5peers\xa9addresses\x91\x92\xa9" + host + b"\xcd\x7f\xff"
        )
        talk.send_raw(bytes([len(body)]) + body)


@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
@pytest.mark.parametrize(
    "kind", [SaysEvil, EvilGoodbye, EvilRoot, EvilType, EvilAddresses]
)
async def test_text_from_a_peer_cannot_control_the_terminal(
    kind: type[Holder], as_json: bool, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    async with kind(HOLDING) as evil, Holder(HOLDING) as honest:
        words = ["get", HOLDING.link, "-o", out, "-v", "--timeout", 10]
        words += ["--peer", evil.address, "--peer", honest.address]
        with run(*words, *["--json"] * as_json) as program:
            ended = await asyncio.to_thread(program.finish)
        assert evil.talks, "it got no request"
    assert ended.code == 0, ended.stderr
    assert_plain(ended)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Share a folder with invisible names; yield its link and address."""
    top = tmp_path_factory.mktemp("marked") / f"top{MARK}"
    top.mkdir()
    (top / f"a{MARK}b").write_bytes(b"x")
    with share(top) as program:
        yield link_of(program), peer_of(program)


@pytest.mark.parametrize("command", ["ls", "info", "get"])
@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_names_are_escaped_on_the_terminal_and_exact_in_json(
    command: str, as_json: bool, marked: tuple[str, str], tmp_path: Path
) -> None:
    link, peer = marked
    words = [command, link, "--peer", peer, *["--json"] * as_json]
    ended = run(*words, cwd=tmp_path).finish()
    assert ended.code == 0, ended.stderr
    assert_plain(ended)
    assert rb"\u200f" in ended.stdout
    if as_json:
        last = json.loads(ended.stdout.splitlines()[{"ls": 0}.get(command, -1)])
        said = last.get("path", last.get("name"))
        assert MARK in said
    if command == "get":
        assert (tmp_path / f"top{MARK}" / f"a{MARK}b").read_bytes() == b"x"


@pytest.mark.parametrize(
    "words",
    [
        ("get", f"shoal:{EVIL}"),
        ("get", EVIL, "-o", "out", "--timeout", "0.2"),
        ("get", f"name{MARK}", "-o", "out", "--timeout", "0.2"),
        ("ls", f"shoal:{'a' * 56}?peer={EVIL}"),
        ("share", "fine", "--open", EVIL),
        ("share", EVIL),
        ("get", "name", "-o", f"{EVIL}/out", "--timeout", "0.2"),
        ("get", "name", "-o", "out", "--peer", EVIL),
        (EVIL,),
        ("share", "fine", f"--{EVIL}"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_arguments_cannot_control_the_terminal(
    words: tuple[str, ...], as_json: bool, tmp_path: Path
) -> None:
    (tmp_path / "fine").write_bytes(b"x")
    ended = run(*words, *["--json"] * as_json, cwd=tmp_path).finish()
    assert ended.code != 0
    assert ended.stderr
    assert_plain(ended)


def test_names_in_a_folder_cannot_control_the_terminal(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "fine").write_bytes(b"x")
    (top / EVIL.replace("/", "")).symlink_to("fine")
    os.mkfifo(top / "pipe\x1b[2J")
    with run("share", top) as program:
        program.wait_line("Ctrl-C", stream="err")
        skipped = program.find("is not shared")
        program.send(2)
        ended = program.finish()
    assert len(skipped) >= 2, ended.stderr
    assert_plain(ended)
    (top / "bad\x1b[2Jname").write_bytes(b"x")
    ended = run("share", top).finish()
    assert ended.code == 2
    assert r"\x1b[2J" in ended.stderr
    assert_plain(ended)


@pytest.mark.parametrize("name", ["[bold].bin", "[link=https:evil]x[-link]"])
def test_a_name_is_not_markup_for_the_progress_bar(name: str, tmp_path: Path) -> None:
    shown = at_terminal("get", name, "-o", "out", "--timeout", "0.3", cwd=tmp_path)
    assert "found no peer" in shown
    assert "bug in shoal" not in shown
    assert "\x1b]8" not in shown
    assert printable(name) in shown


@pytest.mark.parametrize("words", [("a\x1b[2J",), ("name", "-o", "a\x1b[2J")])
def test_control_characters_of_a_name_reach_no_terminal(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    shown = at_terminal("get", *words, "--timeout", "0.3", cwd=tmp_path)
    assert "shoal: " in shown
    assert "bug in shoal" not in shown
    assert "\x1b[2J" not in shown
