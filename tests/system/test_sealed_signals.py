"""Ctrl-C and SIGTERM end what is done with a link, whatever that is at the moment.

Within two seconds, with all that was verified kept and the command to go on printed.
"""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import peer_of, run, share
from tests.helpers.process import Finished, Program
from tests.helpers.signals import until_caught

CHUNK = 16_384
SIZE = 200 * CHUNK + 5
SOON = 10.0  # seconds; two are promised, and this machine has other things to do
BOTH = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
NOBODY = "shoal:" + "a" * 56


@pytest.fixture
def slow(make_file: MakeFile) -> Iterator[tuple[str, str]]:
    """Share a file that takes seconds to fetch; give its link and address."""
    source = make_file(SIZE, 5)
    with share(source, "--chunk-size", CHUNK, "--limit-up", "800K") as program:
        yield program.wait_line("^shoal:", stream="out").string, peer_of(program)


@pytest.fixture
def nobody(make_file: MakeFile) -> str:
    """Give the link of a share that nobody has any more."""
    with share(make_file(5, 5), "--new-link") as program:
        return program.wait_line("^shoal:", stream="out").string


def ends(program: Program, signum: int) -> Finished:
    """Send the signal; check how it ends."""
    program.send(signum)
    ended = program.finish(SOON)
    assert ended.code == 128 + signum, ended.stderr
    word = "Interrupted" if signum == signal.SIGINT else "Terminated"
    assert word in ended.stderr
    return ended


@BOTH
def test_get_half_way_keeps_all_and_says_how_to_go_on(
    signum: int, slow: tuple[str, str], tmp_path: Path
) -> None:
    link, peer = slow
    words = ("get", link, "-o", tmp_path / "out", "--peer", peer)
    with run(*words, "--json") as program:
        program.wait_line('"progress"', count=2)
        ended = ends(program, signum)
    again = " ".join(["shoal", *map(str, words)])
    assert f"Run this again to resume: {again}" in ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    said = max(each["done"] for each in events if each["event"] == "progress")
    assert events[-1]["code"] == 128 + signum
    assert not (tmp_path / "out").exists()
    with run(*words, "--json") as program:
        start = json.loads(program.wait_line('"resumed"').string)
    assert start["resumed"] * CHUNK >= said > 0


@BOTH
def test_share_while_it_hashes(signum: int, tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(8 << 30)  # a hole: no disk is used
    with run("share", path, "-v") as program:
        until_busy(program)
        ended = ends(program, signum)
    assert ended.stdout == b"", "it had hashed everything already"


def until_busy(program: Program) -> None:
    """Wait until several threads of it are at work, as hashing ones are."""
    tasks = Path(f"/proc/{program.pid}/task")
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        names = [(each / "comm").read_text() for each in tasks.iterdir()]
        if sum("shoal-hash" in name for name in names) or len(names) >= 3:
            return
        with program._changed:
            program._changed.wait(0.01)
    raise AssertionError("it never began to hash")


@BOTH
def test_get_that_seeds(signum: int, make_file: MakeFile, tmp_path: Path) -> None:
    with share(make_file(SIZE, 6)) as sharing:
        link = sharing.wait_line("^shoal:", stream="out").string
        args = ("get", link, "-o", tmp_path / "out", "--seed")
        with run(*args, "--peer", peer_of(sharing)) as program:
            program.wait_line("Ctrl-C", stream="err")
            ends(program, signum)
    assert (tmp_path / "out").exists()


@BOTH
@pytest.mark.parametrize(
    "words", [("get", "-o"), ("cat",), ("ls",), ("info",), ("verify",), ("chunk", "0")]
)
def test_whatever_waits_for_somebody(
    words: tuple[str, ...], signum: int, nobody: str, tmp_path: Path
) -> None:
    command, *more = words
    out = tmp_path / "out"
    if command == "get":
        more.append(str(out))
    if command == "verify":
        out.write_bytes(b"mine")
        more.append(str(out))
    with run(command, nobody, *more, "--peer", "127.0.0.1:9", "-v") as program:
        until_caught(program)
        ended = ends(program, signum)
    if command == "get":
        assert f"shoal get {nobody} -o {out}" in ended.stderr
        assert not list(tmp_path.glob("*out*"))
