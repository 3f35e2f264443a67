"""fsspec's own caches and NumPy read shares right, from several threads too."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from random import Random

import fsspec
import pytest

from shoal.integrations.fsspec import ShoalFileSystem
from tests.helpers.sharing import Share, near

THREADS = 8
READS = 40  # of one copy
DATA = Random(3).randbytes(5_000_001)


@pytest.fixture(autouse=True)
def _clear_cache() -> Iterator[None]:
    """Clear the file systems that fsspec would keep until the program ends."""
    yield
    ShoalFileSystem.clear_instance_cache()
    gc.collect()


@pytest.mark.parametrize("cache", ["simplecache", "filecache"])
@pytest.mark.program("readers", "fsspec caches", "pip:fsspec", "copies, by 8 threads")
def test_threads_that_share_a_cache_on_the_disk_read_whole_files(
    cache: str, tmp_path: Path, share: Share
) -> None:
    (tmp_path / "data").write_bytes(DATA)
    shared = share(tmp_path / "data")
    url = f"{cache}::shoal://{str(shared.link).removeprefix('shoal:')}/data"

    def read(folder: str) -> bool:
        options = {"shoal": near(shared), cache: {"cache_storage": folder}}
        with fsspec.open(url, **options) as file:
            return bool(file.read() == DATA)

    # Some read while another one makes the copy, and some find it complete.
    folders = [str(tmp_path / str(number // READS)) for number in range(5 * READS)]
    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(read, folders))


@pytest.mark.program("readers", "numpy", "pip:numpy", "loadtxt")
def test_numpy_reads_a_table_of_text(tmp_path: Path, share: Share) -> None:
    numpy = import_module("numpy")
    path = tmp_path / "table.txt"
    path.write_text("".join(f"{i} {i * i % 1009}\n" for i in range(20_000)))
    shared = share(path)
    fs = fsspec.filesystem("shoal", **near(shared))
    with fs.open(f"{str(shared.link).removeprefix('shoal:')}/table.txt") as file:
        found = numpy.loadtxt(file, dtype=int)
    assert (found == numpy.loadtxt(path, dtype=int)).all()
    assert found.shape == (20_000, 2)
