"""Ctrl-C and SIGTERM end every command soon, at any stage."""

import json
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
from tests.conftest import MakeFile
from tests.helpers.badpeers import NeverAnswers, StopsHalfway
from tests.helpers.commands import LOOPBACK, link_of, peer_of, run, share, share_open
from tests.helpers.fakeserver import Background, FakeServer
from tests.helpers.holder import Holder, make_holding
from tests.helpers.process import Program
from tests.helpers.signals import BOTH, SOON, ends, until_caught
from tests.helpers.wire import Content

CONTENT = Content.make(50_000)
LARGE = Content.make(8 << 20, 4 << 20)
CHUNK = 16_384


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT.data)
    return path


@BOTH
def test_share_ends(signum: int, source: Path) -> None:
    with share_open(source) as program:
        ends(program, signum)


@BOTH
def test_share_ends_while_clients_are_connected(
    signum: int, source: Path, tmp_path: Path
) -> None:
    with share_open(source) as server:
        args = (CONTENT.id, "-o", tmp_path / "out", "--peer", peer_of(server))
        with run("get", *args, "--seed") as client:
            client.wait_line("Sharing", stream="err")
            ends(server, signum)
            ends(client, signum)


@BOTH
async def test_share_sends_goodbye_and_does_not_wait_for_a_peer_that_does_not_read(
    signum: int, source: Path
) -> None:
    with share(source) as program:
        link = parse_link(program.wait_line(r"shoal:\w+")[0])
        port = int(peer_of(program).split(":")[1])
        holder = Holder(make_holding(1)._replace(link=link))
        holder.greet = lambda talk: talk.send(Hello(0))  # type: ignore[method-assign, assignment]
        talk = await holder.dial(Address("127.0.0.1", port))
        # A page arrives only after the hello message was processed.
        talk.send(Page("hashes", 0, 0))
        await holder.until(lambda: any(isinstance(m, Page) for m in talk.received))
        ends(program, signum)  # meanwhile the holder neither reads nor disconnects
        await holder.until(lambda: talk.is_lost)
        assert talk.received[-1] == Goodbye()


@BOTH
@pytest.mark.parametrize("options", [("--open", "--chunk-size", "1M"), ()])
def test_share_ends_while_it_hashes(
    options: tuple[str, ...], signum: int, tmp_path: Path
) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(8 << 30)  # a sparse file
    with run("share", path, *options) as program:
        _wait_for_open(program, path)
        ended = ends(program, signum)
    assert ended.stdout == b"", "it had already hashed everything"


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
    raise AssertionError("it did not open the file")


@pytest.fixture
def link_without_peers(make_file: MakeFile) -> str:
    """Return the link of a share that no peer has any more."""
    with share(make_file(5, 5), "--new-link") as program:
        return link_of(program)


@BOTH
@pytest.mark.parametrize(
    ("is_open", "words"),
    [
        *((False, (command,)) for command in ("cat", "ls", "info", "verify")),
        *((is_open, ("get", "-o")) for is_open in (False, True)),
        *((is_open, ("chunk", "0")) for is_open in (False, True)),
    ],
)
def test_a_command_that_waits_for_peers_ends(
    is_open: bool,
    words: tuple[str, ...],
    signum: int,
    link_without_peers: str,
    tmp_path: Path,
) -> None:
    command, *more = words
    share_id = CONTENT.id if is_open else link_without_peers
    out = tmp_path / "out"
    if command == "get":
        more.append(str(out))
    if command == "verify":
        out.write_bytes(b"mine")
        more.append(str(out))
    with run(command, share_id, *more, "--peer", "127.0.0.1:9", "-v") as program:
        until_caught(program)
        ended = ends(program, signum)
    if command == "get":
        assert f"shoal get {share_id} -o {out}" in ended.stderr
        assert not list(tmp_path.glob("*out*"))


@BOTH
def test_get_of_a_channel_keeps_its_chunks(signum: int, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with Background(lambda: StopsHalfway(CONTENT, 20)) as server:
        args = (CONTENT.id, "-o", target, "--peer", server.address)
        with run("get", *args, "--json") as program:
            # The last chunk, of 848 bytes, is requested first.
            program.wait_line(r'"done": ?20304\b')
            ended = ends(program, signum)
        assert "Run this again to resume: shoal get" in ended.stderr
        answered = set(server.requests[:20])
    with Background(lambda: FakeServer(CONTENT)) as server:
        assert run("get", *args[:-1], server.address).finish().code == 0
        assert sorted(server.requests) == sorted(set(range(49)) - answered)
    assert target.read_bytes() == CONTENT.data


@BOTH
def test_get_of_a_sealed_share_keeps_its_chunks(
    signum: int, make_file: MakeFile, tmp_path: Path
) -> None:
    source = make_file(200 * CHUNK + 5, 5)
    with share(source, "--chunk-size", CHUNK, "--limit-up", "800K") as slow:
        words = ("get", link_of(slow), "-o", tmp_path / "out", "--peer", peer_of(slow))
        with run(*words, "--json") as program:
            program.wait_line('"progress","done":[1-9]')
            ended = ends(program, signum)
        again = " ".join(["shoal", *map(str, words)])
        assert f"Run this again to resume: {again}" in ended.stderr
        events = [json.loads(line) for line in ended.stdout.splitlines()]
        reported = max(each["done"] for each in events if each["event"] == "progress")
        assert events[-1]["code"] == 128 + signum
        assert not (tmp_path / "out").exists()
        with run(*words, "--json") as program:
            start = json.loads(program.wait_line('"resumed"').string)
        assert start["resumed"] * CHUNK >= reported > 0


@BOTH
def test_get_that_seeds_ends(signum: int, make_file: MakeFile, tmp_path: Path) -> None:
    with share(make_file(200 * CHUNK + 5, 6)) as sharing:
        args = ("get", link_of(sharing), "-o", tmp_path / "out", "--seed")
        with run(*args, "--peer", peer_of(sharing)) as program:
            program.wait_line("Ctrl-C", stream="err")
            ends(program, signum)
    assert (tmp_path / "out").exists()


@BOTH
def test_chunk_ends_while_it_waits_for_an_answer(signum: int) -> None:
    background = Background(lambda: NeverAnswers(CONTENT))
    with background as server:
        with run("chunk", CONTENT.id, "3", "--peer", server.address) as program:
            background.wait_until(lambda: bool(server.requests))
            ends(program, signum)


@BOTH
@pytest.mark.parametrize("command", ["share", "get", "chunk"])
def test_signals_that_the_parent_ignores_end_a_command(
    command: str, signum: int, source: Path
) -> None:
    words = {
        "share": ["share", str(source)],
        "get": ["get", CONTENT.id, "-o", f"{source}.new"],
        "chunk": ["chunk", CONTENT.id, "0"],
    }[command]
    # A shell starts background commands like this.
    script = 'trap "" INT TERM; exec "$@"'
    line = ["sh", "-c", script, "sh", sys.executable, "-m", "shoal", *words]
    with Program(line, env={**os.environ, **LOOPBACK}) as program:
        until_caught(program)
        ends(program, signum)


@pytest.fixture
def large(tmp_path: Path) -> Iterator[list[str]]:
    """Share a file larger than any pipe; yield the arguments that name it."""
    path = tmp_path / "large"
    path.write_bytes(LARGE.data)
    with share_open(path, "--chunk-size", LARGE.chunk_size) as server:
        yield [LARGE.id, "--peer", peer_of(server)]


@BOTH
@pytest.mark.parametrize("command", ["get", "chunk"])
def test_a_pipe_that_is_not_read_does_not_delay_the_end(
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
        assert os.read(reading, 1)  # the command has started to write
        process.send_signal(signum)
        assert process.wait(SOON) == 128 + signum
    finally:
        process.kill()
        process.wait(SOON)
        os.close(reading)


@pytest.mark.parametrize("module", ["shoal.errors", "click.core", "asyncio"])
def test_a_signal_while_modules_load_leaves_no_traceback(
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
