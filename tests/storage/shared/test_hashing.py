"""Hashing in threads gives the same digests as hashing in order."""

import random
import threading
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pytest

from shoal.errors import StoreError, UnfinishedError
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.shared import hashing
from shoal.storage.shared.hashing import hash_chunks, run_in_threads
from shoal.storage.shared.shared_files import SharedFiles


def digest(data: Data) -> bytes:
    return sha256(data).digest()


def source(tmp_path: Path, size: int, chunk_size: int) -> SharedFiles:
    path = tmp_path / "file"
    path.write_bytes(random.Random(size).randbytes(size))
    return SharedFiles.open_file(path, chunk_size, disk=Disk())


@pytest.mark.parametrize("threads", [None, 1, 3])
@pytest.mark.parametrize(
    ("size", "chunk_size"),
    [(0, 1024), (1, 1024), (1024, 1024), (5 << 20, 1000), (7_000_001, 70_000)],
)
def test_threads_compute_the_digest_of_each_chunk(
    tmp_path: Path, size: int, chunk_size: int, threads: int | None
) -> None:
    store = source(tmp_path, size, chunk_size)
    heard: list[int] = []
    found = hash_chunks(store, digest, threads=threads, progress=heard.append)
    expected = [digest(store.get(index)) for index in range(store.chunks.count)]
    assert found == b"".join(expected)
    assert heard == sorted(set(heard))
    assert heard[-1:] == ([size] if size else [])
    store.close()


def test_a_chunk_larger_than_a_batch_is_hashed_whole(tmp_path: Path) -> None:
    size = 2 * hashing.BATCH_SIZE + 1
    store = source(tmp_path, size, hashing.BATCH_SIZE + 1)
    assert hash_chunks(store, digest) == digest(store.get(0)) + digest(store.get(1))
    store.close()


def test_hashing_stops_on_request(tmp_path: Path) -> None:
    store = source(tmp_path, 8 << 20, 1 << 18)
    heard: list[int] = []
    with pytest.raises(UnfinishedError, match="stopped"):
        hash_chunks(
            store, digest, progress=heard.append, stopped=lambda: len(heard) >= 2
        )
    assert 2 <= len(heard) < 8
    store.close()


def test_a_change_during_hashing_is_an_error(tmp_path: Path) -> None:
    store = source(tmp_path, 4 << 20, 1 << 18)
    path = tmp_path / "file"

    def edit(done: int) -> None:
        with path.open("ab") as file:
            file.write(b"x")

    with pytest.raises(StoreError, match="changed while it was read"):
        hash_chunks(store, digest, progress=edit)
    store.close()


def test_an_error_in_one_thread_ends_all_threads() -> None:
    seen: list[int] = []
    both = threading.Barrier(2, timeout=10)

    def work(numbers: Iterable[int]) -> None:
        for number in numbers:
            seen.append(number)
            if number < 2:
                both.wait()
            if number == 1:
                raise StoreError("the disk is gone")
            if number > 2:
                threading.Event().wait(0.001)

    with pytest.raises(StoreError, match="gone"):
        run_in_threads(work, range(100_000), threads=2)
    assert len(seen) < 10_000
