"""File systems of fsspec in several threads and processes, and how long they live."""

import gc
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

import shoal
from shoal.integrations.fsspec import ShoalFile, ShoalFileSystem
from tests.helpers.forking import in_child
from tests.helpers.sharing import near
from tests.integrations.conftest import BIG, CHUNK, FILES, id_of


def test_file_systems_and_files_are_picklable(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    again = pickle.loads(pickle.dumps(fs))
    assert again == fs
    with fs.open(f"{id_of(folder)}/deep/er/b.bin") as file:
        file.seek(5 * CHUNK)
        with pickle.loads(pickle.dumps(file)) as copy:
            assert isinstance(copy, ShoalFile)
            assert copy.read() == BIG[5 * CHUNK :]
    options = {"cache_type": "blockcache", "cache_options": {"maxblocks": 3}}
    with fs.open(f"{id_of(folder)}/deep/er/b.bin", block_size=CHUNK, **options) as file:
        with pickle.loads(pickle.dumps(file)) as copy:
            assert (copy.cache.name, copy.cache.maxblocks) == ("blockcache", 3)
            assert copy.read(5) == BIG[:5]
    opened = fsspec.open(f"shoal://{id_of(folder)}/a.txt", **near(folder))
    with pickle.loads(pickle.dumps(opened)) as file:
        assert file.read() == FILES["a.txt"]


def test_a_file_system_that_is_not_used_any_more_is_freed_at_once(
    folder: shoal.BlockingShare,
) -> None:
    fs = ShoalFileSystem(**near(folder), skip_instance_cache=True)
    fs.ls(id_of(folder))
    gc.collect()
    gc.disable()  # its node ends with it, and must not wait for the collector
    try:
        seen = weakref.ref(fs)
        del fs
        assert seen() is None
    finally:
        gc.enable()


def test_threads_share_one_node(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    path = f"shoal://{id_of(folder)}/deep/er/b.bin"

    def read(position: int) -> bool:
        with fsspec.open(path, **near(folder)) as file:
            file.seek(position)
            return bool(file.read(CHUNK) == BIG[position : position + CHUNK])

    # The share's thread, and perhaps threads of earlier tests that are still ending.
    before = set(threading.enumerate())
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(0, len(BIG), 3000)))
    new = [each for each in threading.enumerate() if each not in before]
    assert [each.name for each in new].count("shoal") == 1
    assert folder.uploaded <= len(BIG) + CHUNK


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_reads_its_parents_files(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    path = f"{id_of(folder)}/deep/er/b.bin"
    with fs.open(path) as file:
        assert file.read(5) == BIG[:5]

        def work() -> None:
            assert file.read(5 * CHUNK) == BIG[5 : 5 + 5 * CHUNK]
            assert fs.cat_file(path, 0, 3) == BIG[:3]
            fresh = fsspec.filesystem("shoal", **near(folder))
            assert fresh.cat_file(path, -3) == BIG[-3:]

        assert in_child(work) == 0
        assert file.read() == BIG[5:]
