"""Ctrl-C and SIGTERM end every command soon, whatever it is doing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.core.names.address import Address
from shoal.core.names.link import parse_link
from shoal.core.wire.sealed_messages import Goodbye, Hello, Page
from tests.helpers.badpeers import NeverAnswers, StopsHalfway
from tests.helpers.commands import LOOPBACK, peer_of, run, share, share_open
from tests.helpers.fakeserver import Background, FakeServer
from tests.helpers.holder import Holder, make_holding
from tests.helpers.process import Program
from tests.helpers.signals import until_caught
from tests.helpers.wire import Content

CONTENT = Content.make(50_000)
LARGE = Content.make(8 << 20, 4 << 20)
SOON = 10.0  # seconds; two are promised, and this machine has other things to do
BOTH = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT.data)
    return path


def _ends(program: Program, signum: int) -> str:
    """Send the signal; check how it ends and return what it said."""
    program.send(signum)
    ended = program.finish(SOON)
    assert ended.code == 128 + signum, ended.stderr
    word = "Interrupted" if signum == signal.SIGINT else "Terminated"
    assert word in ended.stderr
    return ended.stderr


@BOTH
def test_share_ends(signum: int, source: Path) -> None:
    with share_open(source) as program:
        _ends(program, signum)


@BOTH
def test_share_ends_while_clients_are_connected(
    signum: int, source: Path, tmp_path: Path
) -> None:
    with share_open(source) as server:
        args = (CONTENT.id, "-o", tmp_path / "out", "--peer", peer_of(server))
        with run("get", *args, "--seed") as client:
            client.wait_line("Sharing", stream="err")
            _ends(server, signum)
            _ends(client, signum)


@BOTH
async def test_share_says_goodbye_and_waits_for_nobody_who_does_not_hear_it(
    signum: int, source: Path
) -> None:
    with share(source) as program:
        link = parse_link(program.wait_line(r"shoal:\w+")[0])
        port = int(peer_of(program).split(":")[1])
        holder = Holder(make_holding(1)._replace(link=link))
        holder.greet = lambda talk: talk.send(Hello(0))  # type: ignore[method-assign]
        talk = await holder.dial(Address("127.0.0.1", port))
        # It gives a page only to who has said hello.
        talk.send(Page(0))
        await holder.until(lambda: any(isinstance(m, Page) for m in talk.received))
        _ends(program, signum)  # meanwhile nobody reads or hangs up
        await holder.until(lambda: talk.is_lost)
        assert talk.received[-1] == Goodbye()


@BOTH
def test_share_ends_while_it_hashes(signum: int, tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(4 << 30)  # a hole: no disk is used
    with run("share", path, "--open", "--chunk-size", "1M") as program:
        _wait_for_open(program, path)
        _ends(program, signum)


def _wait_for_open(program: Program, path: Path) -> None:
    folder = Path(f"/proc/{program.pid}/fd")
    for _ in range(2000):
        try:
            if any(os.readlink(fd) == str(path) for fd in folder.iterdir()):
                return
        except OSError:
            pass
        program._process.poll()
        with program._changed:
            program._changed.wait(0.01)
    raise AssertionError("it never opened the file")


@BOTH
def test_get_ends_while_it_waits_for_somebody(signum: int, tmp_path: Path) -> None:
    with run("get", CONTENT.id, "-o", tmp_path / "out", "--json") as program:
        until_caught(program)
        said = _ends(program, signum)
    assert f"shoal get {CONTENT.id} -o" in said
    assert not list(tmp_path.iterdir())


@BOTH
def test_get_ends_half_way_and_says_how_to_go_on(signum: int, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with Background(lambda: StopsHalfway(CONTENT, 20)) as server:
        args = (CONTENT.id, "-o", target, "--peer", server.address)
        with run("get", *args, "--json") as program:
            # The last chunk, of 848 bytes, is asked for first.
            program.wait_line(r'"done": ?20304\b')
            said = _ends(program, signum)
        assert "Run this again to resume: shoal get" in said
        answered = set(server.requests[:20])
    with Background(lambda: FakeServer(CONTENT)) as server:
        with run("get", *args[:-1], server.address) as program:
            assert program.finish().code == 0
        assert sorted(server.requests) == sorted(set(range(49)) - answered)
    assert target.read_bytes() == CONTENT.data


@BOTH
def test_chunk_ends_while_it_waits_for_an_answer(signum: int) -> None:
    background = Background(lambda: NeverAnswers(CONTENT))
    with background as server:
        with run("chunk", CONTENT.id, "3", "--peer", server.address) as program:
            background.wait_until(lambda: bool(server.requests))
            _ends(program, signum)


@BOTH
@pytest.mark.parametrize("command", ["share", "get", "chunk"])
def test_signals_count_even_if_they_were_ignored_before(
    command: str, signum: int, source: Path
) -> None:
    words = {
        "share": ["share", str(source)],
        "get": ["get", CONTENT.id, "-o", f"{source}.new"],
        "chunk": ["chunk", CONTENT.id, "0"],
    }[command]
    # As a shell starts what it puts in the background.
    script = 'trap "" INT TERM; exec "$@"'
    line = ["sh", "-c", script, "sh", sys.executable, "-m", "shoal", *words]
    with Program(line, env={**os.environ, **LOOPBACK}) as program:
        until_caught(program)
        _ends(program, signum)


@pytest.fixture
def large(tmp_path: Path) -> Iterator[list[str]]:
    """Share something larger than any pipe; give the words that name it."""
    path = tmp_path / "large"
    path.write_bytes(LARGE.data)
    with share_open(path, "--chunk-size", LARGE.chunk_size) as server:
        yield [LARGE.id, "--peer", peer_of(server)]


@BOTH
@pytest.mark.parametrize("command", ["get", "chunk"])
def test_a_reader_that_does_not_read_holds_nobody_up(
    command: str, signum: int, large: list[str]
) -> None:
    more = ["-o", "-"] if command == "get" else ["1"]
    line = [sys.executable, "-m", "shoal", command, large[0], *more, *large[1:]]
    reading, writing = os.pipe()
    process = subprocess.Popen(
        line, stdout=writing, stderr=subprocess.DEVNULL, env={**os.environ, **LOOPBACK}
    )
    os.close(writing)
    try:
        assert os.read(reading, 1)  # it writes now, and nobody reads on
        process.send_signal(signum)
        assert process.wait(SOON) == 128 + signum
    finally:
        process.kill()
        process.wait(SOON)
        os.close(reading)


@pytest.mark.parametrize("module", ["shoal.errors", "click.core", "asyncio"])
def test_a_signal_while_it_is_being_loaded_leaves_no_traceback(
    module: str, tmp_path: Path
) -> None:
    words = ["get", CONTENT.id, "-o", str(tmp_path / "out")]
    line = [sys.executable, "-X", "importtime", "-m", "shoal", *words]
    with Program(line, env={**os.environ, **LOOPBACK}) as program:
        program.wait_line(rf"\| +{module}$", stream="err")
        program.send(signal.SIGINT)
        ended = program.finish(SOON)
    assert ended.code == 130
    assert "Interrupted" in ended.stderr
