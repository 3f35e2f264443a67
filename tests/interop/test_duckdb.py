"""DuckDB reads shares; it reads one file object in many threads, without a lock."""

import gc
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import fsspec
import pytest

import shoal
from shoal.integrations.fsspec import ShoalFileSystem
from tests.helpers.datasets import write_parquet
from tests.helpers.sharing import Share, near

ROWS = 100_000


@pytest.fixture(autouse=True)
def _switch_threads_often() -> Iterator[None]:
    """Let threads take turns as often as possible, so that their calls mix."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
    ShoalFileSystem.clear_instance_cache()
    gc.collect()


@pytest.fixture
def table(tmp_path: Path, share: Share) -> tuple[Path, shoal.BlockingShare]:
    """Share a Parquet file of twenty columns in twenty row groups."""
    path = tmp_path / "data.parquet"
    write_parquet(path, ROWS, ROWS // 20)
    return path, share(path, chunk_size=1 << 17)


def connect(shared: shoal.BlockingShare) -> tuple[Any, str]:
    """Return a connection of DuckDB that knows shoal, and the URL of the share."""
    connection = import_module("duckdb").connect()
    fs = fsspec.filesystem("shoal", **near(shared))
    connection.register_filesystem(fs)
    connection.execute("set threads = 8")
    return connection, f"shoal://{str(shared.link).removeprefix('shoal:')}"


def check_queries(table: tuple[Path, shoal.BlockingShare], count: int) -> None:
    """Run queries, and compare each answer with that of the local file."""
    path, shared = table
    parquet = import_module("pyarrow.parquet").read_table(path)
    columns = [parquet[f"c{i}"].to_numpy() for i in range(20)]
    connection, url = connect(shared)
    for number in range(count):
        name, numbers = f"c{number % 20}", columns[number % 20]
        query = f"select count(*) filter ({name} < 0.25), sum({name}) from "
        found = connection.execute(query + f"'{url}/data.parquet'").fetchone()
        assert found[0] == (numbers < 0.25).sum(), number
        assert found[1] == pytest.approx(numbers.sum()), number
    connection.close()


@pytest.mark.program("readers", "duckdb", "pip:duckdb", "parquet, from many threads")
def test_duckdb_reads_parquet_right(
    table: tuple[Path, shoal.BlockingShare],
) -> None:
    check_queries(table, 100)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_duckdb_reads_parquet_right_a_thousand_times(
    table: tuple[Path, shoal.BlockingShare],
) -> None:
    check_queries(table, 1000)


@pytest.mark.program("readers", "duckdb", "pip:duckdb", "lines of text")
def test_duckdb_reads_lines_right(tmp_path: Path, share: Share) -> None:
    path = tmp_path / "lines.csv"
    numbers = range(1_000_000)
    path.write_text("".join(f"{i * 7919 % 1_000_003},{i}\n" for i in numbers))
    connection, url = connect(share(path))
    # Its threads take turns to read from the position where the last one stopped.
    query = "select count(*), sum(column0), sum(column1) from read_csv"
    found = connection.execute(f"{query}('{url}/lines.csv', header = false)").fetchone()
    expected = sum(i * 7919 % 1_000_003 for i in numbers), sum(numbers)
    assert found == (len(numbers), *expected)
    connection.close()
