"""A blocking file: its position, which threads share, and lines, copies and errors."""

import io
import pickle
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import shoal
from shoal.blocking.file import BlockingFile
from shoal.blocking.raw_file import RawFile
from shoal.errors import NotFoundError
from tests.helpers.sharing import Share, near

CHUNK = 16_384
DATA = random.Random(8).randbytes(30 * CHUNK + 11)


@pytest.fixture
def shared(tmp_path: Path, share: Share) -> shoal.BlockingShare:
    """Share a file."""
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return share(path, chunk_size=CHUNK)


class Thread:
    """Run calls in another thread, one after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)

    def __call__(self, call: Callable[..., object], *arguments: object) -> object:
        return self._pool.submit(call, *arguments).result(20)


def test_a_read_starts_at_the_seek_of_its_own_thread(
    shared: shoal.BlockingShare,
) -> None:
    first, second = Thread(), Thread()
    with shoal.open(shared.link, **near(shared)) as file:
        for read in (file.read, lambda n: bytes(file.readinto(bytearray(n)))):
            first(file.seek, 5 * CHUNK)
            second(file.seek, 9 * CHUNK)
            assert first(file.tell) == 5 * CHUNK
            first(read, 10)
            assert second(file.tell) == 9 * CHUNK
            assert second(file.read, 10) == DATA[9 * CHUNK : 9 * CHUNK + 10]
        first(file.seek, 5 * CHUNK)
        second(file.seek, 0)
        assert first(file.read, 10) == DATA[5 * CHUNK : 5 * CHUNK + 10]
        first(file.seek, 5)
        second(file.seek, 9)
        assert first(file.seek, 2, io.SEEK_CUR) == 7


def test_a_thread_continues_where_another_one_stopped(
    shared: shoal.BlockingShare,
) -> None:
    first, second = Thread(), Thread()
    with shoal.open(shared.link, **near(shared)) as file:
        first(file.seek, 100)
        assert second(file.read, 10) == DATA[100:110]
        assert first(file.read, 10) == DATA[110:120]
        assert second(file.read, 10) == DATA[120:130]
        # The size is found out in one thread, and another one starts to read.
        assert first(file.seek, 0, io.SEEK_END) == len(DATA)
        second(file.seek, 50)
        assert first(file.read, 10) == DATA[50:60]
        assert second(file.read, 10) == DATA[60:70]


def test_pairs_of_seek_and_read_in_many_threads_do_not_mix(
    shared: shoal.BlockingShare,
) -> None:
    with shoal.open(shared.link, **near(shared)) as file:
        turn = threading.Barrier(8, timeout=20)

        def work(number: int) -> bool:
            rng = random.Random(number)
            for _ in range(100):
                start, size = rng.randrange(len(DATA)), rng.randrange(1, 3 * CHUNK)
                file.seek(start)
                turn.wait()  # every thread has called `seek`
                if file.read(size) != DATA[start : start + size]:
                    turn.abort()
                    return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))


def test_lines_and_reads_have_one_position(tmp_path: Path, share: Share) -> None:
    lines = [b"%d\n" % (number**3) for number in range(30_000)]
    path = tmp_path / "lines"
    path.write_bytes(b"".join(lines))
    shared = share(path, chunk_size=CHUNK)
    with shoal.open(shared.link, **near(shared)) as file:
        # The loop itself then runs no code of ours.
        assert type(iter(file)) is io.BufferedReader
        for number, line in enumerate(file):
            assert line == lines[number]
            if number == 999:
                break
        assert file.tell() == sum(map(len, lines[:1000]))
        assert file.readline() == next(iter(lines[1000:]))
        assert next(file) == lines[1001]
        assert file.read(3) == lines[1002][:3]
        file.seek(0)
        assert list(file) == lines
    # The file is dropped, but the loop goes on.
    read = [line for line in shoal.open(shared.link, **near(shared))]
    assert read == lines


def test_a_small_read_requests_no_block_that_it_does_not_need(
    tmp_path: Path, share: Share
) -> None:
    path = tmp_path / "data"
    path.write_bytes(random.Random(9).randbytes(1 << 20))
    shared = share(path, chunk_size=CHUNK)
    with shoal.open(shared.link, **near(shared)) as file:
        file.seek(3 * CHUNK - 100)
        file.read(100)
        assert shared.uploaded <= CHUNK
        file.seek(9 * CHUNK - 50)
        file.read(100)
        assert shared.uploaded <= 3 * CHUNK


def test_a_failed_read_leaves_the_position(shared: shoal.BlockingShare) -> None:
    with shoal.open(shared.link, timeout=0.3, **near(shared)) as file:
        file.read(1)
        shared.close()
        reads: list[Callable[[], bytes]] = [
            file.read,
            file.readline,
            lambda: file.read(2 * CHUNK),
        ]
        for read in reads:
            file.seek(9 * CHUNK)
            with pytest.raises(NotFoundError):
                read()
            assert file.tell() == 9 * CHUNK


def test_a_pickled_file_opens_again_at_its_position(
    shared: shoal.BlockingShare,
) -> None:
    with shoal.open(shared.link, **near(shared)) as file:
        file.seek(CHUNK + 5)
        with pickle.loads(pickle.dumps(file)) as copy:
            assert isinstance(copy, BlockingFile)
            assert copy.tell() == CHUNK + 5
            assert copy.read() == DATA[CHUNK + 5 :]
        assert file.read(3) == DATA[CHUNK + 5 : CHUNK + 8]


def test_reads_of_what_is_in_memory_do_not_leave_the_thread(
    shared: shoal.BlockingShare, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(4)
    with shoal.open(shared.link, **near(shared)) as file:
        assert file.read() == DATA
        monkeypatch.setattr(RawFile, "_call", None)
        for _ in range(200):
            offset, size = rng.randrange(len(DATA)), rng.choice((10, 100, 5 * CHUNK))
            file.seek(offset)
            assert file.read(size) == DATA[offset : offset + size]
        file.seek(0)
        assert list(file) == io.BytesIO(DATA).readlines()
        with pytest.raises(TypeError):
            file.seek(0.5)  # type: ignore[arg-type]


def test_a_reader_beyond_the_end_gets_nothing_of_the_next_file(
    tmp_path: Path, share: Share
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(DATA[: CHUNK - 100])
    (folder / "b").write_bytes(DATA[: 3 * CHUNK])
    shared = share(folder, chunk_size=CHUNK)
    with shoal.open(shared.link, "b", **near(shared)) as other:
        assert other.read() == DATA[: 3 * CHUNK]
        with BlockingFile(other._raw.loop_thread, shared.link, "a") as file:
            for read in (file.read, file.readline):
                file.seek(CHUNK + 10)
                assert read(10) == b""
            file.seek(CHUNK + 10)
            assert list(file) == []


def test_a_closed_file_refuses_every_call(shared: shoal.BlockingShare) -> None:
    file = shoal.open(shared.link, **near(shared))
    assert file.read(10) == DATA[:10]
    file.close()
    calls: list[Callable[[], object]] = [
        file.read,
        file.readline,
        file.tell,
        lambda: file.read(5),
        lambda: file.read(0),
        lambda: file.seek(0),
        lambda: file.readinto(bytearray(5)),
        lambda: next(iter(file)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()
