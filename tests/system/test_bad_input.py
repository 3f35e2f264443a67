"""Invalid input: one clear sentence on standard error, and the exit code.

`test_failures` has one case for each exit code; these are the others.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.badpeers import SizesDisagree, WrongHashes
from tests.helpers.commands import peer_of, run, share_open, unprivileged
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
    "an empty folder": Case("share folder", 2, "no file to share"),
    "an empty path": Case("share ''", 2, "PATH is empty"),
    "no path": Case("share", 2, "Missing argument 'PATH'"),
    "a name of 64 hex digits": Case(f"share f --open {HEX}", 2, "64 hex digits"),
    "a name like a link": Case(f"share f --open {'a' * 56}", 2, "read as a link"),
    "a name with spaces around": Case("share f --open ' x'", 2, "white space"),
    "a name with a newline": Case("share f --open 'a\nb'", 2, "control characters"),
    "a name of a MiB/8": Case(f"share f --open {'n' * 100_000}", 2, "at most 1024"),
    "chunk size 0": Case("share f --open --chunk-size 0", 2, "choose 1 to 1677"),
    "chunk size no number": Case("share f --chunk-size x", 2, "'x' is not a size"),
    "chunk size negative": Case("share f --chunk-size -1", 2, "'-1' is not a size"),
    "chunk size over 16 MiB": Case(
        "share f --open --chunk-size 16777217", 2, "choose 1 to 16777216"
    ),
    "chunk size enormous": Case(
        "share f --open --chunk-size 999999999999999G", 2, "choose 1 to 16777216"
    ),
    "port too large": Case("share f --port 70000", 2, "70000"),
    "port variable": Case("share f", 2, "'abc'", {"SHOAL_PORT": "abc"}),
    "flag variable": Case("share f", 2, "'perhaps'", {"SHOAL_LAN_ONLY": "perhaps"}),
    "an empty id": Case("get '' -o out", 2, "id is empty"),
    "an id of white space": Case("get '  ' -o out", 2, "id is empty"),
    "an enormous id": Case(f"get {'n' * 100_000} -o out", 2, "at most 1024 bytes"),
    "a sealed link": Case(f"get {'a' * 56} -o out", 2, "mistyped"),
    "a sealed link with scheme": Case("get shoal:abc -o out", 2, "cut short"),
    "an id that is no text": Case("get 'n\udcff' -o out", 2, "not valid text"),
    "bytes and events": Case("get team -o - --json", 2, "leave out --json"),
    "nothing on stdin": Case("get - -o out", 2, "no link on standard input"),
    "target exists": Case("get team -o f", 6, "f already exists"),
    "target folder exists": Case("get team -o folder", 6, "folder already exists"),
    "target a dangling link": Case("get team -o dangling", 6, "already exists"),
    "no folder for the target": Case(
        "get team -o nodir/out --timeout 30", 1, "There is no folder nodir"
    ),
    "no folder to put it in": Case(
        "get team -C nodir --timeout 30", 1, "There is no folder nodir"
    ),
    "no address": Case("get team -o out --peer foo", 2, "write it as HOST:PORT"),
    "no port": Case("get team -o out --peer foo:0", 2, "number from 1 to 65535"),
    "peer variable": Case("get team -o out", 2, "HOST:PORT", {"SHOAL_PEER": "foo"}),
    "timeout 0": Case("get team -o out --timeout 0", 2, "--timeout"),
    "timeout nan": Case("get team -o out --timeout nan", 2, "--timeout"),
    "timeout no number": Case("get team -o out --timeout soon", 2, "--timeout"),
    "nobody": Case("get team -o out --timeout 0.2", 3, "No data arrived"),
    "a host without address": Case(
        "get team -o out --timeout 1 --peer nosuch.invalid:1", 3, "No data arrived"
    ),
    "a host that cannot be": Case(
        "get team -o out --timeout 1 --peer a..b:1", 2, "'a..b' is not a host name"
    ),
    "no index": Case("chunk team", 2, "LINK INDEX"),
    "index negative": Case("chunk team -1", 2, "'-1' is not a number"),
    "index no number": Case("chunk team x", 2, "'x' is not a number"),
    "index of eleven digits": Case("chunk team 99999999999", 2, "not a number"),
    "index of other digits": Case("chunk team ٣", 2, "not a number"),
    "a chunk as JSON": Case("chunk team 0 --json", 2, "leave out --json"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a file, a folder, a FIFO and a dangling link."""
    root = tmp_path_factory.mktemp("place")
    (root / "f").write_bytes(b"something")
    (root / "folder").mkdir()
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
        *("f", "folder", "fifo", "dangling")
    }


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
        args = [CONTENT.id, *end, "--peer", server.address, "--timeout", 1]
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
