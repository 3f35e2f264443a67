"""Blocking share, fetch and open: in threads and at exit."""

import io
import os
import random
import signal
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.blocking.loop_thread import LoopThread
from shoal.errors import NotFoundError, UsageError
from shoal.node.node import Node
from shoal.reading.reader import FileReader
from tests.helpers.fetching import here
from tests.helpers.process import Program, capture
from tests.helpers.sharing import LOOPBACK, Share, near

CHUNK = 16_384
DATA = random.Random(5).randbytes(30 * CHUNK + 11)

Make = Callable[[str, bytes], shoal.BlockingShare]


@pytest.fixture
def shared(tmp_path: Path, share: Share) -> Make:
    """Return a function that shares a file with a given name and bytes."""

    def make(name: str, data: bytes) -> shoal.BlockingShare:
        path = tmp_path / name
        path.write_bytes(data)
        return share(path, chunk_size=CHUNK)

    return make


def threads() -> list[threading.Thread]:
    """Return the running loop threads."""
    return [each for each in threading.enumerate() if each.name == "shoal"]


def test_a_blocking_file_is_a_raw_io_file(shared: Make) -> None:
    share = shared("data", DATA)
    with shoal.open(share.link, **near(share)) as file:
        assert isinstance(file, io.RawIOBase)
        assert (file.readable(), file.seekable(), file.writable()) == (1, 1, 0)
        assert (file.name, file.size, file.mode) == ("data", len(DATA), "rb")
        assert file.read(3) == DATA[:3]
        assert file.seek(-4, io.SEEK_END) == len(DATA) - 4
        assert file.read() == DATA[-4:]
        assert file.read(5) == b""
        assert file.seek(5) == file.tell() == 5
        buffer = bytearray(2 * CHUNK)
        assert file.readinto(buffer) == len(buffer)
        assert buffer == DATA[5 : 5 + len(buffer)]
        assert file.seek(0) == 0
        assert file.readall() == DATA
        with pytest.raises(ValueError, match="whence"):
            file.seek(0, 9)
        for write in (file.write, file.writelines):
            with pytest.raises(io.UnsupportedOperation, match="read-only"):
                write(b"x")
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
    file.close()


def test_zipfile_reads_a_blocking_file(shared: Make) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(20):
            archive.writestr(f"{number}.bin", DATA[: number * 1000])
    share = shared("x.zip", packed.getvalue())
    with shoal.open(share.link, **near(share)) as file:
        with zipfile.ZipFile(file) as archive:
            assert len(archive.namelist()) == 20
            assert archive.read("17.bin") == DATA[:17_000]


def test_tarfile_reads_a_blocking_file(shared: Make) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("inner")
        info.size = len(DATA)
        archive.addfile(info, io.BytesIO(DATA))
    share = shared("x.tar.gz", packed.getvalue())
    with shoal.open(share.link, **near(share)) as file:
        with tarfile.open(fileobj=file) as archive:
            member = archive.extractfile("inner")
            assert member is not None
            assert member.read() == DATA


def test_a_blocking_file_is_read_line_by_line(shared: Make) -> None:
    text = "".join(f"{number} ä\n" for number in range(9000))
    share = shared("x.txt", text.encode())
    with shoal.open(share.link, **near(share)) as file:
        assert b"".join(file) == text.encode()
        file.seek(0)
        assert list(io.TextIOWrapper(file, "utf-8")) == text.splitlines(keepends=True)
    with shoal.open(share.link, **near(share)) as file:
        lines = io.BufferedReader(file)
        assert lines.readline() == b"0 \xc3\xa4\n"


def test_lines_of_any_length_are_those_of_a_local_file(shared: Make) -> None:
    data = b"\n".join(bytes([65 + n]) * (n * n * 30) for n in range(40))
    share, local = shared("x.txt", data), io.BytesIO(data)
    with shoal.open(share.link, **near(share)) as file:
        for limit in cycle([-1, 0, 7, None, CHUNK, 1, 3 * CHUNK]):
            assert file.readline(limit) == local.readline(limit)
            assert file.tell() == local.tell()
            if file.tell() == len(data):
                break
        assert file.readline() == b""
        assert file.seek(len(data) + 5) == len(data) + 5
        assert file.readline() == b""


def test_threads_share_a_file_and_each_byte_is_read_once(shared: Make) -> None:
    share = shared("data", DATA)
    with shoal.open(share.link, **near(share)) as file, ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: file.read(999), range(len(DATA) // 999 + 1)))
        assert sum(map(len, parts)) == len(DATA)
        assert sorted(parts) == sorted(
            DATA[start : start + 999] for start in range(0, len(DATA), 999)
        )


def test_on_progress_is_called_in_the_calling_thread(
    shared: Make, tmp_path: Path
) -> None:
    share = shared("data", DATA)
    calls: list[tuple[threading.Thread, shoal.DownloadEvent]] = []
    result = shoal.fetch(
        share.link,
        tmp_path / "copy",
        on_progress=lambda event: calls.append((threading.current_thread(), event)),
        **near(share),
    )
    assert result.path.read_bytes() == DATA
    assert {thread for thread, _ in calls} == {threading.current_thread()}
    assert any(isinstance(event, shoal.Progress) for _, event in calls)
    share.wait()
    assert share.uploaded == len(DATA)


def test_an_error_of_on_progress_ends_a_blocking_fetch(
    shared: Make, tmp_path: Path
) -> None:
    share = shared("data", DATA)

    def refuse(event: shoal.DownloadEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shoal.fetch(share.link, tmp_path / "copy", on_progress=refuse, **near(share))
    assert len(threads()) == 1
    assert not (tmp_path / "copy").exists()


def test_blocking_calls_raise_typed_errors(shared: Make, tmp_path: Path) -> None:
    share = shared("data", DATA)
    with pytest.raises(NotFoundError):
        shoal.open(share.link, "other", **near(share))
    with pytest.raises(NotFoundError, match=r"within 0\.2 s"):
        shoal.open(share.link, timeout=0.2, **LOOPBACK)
    with pytest.raises(UsageError, match="cut short"):
        shoal.open("shoal:?")
    with pytest.raises(UsageError, match="limit|size"):
        shoal.open(share.link, limit_down="much")
    with pytest.raises(shoal.ShoalError, match="no file"):
        shoal.share(tmp_path / "nothing", **LOOPBACK)
    with pytest.raises(UsageError, match="blocking"):
        shoal.fetch(share.link, seed=True)
    assert len(threads()) == 1


def test_a_closed_file_leaves_no_descriptor_and_no_thread(shared: Make) -> None:
    share = shared("data", DATA)
    before = set(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        with shoal.open(share.link, **near(share)) as file:
            file.read(1)
    assert (set(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_a_garbage_collected_file_is_closed(shared: Make) -> None:
    share = shared("data", DATA)
    file = shoal.open(share.link, **near(share))
    file.read(1)
    assert len(threads()) == 2
    del file
    assert len(threads()) == 1


def test_closing_ends_a_read_in_another_thread(
    shared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = shared("data", DATA)
    file = shoal.open(share.link, **near(share))
    share.close()
    is_reading, get = threading.Event(), FileReader.get

    async def note(*arguments: Any) -> list[memoryview]:
        is_reading.set()
        return await get(*arguments)

    monkeypatch.setattr(FileReader, "get", note)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(file.read)
        assert is_reading.wait(20)
        file.close()
        with pytest.raises((ValueError, shoal.ShoalError)):
            reading.result(10)


def test_a_blocking_call_on_the_loop_thread_is_refused() -> None:
    loop_thread = LoopThread(here())

    async def nested(node: Node) -> None:
        loop_thread.call(nested)

    with pytest.raises(UsageError, match="wait for itself"):
        loop_thread.call(nested)
    loop_thread.close()
    loop_thread.close()
    with pytest.raises(ValueError, match="closed"):
        loop_thread.call(nested)


def test_closing_raises_the_error_of_closing_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(node: Node) -> None:
        raise RuntimeError("not closed")

    async def use(node: Node) -> None:
        pass

    loop_thread = LoopThread(here())
    loop_thread.call(use)
    monkeypatch.setattr(Node, "aclose", fail)
    with pytest.raises(RuntimeError, match="not closed"):
        loop_thread.close()
    assert not threads()


LEAVES_ALL_OPEN = """
import sys, shoal
options = dict(lan_only=True, no_lan=True, interfaces="127.0.0.1")
share = shoal.share(sys.argv[1], **options)
file = shoal.open(share.link, peers=f"127.0.0.1:{share.port}", **options)
print(len(file.read(100)))
"""


def test_a_program_that_closes_nothing_exits_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    done = capture([sys.executable, "-X", "dev", "-c", LEAVES_ALL_OPEN, str(path)])
    assert (done.returncode, done.stdout) == (0, "100\n")
    assert [line for line in done.stderr.splitlines() if "took" not in line] == []


WAITS = """
import sys, shoal
options = dict(lan_only=True, no_lan=True, interfaces="127.0.0.1")
print("ready", flush=True)
try:
    shoal.fetch(sys.argv[1], sys.argv[2], **options)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_fetch(shared: Make, tmp_path: Path) -> None:
    link = str(shared("data", DATA).link)
    argv = [sys.executable, "-c", WAITS, link, str(tmp_path / "copy")]
    with Program(argv) as program:
        program.wait_line("ready")
        # Interrupt only after the loop thread exists; before, imports are running.
        while not list(Path(f"/proc/{program.pid}/task").iterdir())[1:]:
            time.sleep(0.01)
        program.send(signal.SIGINT)
        program.wait_line("interrupted")
        assert program.finish().code == 0


def test_a_code_is_shared_redeemed_and_fetched(tmp_path: Path) -> None:
    path, events = tmp_path / "file", list[object]()
    path.write_bytes(DATA)
    with shoal.share(
        path, code=True, receivers=2, on_progress=events.append, **LOOPBACK
    ) as share:
        assert share.code is not None
        result = shoal.fetch(share.code, tmp_path / "copy", **near(share))
        assert result.path.read_bytes() == DATA
        begin = share.code.rpartition("-")[0]
        with pytest.raises(UsageError, match="not one of the words"):
            shoal.fetch(f"{begin}-nosuchword", tmp_path / "other", **near(share))
        shoal.fetch(share.code.upper(), tmp_path / "other", **near(share))
    states = [each.state for each in events if isinstance(each, shoal.CodeChanged)]
    assert states == ["given", "used"]


def test_without_code_a_share_has_none(shared: Make) -> None:
    assert shared("file", DATA).code is None
    with pytest.raises(UsageError, match="receivers is 0; pass 1 or more"):
        shoal.share("file", receivers=0)
