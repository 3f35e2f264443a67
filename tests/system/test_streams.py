"""Standard streams that are closed, full, or whose reader has gone; and SIGHUP."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.commands import LOOPBACK, in_shell, peer_of, run, share
from tests.helpers.programs import sharer_home
from tests.helpers.signals import until_caught

SIZE = 300_000
SOON = 10.0  # seconds
FILES = 3_000  # more lines than a pipe holds


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture(scope="module")
def shared(source: Path) -> Iterator[tuple[str, ...]]:
    """Share a file; give its link and the option with its address."""
    with share(source) as program:
        link = program.wait_line("^shoal:", stream="out").string
        yield link, "--peer", peer_of(program)


def test_get_works_with_all_streams_closed(
    source: Path, shared: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with in_shell('exec "$@" <&- >&- 2>&-', "get", *shared, "-o", out) as program:
        assert program.finish().code == 0
    assert out.read_bytes() == source.read_bytes()


def test_share_works_with_all_streams_closed(source: Path, tmp_path: Path) -> None:
    with share(source) as first:
        link = first.wait_line("^shoal:", stream="out").string
        peer = peer_of(first)
    port = peer.partition(":")[2]
    script = f'export XDG_DATA_HOME={sharer_home()}; exec "$@" <&- >&- 2>&-'
    with in_shell(script, "share", source, "--port", port) as program:
        out = tmp_path / "out"
        with run("get", link, "-o", out, "--peer", peer) as get:
            assert get.finish().code == 0
        streams = [os.readlink(f"/proc/{program.pid}/fd/{fd}") for fd in range(3)]
        assert streams == [os.devnull] * 3
    assert out.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_single_closed_stream_changes_no_other(
    closed: str, shared: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with in_shell(f'exec "$@" {closed}', "get", *shared, "-q", "-o", out) as program:
        ended = program.finish()
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout == (b"" if closed == ">&-" else f"{out}\n".encode())


def test_messages_that_cannot_be_written_are_lost_and_nothing_else(
    shared: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with in_shell('exec "$@" 2>/dev/full', "get", *shared, "-o", out, "-v") as program:
        assert program.finish().code == 0
    with in_shell('exec "$@" 2>/dev/full', "get", "shoal:wrong") as program:
        assert program.finish().code == 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["get {} -o -", "cat {}", "chunk {} 0"])
def test_a_file_that_may_not_grow_is_called_that(
    words: str, unbuffered: str, shared: tuple[str, ...], tmp_path: Path
) -> None:
    # An unbuffered stream writes a part without an error.
    out = shlex.quote(str(tmp_path / "out"))
    limit = f"export PYTHONUNBUFFERED={unbuffered}; ulimit -f 1"
    script = f'{limit}; exec "$@" >{out}'
    link, *peer = shared
    with in_shell(script, *words.format(link).split(), *peer) as program:
        ended = program.finish()
    assert ended.code == 1
    assert "largest size allowed" in ended.stderr or "ulimit -f" in ended.stderr
    assert "bug" not in ended.stderr


def test_a_target_that_may_not_grow_is_called_that(
    shared: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with in_shell('ulimit -f 8; exec "$@"', "get", *shared, "-o", out) as program:
        ended = program.finish()
    assert ended.code == 1
    assert "would be larger than is allowed here; raise the limit" in ended.stderr


def _until_reader_leaves(*args: object) -> tuple[int, bytes]:
    """Run a command whose reader leaves after a line; return code and messages."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_")}
    with subprocess.Popen(
        [sys.executable, "-m", "shoal", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**clean, **LOOPBACK},
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.readline()
        program.stdout.close()
        said = program.stderr.read()
    return program.returncode, said


@pytest.mark.parametrize("as_json", [False, True])
def test_a_listing_ends_quietly_when_its_reader_leaves(
    as_json: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"a rather long name of a file {number:06}").touch()
    with share(folder) as program:
        link = program.wait_line("^shoal:", stream="out").string
        words = ["ls", link, "--peer", peer_of(program), *["--json"] * as_json]
        assert _until_reader_leaves(*words) == (141, b"")


def test_cat_ends_quietly_when_its_reader_leaves(shared: tuple[str, ...]) -> None:
    assert _until_reader_leaves("cat", *shared) == (141, b"")


def test_a_closed_terminal_ends_a_command_like_other_signals(
    shared: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with run("get", *shared, "-o", out, "--limit-down", "1K", "--json") as program:
        program.wait_line('"start"')
        program.send(signal.SIGHUP)
        ended = program.finish(SOON)
    assert ended.code == 128 + signal.SIGHUP
    assert "The terminal was closed. Run this again to resume" in ended.stderr


def test_nohup_keeps_a_command_running(source: Path, tmp_path: Path) -> None:
    with in_shell('trap "" HUP; exec "$@"', "share", source) as program:
        program.wait_line("Ctrl-C", stream="err")
        program.send(signal.SIGHUP)
        link = program.wait_line("^shoal:", stream="out").string
        out = tmp_path / "out"
        with run("get", link, "-o", out, "--peer", peer_of(program)) as get:
            assert get.finish().code == 0
        until_caught(program)
        program.send(signal.SIGTERM)
        assert program.finish(SOON).code == 128 + signal.SIGTERM
