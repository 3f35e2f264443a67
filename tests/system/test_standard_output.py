"""`get -o -` streams: little memory, nothing on the disk, nothing left behind."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.core.report.units import format_size
from tests.helpers.commands import LOOPBACK, peer_of, run, share, share_open
from tests.helpers.fakeserver import Background, FakeServer
from tests.helpers.wire import Content

SIZE = 320 << 20  # bytes
CHUNK = 1 << 20  # bytes
MOST = 160 << 10  # KiB of memory
CONTENT = Content.make(50_000)
WITHHELD = 40  # a chunk of 1 KiB


@pytest.fixture(scope="module", params=["sealed", "open"])
def large(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, str]]:
    """Share a file larger than the memory allowed; give the words that name it."""
    path = tmp_path_factory.mktemp("large") / "large"
    with path.open("wb") as file:
        file.truncate(SIZE)  # a hole: no disk is used
    if request.param == "open":
        with share_open(path, "--chunk-size", CHUNK) as program:
            yield program.wait_line("^[0-9a-f]{64}$")[0], "--peer", peer_of(program)
    else:
        with share(path) as program:
            yield program.wait_line("^shoal:").string, "--peer", peer_of(program)


def start(words: tuple[str, ...], folder: Path) -> subprocess.Popen[bytes]:
    """Start `get -o -` with everything that it could write to in a folder."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_")}
    names = ("TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME")
    return subprocess.Popen(
        [sys.executable, "-m", "shoal", "get", *words, "-o", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**clean, **LOOPBACK, **dict.fromkeys(names, str(folder))},
    )


def test_memory_is_bounded_and_the_disk_is_not_used(
    large: tuple[str, str, str], tmp_path: Path
) -> None:
    with start(large, tmp_path) as program:
        assert program.stdout is not None
        size = 0
        while size < SIZE:
            block = program.stdout.read(1 << 20)
            assert block.count(0) == len(block) > 0
            size += len(block)
            if size == SIZE // 2:
                status = Path(f"/proc/{program.pid}/status").read_text()
                peak = re.search(r"VmHWM:\s+(\d+)", status)
                assert peak is not None
                assert int(peak[1]) < MOST
                assert _large_files(tmp_path) == []
        assert program.stdout.read() == b""
    assert program.returncode == 0


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_no_signal_leaves_anything_behind(
    signum: int, large: tuple[str, str, str], tmp_path: Path
) -> None:
    with start(large, tmp_path) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.read(1 << 20)
        program.send_signal(signum)
        program.wait(10)
        said = program.stderr.read().decode()
    assert "resume" not in said
    assert _large_files(tmp_path) == []


def _large_files(folder: Path) -> list[Path]:
    """Return the files that have contents of the share, or may have."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [
        path for path in found if path.stat().st_size >= CHUNK or "data" in path.name
    ]


def test_a_folder_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10))
    with share(tmp_path) as source:
        link = source.wait_line("^shoal:").string
        ended = run("get", link, "-o", "-", "--peer", peer_of(source)).finish()
    assert (ended.code, ended.stdout) == (2, b"")
    assert "shoal cat LINK PATH" in ended.stderr


class Withholds(FakeServer):
    """Answer all requests but those for one chunk."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        if index != WITHHELD:
            await super().answer(index, writer)


def test_an_end_half_way_says_that_the_start_must_be_repeated() -> None:
    with Background(lambda: Withholds(CONTENT)) as server:
        words = (CONTENT.id, "-o", "-", "--peer", server.address, "--timeout", 3)
        ended = run("get", *words).finish()
    assert ended.code == 7
    assert ended.stdout == CONTENT.data[: WITHHELD * 1024]
    written = format_size(len(ended.stdout))
    assert f"first {written} were written" in ended.stderr
    assert "start over" in ended.stderr
    assert "resume" not in ended.stderr
