"""Invalid input: one clear sentence on standard error, and the exit code.

`test_failures` has cases for each exit code, `tests/cli/test_command_line.py` those of
mistyped words and values; these are the others.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.badpeers import SizesDisagree, WrongHashes
from tests.helpers.commands import (
    link_of,
    peer_of,
    run,
    share,
    share_open,
    unprivileged,
)
from tests.helpers.fakeserver import Background, FakeServer, NodeServer
from tests.helpers.netns import Namespace
from tests.helpers.process import Finished
from tests.helpers.programs import shoal
from tests.helpers.wire import Content

HEX = "3b" * 32
CONTENT = Content.make(5000)


class Case(NamedTuple):
    """One command line, with its exit code and message."""

    args: str
    code: int
    message: str
    env: dict[str, str] | None = None


CASES = {
    "a folder": Case("share folder --open", 2, "folder is a folder"),
    "a FIFO": Case("share fifo", 2, "fifo is not a regular file"),
    "a device": Case("share /dev/zero", 2, "/dev/zero is not a regular file"),
    "an empty folder": Case("share folder", 2, "There is no file in /"),
    "an empty path": Case("share ''", 2, "PATH is empty"),
    "a name of 64 hex digits": Case(
        f"share f --open {HEX}", 2, "hex digits would be read"
    ),
    "a name like a link": Case(f"share f --open {'a' * 56}", 2, "read as a link"),
    "a name with spaces around": Case("share f --open ' x'", 2, "white space"),
    "a name with a newline": Case("share f --open 'a\nb'", 2, "control characters"),
    "a name of a MiB/8": Case(f"share f --open {'.-' * 50_000}", 2, "at most 1024"),
    "chunk size 0": Case("share f --open --chunk-size 0", 2, "choose 1 to 1677"),
    "chunk size over 16 MiB": Case(
        "share f --open --chunk-size 16777217", 2, "choose 1 to 16777216"
    ),
    "chunk size enormous": Case(
        "share f --open --chunk-size 999999999999999G", 2, "choose 1 to 16777216"
    ),
    "port variable": Case("share f", 2, "'abc'", {"SHOAL_PORT": "abc"}),
    "an empty folder that we are in": Case(
        "share folder/.", 2, "/folder; a share has at least one."
    ),
    "patterns that select no file": Case(
        "share folder --include x", 2, "check --include and --exclude."
    ),
    "several names that no share has": Case(
        "share bad",
        2,
        "2 files cannot be shared: 'aux.c' cannot exist on Windows, where AUX is a "
        "device; 'b:c' has ':' in it. Rename or exclude them.",
    ),
    "one name that no share has": Case(
        "share bad --exclude aux.c",
        2,
        "This file cannot be shared: 'b:c' has ':' in it. Rename or exclude it.",
    ),
    "a limit with a fraction": Case(
        "get team -o out --limit-down 1.5M --timeout 0.2", 3, "No data arrived"
    ),
    "no folder for the link": Case("share f --link-file no/l", 1, "no folder no for"),
    "a folder for the link": Case("share f --link-file folder", 1, "name a file for"),
    "no name for the link": Case("share f --link-file ''", 2, "--link-file is empty"),
    "no folder name for the link": Case("share f --link-file /", 1, "name a file for"),
    "no name": Case("share f --name ''", 2, "The value of --name is empty; write one"),
    "no address of a peer": Case("share f --peer ''", 2, "value of --peer is empty"),
    "once a fraction": Case("share f --once 3.5", 2, "'3.5' is not a number from 1"),
    "a part of a code": Case("get 4821-purity", 2, "looks like a code, but a code"),
    "no command": Case("''", 2, "The name of the command is empty. See shoal --help."),
    "a variable as an option": Case(
        "share f --interfaces lo", 2, "is not an option; set SHOAL_INTERFACES"
    ),
    "a name in place of a link": Case("ls team", 2, "team is not a link, which begins"),
    "a channel in place of a link": Case(f"info {HEX}", 2, "is an open channel. This"),
    "the link of a pipe": Case("link -", 2, "shoal share - --name NAME"),
    "more relays than fit into a link": Case(
        "share f --relay a:1 --relay b:1 --relay c:1", 2, "at most 2 relays"
    ),
    "the link with more relays": Case(
        "link f --relay a:1 --relay b:1 --relay c:1", 2, "--relay names 3; remove some"
    ),
    "an empty id": Case("get '' -o out", 2, "LINK is empty; paste the link"),
    "an id of white space": Case("get '  ' -o out", 2, "LINK is empty"),
    "an empty id of a share": Case("ls ''", 2, "LINK is empty"),
    "no link": Case(
        "get notalink",
        2,
        "'notalink' is not a link, which begins with `shoal:`; copy the link again. If "
        "it is the name of an open channel, add -o OUT.",
    ),
    "a hash channel without a target": Case(f"get {HEX}", 2, "with -o OUT"),
    "an enormous id": Case(f"get {'.-' * 50_000} -o out", 2, "at most 1024 bytes"),
    "a sealed link with scheme": Case("get shoal:abc -o out", 2, "cut short"),
    "an id that is no text": Case("get 'n\udcff' -o out", 2, "not valid text"),
    "a chunk as JSON": Case("chunk team 0 --json", 2, "leave out --json"),
    "bytes and events": Case("get team -o - --json", 2, "leave out --json"),
    "nothing on stdin": Case("get - -o out", 2, "no link on standard input"),
    "target folder exists": Case("get team -o folder", 6, "folder already exists"),
    "target a dangling link": Case("get team -o dangling", 6, "already exists"),
    "no folder to put it in": Case(
        "get team -C /dev/null/in --timeout 30", 1, "(Not a directory); fix"
    ),
    "a host without address": Case(
        "get team -o out --timeout 1 --peer nosuch.invalid:1", 3, "No data arrived"
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a file, a folder, a FIFO and a dangling link."""
    root = tmp_path_factory.mktemp("place")
    (root / "f").write_bytes(b"something")
    (root / "folder").mkdir()
    (root / "bad").mkdir()
    for name in ("aux.c", "b:c", "good"):
        (root / "bad" / name).write_bytes(b"x")
    os.mkfifo(root / "fifo")
    (root / "dangling").symlink_to("nowhere")
    return root


def _check_failure(ended: Finished, code: int, message: str) -> None:
    assert ended.code == code, ended.stderr
    # With --json, standard output has one line with the error and nothing else.
    assert re.fullmatch(rb'({"v": ?1, ?"event": ?"error".*\n)?', ended.stdout)
    lines = [
        line
        for line in ended.stderr.splitlines()
        if line
        and "is the name of an open channel, which" not in line
        and not re.match("shoal: Banned [0-9.:]+: ", line)
    ]
    assert len(lines) == 1, lines
    assert lines[0].startswith("shoal: ")
    assert message in lines[0]


@pytest.mark.parametrize("name", CASES)
def test_invalid_input_has_its_message_and_exit_code(name: str, place: Path) -> None:
    case = CASES[name]
    with run(*shlex.split(case.args), env=case.env, cwd=place) as program:
        _check_failure(program.finish(), case.code, case.message)
    assert {path.name for path in place.iterdir()} == {
        *("f", "folder", "bad", "fifo", "dangling")
    }


@pytest.mark.parametrize(("path", "end"), [("", "."), ("é", "; choose another one")])
def test_a_name_that_the_locale_cannot_read_is_told(
    tmp_path: Path, path: str, end: str
) -> None:
    (tmp_path / "é").touch()
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    message = f"needs a UTF-8 locale (set LC_ALL=C.UTF-8){end}"
    _check_failure(run("share", tmp_path / path, env=env).finish(), 2, message)


def test_a_name_is_printed_in_the_locale_c(tmp_path: Path) -> None:
    (tmp_path / "é.txt").write_bytes(b"x")
    with run("share", tmp_path / "é.txt", env={"LC_ALL": "C"}) as program:
        link = program.wait_line("^shoal:", stream="out").string
        program.wait_line(r"Sharing é.txt \(1 B\) on port")
        words = ("get", link, "-o", tmp_path / "x", "--peer", peer_of(program))
        ended = run(*words, env={"LC_ALL": "C"}).finish()
        assert (ended.code, "é.txt: 1 B in " in ended.stderr) == (0, True)


def test_a_folder_of_a_share_has_no_bytes_to_write(tmp_path: Path) -> None:
    (tmp_path / "top" / "logs").mkdir(parents=True)
    (tmp_path / "top" / "logs" / "today").write_bytes(b"x")
    with share(tmp_path / "top") as program:
        for path in ("logs", "logs/"):
            words = ("cat", link_of(program), path, "--peer", peer_of(program))
            message = "'logs' is a folder of the share; name one of its files. shoal ls"
            _check_failure(run(*words).finish(), 2, message)
        words = ("cat", link_of(program), "no", "--peer", peer_of(program))
        message = "There is no 'no' in the share; shoal ls lists its files."
        _check_failure(run(*words).finish(), 3, message)


def test_an_unfinished_download_says_once_how_to_resume(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(200_000))
    words = (tmp_path / "file", "--limit-up", 1, "--chunk-size", "16K")
    with share(*words) as program:
        args = ("get", link_of(program), "-o", tmp_path / "out", "--timeout", 2)
        ended = run(*args, "--peer", peer_of(program)).finish()
    assert ended.code == 7
    last = ended.stderr.splitlines()[-1]
    assert "are kept. Run this again to resume: shoal get shoal:" in last
    assert last.count("again") == 1


def test_an_unreadable_file_ends_with_exit_code_4(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(0)
    _check_failure(unprivileged("share", path).finish(), 4, "secret")


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[list[object]]:
    """Yield the arguments of `chunk` and `get` that name a share."""
    path = tmp_path / "shared"
    path.write_bytes(CONTENT.data)
    with share_open(path) as program:
        yield [CONTENT.id, "--peer", peer_of(program)]


def test_get_overwrites_an_existing_target_only_with_force(
    shared: list[object], tmp_path: Path
) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"mine")
    _check_failure(run("get", *shared, "-o", target).finish(), 6, "-f")
    assert target.read_bytes() == b"mine"
    assert run("get", *shared, "-o", target, "-f").finish().code == 0
    assert target.read_bytes() == CONTENT.data


@pytest.mark.parametrize("kind", [WrongHashes, SizesDisagree])
@pytest.mark.parametrize("command", ["get", "chunk"])
def test_a_handshake_that_does_not_match_the_id_ends_with_exit_code_5(
    kind: type[FakeServer], command: str, tmp_path: Path
) -> None:
    end = ["-o", tmp_path / "out"] if command == "get" else ["1"]
    with Background(lambda: kind(CONTENT)) as server:
        args = [CONTENT.id, *end, "--peer", server.address, "--timeout", 2]
        _check_failure(run(command, *args).finish(), 5, "does not match the id")


def test_get_suggests_shoal_chunk_if_no_server_reports_the_size(tmp_path: Path) -> None:
    with Background(lambda: NodeServer(CONTENT)) as server:
        args = ["team", "-o", tmp_path / "out", "--peer", server.address]
        _check_failure(run("get", *args).finish(), 1, "shoal chunk")


def test_the_message_mentions_that_the_dht_cannot_be_reached(
    namespace: Namespace,
) -> None:
    namespace.run("ip", "link", "set", "lo", "multicast", "off")
    namespace.run("ip", "route", "del", "default")
    env = {"SHOAL_DHT_BOOTSTRAP": "127.0.0.1:9"}
    args = ["chunk", HEX, "0", "--timeout", "6"]
    ended = shoal(*args, ns=namespace, env=env).finish()
    assert ended.code == 3
    assert "DHT" in ended.stderr
