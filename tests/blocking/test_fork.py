"""Blocking files and shares in a forked process, which has none of the threads."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakSet

import pytest

import shoal
from shoal.blocking import loop_thread as loop_threads
from shoal.blocking.raw_file import RawFile
from shoal.errors import UsageError
from shoal.node.node import Node
from tests.helpers.forking import in_child
from tests.helpers.sharing import Share, near

# A process with threads is forked here.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CHUNK = 16_384
DATA = random.Random(5).randbytes(30 * CHUNK + 11)


@pytest.fixture
def shared(tmp_path: Path, share: Share) -> shoal.BlockingShare:
    """Share a file."""
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return share(path, chunk_size=CHUNK)


def test_parent_and_child_keep_the_position_after_a_fork(
    shared: shoal.BlockingShare,
) -> None:
    with shoal.open(shared.link, **near(shared)) as file:
        file.seek(3 * CHUNK)
        assert file.read(5) == DATA[3 * CHUNK : 3 * CHUNK + 5]

        def work() -> None:
            assert file.tell() == 3 * CHUNK + 5
            assert file.read(9 * CHUNK) == DATA[3 * CHUNK + 5 : 12 * CHUNK + 5]
            file.close()
            assert threading.active_count() == 1

        assert in_child(work) == 0
        assert file.read() == DATA[3 * CHUNK + 5 :]


def sockets() -> set[str]:
    """Return the sockets that this process has open."""
    links = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            links.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return {link for link in links if link.startswith("socket:")}


@pytest.fixture
def others() -> set[str]:
    """Return the sockets of libraries that other tests use, such as fsspec's."""
    return sockets()


@pytest.mark.parametrize("is_paused", [False, True], ids=["reading", "paused"])
def test_a_forked_child_closes_the_connections_of_its_parent(
    others: set[str], shared: shoal.BlockingShare, is_paused: bool
) -> None:
    file = shoal.open(shared.link, **near(shared))
    file.read(1)

    async def pause(node: Node) -> None:
        for _, swarm in node._registry.swarms:
            for peer in swarm.peers:
                peer.connection.pause_reading()

    if is_paused:
        file._raw.loop_thread.call(pause)
    before = sockets() - others

    def work() -> None:
        # Only the write end of each loop's self-pipe is left.
        assert len(sockets() & before) <= 2
        assert len(before) > 6

    assert in_child(work) == 0
    file.close()


def test_a_forked_child_may_drop_a_file_before_our_own_hook_has_run(
    shared: shoal.BlockingShare, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shoal.open(shared.link, **near(shared))
    file.read(1)
    before = sockets()
    # fsspec empties its cache of file systems in a hook that runs before ours.
    monkeypatch.setattr(loop_threads, "_forked", WeakSet())
    # A child that waited for a thread of its parent would not end in time.
    monkeypatch.setattr(loop_threads, "END_TIME", 3600.0)

    def work() -> None:
        nonlocal file
        del file
        assert len(sockets() & before) < len(before) - 2

    assert in_child(work) == 0
    monkeypatch.undo()
    assert file.read(3) == DATA[1:4]
    file.close()


def test_a_share_belongs_to_the_parent_after_a_fork(
    shared: shoal.BlockingShare,
) -> None:
    def work() -> None:
        with pytest.raises(UsageError, match="parent"):
            shared.wait()
        shared.close()

    assert in_child(work) == 0
    with shoal.open(shared.link, **near(shared)) as file:
        assert file.read() == DATA


def test_a_child_reads_although_a_thread_of_its_parent_was_reading(
    shared: shoal.BlockingShare, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reading, may_end = threading.Event(), threading.Event()
    pieces = RawFile._pieces

    def wait(self: RawFile, size: int, first: int) -> list[memoryview]:
        is_reading.set()
        assert may_end.wait(20)
        return pieces(self, size, first)

    with shoal.open(shared.link, **near(shared)) as file:
        file.seek(7 * CHUNK)
        monkeypatch.setattr(RawFile, "_pieces", wait)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(file.read, 10)
            assert is_reading.wait(20)
            monkeypatch.undo()

            def work() -> None:
                assert file.read(10) == DATA[7 * CHUNK : 7 * CHUNK + 10]

            assert in_child(work) == 0
            may_end.set()
            assert reading.result(20) == DATA[7 * CHUNK : 7 * CHUNK + 10]
