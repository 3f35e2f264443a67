"""Libraries that read through fsspec read shares and fetch only the chunks they need.

The peers that serve a share count the bytes they upload.
"""

import gc
import json
import os
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.tests.abstract import AbstractFixtures
from fsspec.tests.abstract.get import AbstractGetTests

import shoal
from shoal.core.manifest.chunks import Chunks
from shoal.integrations.fsspec import ShoalFileSystem
from tests.helpers.datasets import (
    MODULES,
    READS,
    WRITERS,
    CountingFile,
    received_by,
    write_parquet,
)
from tests.helpers.requirements import require
from tests.helpers.safetensors import write_safetensors
from tests.helpers.sharing import LOOPBACK, Share, near

ROOT = Path(__file__).parents[2]
CHUNK = 16_384
FOOTER = 65_536  # bytes of a Parquet file's end that pyarrow reads first


@pytest.fixture(autouse=True)
def _clear_cache() -> Iterator[None]:
    """Clear the file systems that fsspec would keep until the program ends."""
    yield
    ShoalFileSystem.clear_instance_cache()
    gc.collect()  # readers leave cycles, which would keep the loops' threads


def need(*modules: str) -> None:
    """Skip without these, or fail in CI."""
    missing = [name for name in modules if find_spec(name) is None]
    require(f"{', '.join(missing)} is not installed" if missing else None)


def id_of(shared: shoal.BlockingShare) -> str:
    return str(shared.link).removeprefix("shoal:")


def chunks_of_column(path: Path, column: int, chunk_size: int) -> set[int]:
    """Return the chunks that hold one column of a Parquet file, and its end."""
    import pyarrow.parquet

    size = path.stat().st_size
    chunks = Chunks(size, chunk_size)
    found = set(chunks.covering(size - FOOTER, size))
    metadata = pyarrow.parquet.read_metadata(path)
    for group in range(metadata.num_row_groups):
        part = metadata.row_group(group).column(column)
        start = part.dictionary_page_offset or part.data_page_offset
        found.update(chunks.covering(start, start + part.total_compressed_size))
    return found


@pytest.mark.program("readers", "pandas", "pip:pandas", "one column of a parquet file")
def test_pandas_reads_one_column_of_twenty(tmp_path: Path, share: Share) -> None:
    need("pandas", "pyarrow")
    import pandas

    path = tmp_path / "data.parquet"
    write_parquet(path, 60_000, 20_000)
    shared = share(path, chunk_size=CHUNK)
    frame = pandas.read_parquet(
        f"shoal://{id_of(shared)}/data.parquet",
        columns=["c7"],
        storage_options=near(shared),
    )
    assert frame.equals(pandas.read_parquet(path, columns=["c7"]))
    needed = chunks_of_column(path, 7, CHUNK)
    assert shared.uploaded <= len(needed) * CHUNK
    assert shared.uploaded < path.stat().st_size / 8


@pytest.mark.parametrize(
    ("kind", "most"),
    [("parquet", 1.05), ("hdf5", 1.1), ("netcdf", 1.1), ("video", 1.1)],
)
def test_libraries_receive_little_more_than_they_read(
    kind: str,
    most: float,
    tmp_path: Path,
    share: Share,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need("numpy", *MODULES[kind])
    # However slow this machine is, the peer counts as near.
    monkeypatch.setattr("shoal.core.schedule.readahead.SHORT_WAIT", inf)
    path = tmp_path / "data"
    WRITERS[kind](path, 24 if kind == "video" else 96)
    shared = share(path, chunk_size=1 << 20)
    fs = fsspec.filesystem("shoal", **near(shared))
    with fs.open(f"{id_of(shared)}/data") as file:
        before = received_by(fs)
        counting = CountingFile(file)
        READS[kind](counting)
        received = received_by(fs) - before
    assert path.stat().st_size / 100 < counting.asked < path.stat().st_size
    assert received <= most * counting.asked


@pytest.mark.program("readers", "pandas", "pip:pandas", "CSV and JSON lines")
def test_pandas_reads_text(tmp_path: Path, share: Share) -> None:
    need("pandas")
    import pandas

    path = tmp_path / "table.csv"
    path.write_text("x,y\n" + "".join(f"{i},{i * i}\n" for i in range(30_000)))
    shared = share(path, chunk_size=CHUNK)
    url = f"shoal://{id_of(shared)}/table.csv"
    frame = pandas.read_csv(url, storage_options=near(shared))
    assert frame["y"].sum() == sum(i * i for i in range(30_000))


@pytest.mark.program("readers", "pyarrow", "pip:pyarrow", "a folder as one table")
def test_pyarrow_reads_a_folder_as_one_table(tmp_path: Path, share: Share) -> None:
    need("pyarrow")
    dataset = import_module("pyarrow.dataset")
    top = tmp_path / "table"
    for year in (2024, 2025):
        (top / f"year={year}").mkdir(parents=True)
        write_parquet(top / f"year={year}/part.parquet", 20_000, 20_000)
    shared = share(top, chunk_size=CHUNK)
    fs = fsspec.filesystem("shoal", **near(shared))
    data = dataset.dataset(
        id_of(shared), filesystem=fs, format="parquet", partitioning="hive"
    )
    # The filter on `year` rules one file out by its path, so that file is not read.
    table = data.to_table(columns=["c3", "year"], filter=dataset.field("year") == 2025)
    assert table.num_rows == 20_000
    assert set(table["year"].to_pylist()) == {2025}
    assert shared.uploaded < shared.manifest.root.size / 6


@pytest.mark.program("readers", "zarr", "pip:zarr", "a part of an array")
def test_zarr_reads_a_part_of_an_array(tmp_path: Path, share: Share) -> None:
    need("zarr")
    import numpy
    import zarr

    top = tmp_path / "array.zarr"
    numbers = numpy.random.default_rng(3).random((400, 400))
    made = zarr.create_array(
        str(top), shape=numbers.shape, chunks=(100, 100), dtype="f8", compressors=None
    )
    made[:] = numbers
    shared = share(top, chunk_size=CHUNK)
    array: Any = zarr.open_array(
        f"shoal://{id_of(shared)}", mode="r", storage_options=near(shared)
    )
    assert (array[150:160, 250:390] == numbers[150:160, 250:390]).all()
    # Two pieces of the array, of 80,000 bytes each, and its metadata.
    assert shared.uploaded <= 2 * 7 * CHUNK
    assert (array[:] == numbers).all()


@pytest.mark.program(
    *("readers", "numpy", "pip:numpy"),
    "one tensor of a safetensors file",
)
def test_a_safetensors_file_gives_one_tensor(tmp_path: Path, share: Share) -> None:
    path = tmp_path / "model.safetensors"
    sizes = {f"layer.{i}": 5 * CHUNK + i for i in range(12)}
    tensors = write_safetensors(path, sizes)
    shared = share(path, chunk_size=CHUNK)

    fs = fsspec.filesystem("shoal", **near(shared))
    with fs.open(f"{id_of(shared)}/model.safetensors") as file:
        size = int.from_bytes(file.read(8), "little")
        read = json.loads(file.read(size))
        assert list(read) == list(tensors)
        assert shared.uploaded == CHUNK
        first, end = read["layer.7"]["data_offsets"]
        file.seek(8 + size + first)
        assert file.read(end - first) == tensors["layer.7"]
    chunks = Chunks(path.stat().st_size, CHUNK)
    needed = {0, *chunks.covering(8 + size + first, 8 + size + end)}
    assert shared.uploaded == len(needed) * CHUNK


TEN_LINES = ROOT / "examples/columns.py"


def test_the_example_has_at_most_ten_lines() -> None:
    lines = [line for line in TEN_LINES.read_text().splitlines() if line]
    assert len(lines) <= 10


def read_column(python: str, *shares: shoal.BlockingShare) -> dict[str, float]:
    """Run the ten-line example with a Python; return the statistics that it prints."""
    options = near(*shares)
    env = {
        **os.environ,
        "SHOAL_PEER": options["peers"],
        "SHOAL_LAN_ONLY": "1",
        "SHOAL_NO_LAN": "1",
        "SHOAL_INTERFACES": "127.0.0.1",
    }
    done = subprocess.run(
        [python, str(TEN_LINES), str(shares[0].link), "data.parquet", "c7"],
        env=env,
        check=True,
        capture_output=True,
        text=True,
        timeout=50,
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    return {row[0]: float(row[1]) for row in rows if len(row) == 2}


def check_ten_lines(path: Path, python: str, share: Share) -> None:
    """Let the example read a column from two peers and check what they uploaded."""
    import pandas

    peers = share(path), share(path)
    read = read_column(python, *peers)
    column = pandas.read_parquet(path, columns=["c7"])["c7"]
    assert read["count"] == len(column)
    assert read["mean"] == pytest.approx(column.mean(), abs=1e-6)
    assert sum(peer.uploaded for peer in peers) < path.stat().st_size / 10


def test_ten_lines_read_a_column_from_two_peers(tmp_path: Path, share: Share) -> None:
    need("pandas", "pyarrow")
    path = tmp_path / "data.parquet"
    write_parquet(path, 400_000, 100_000)
    check_ten_lines(path, sys.executable, share)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_ten_lines_in_a_fresh_environment_read_a_column_of_a_gibibyte(
    tmp_path: Path, share: Share
) -> None:
    need("pandas", "pyarrow")
    path = tmp_path / "data.parquet"
    write_parquet(path, (1 << 30) // 160 + 1, 1 << 20)
    assert path.stat().st_size >= 1 << 30
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv/bin/python")
    packages = [f"{ROOT}[fsspec]", "pandas", "pyarrow"]
    install = [python, "-m", "pip", "install", "-q", *packages]
    subprocess.run(install, check=True, timeout=1000)
    check_ten_lines(path, python, share)


# Those of fsspec's own tests that apply to a read-only file system.


@pytest.fixture
def port() -> int:
    """Return a free TCP port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class TestGet(AbstractFixtures, AbstractGetTests):
    """Make each scenario on the local disk, share it, and get from the share."""

    @pytest.fixture
    def fs(self, port: int) -> ShoalFileSystem:
        return ShoalFileSystem(**LOOPBACK, peers=f"127.0.0.1:{port}")

    @pytest.fixture
    def fs_path(self, tmp_path: Path) -> str:
        return str(tmp_path / "remote")

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False

    def share(self, share: Share, port: int, source: str) -> str:
        """Share the files of a scenario, and return their path."""
        shared = share(Path(source).parent, port=port)
        return f"{id_of(shared)}/{Path(source).name}"

    @pytest.fixture
    def fs_bulk_operations_scenario_0(
        self, local_fs: Any, fs_path: str, share: Share, port: int
    ) -> str:
        made = self._bulk_operations_scenario_0(local_fs, os.path.join, fs_path)
        return self.share(share, port, made)

    @pytest.fixture
    def fs_glob_edge_cases_files(
        self, local_fs: Any, fs_path: str, share: Share, port: int
    ) -> str:
        made = self._glob_edge_cases_files(local_fs, os.path.join, fs_path)
        return self.share(share, port, made)

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(
        self, local_fs: Any, fs_path: str, share: Share, port: int
    ) -> str:
        made = self._dir_and_file_with_same_name_prefix(local_fs, os.path.join, fs_path)
        return self.share(share, port, made)

    @pytest.fixture
    def fs_10_files_with_hashed_names(
        self, local_fs: Any, fs_path: str, share: Share, port: int
    ) -> str:
        made = self._10_files_with_hashed_names(local_fs, os.path.join, fs_path)
        return self.share(share, port, made)

    # This test writes through the file system under test.
    test_get_directory_recursive = None  # type: ignore[assignment]
