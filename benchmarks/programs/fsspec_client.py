"""Read through a file system of fsspec and measure what each kind of read takes.

python -m benchmarks.programs.fsspec_client OPTIONS TABLE LINES

OPTIONS are the storage options, as JSON. TABLE and LINES are the URLs of a Parquet file
of `tests.helpers.datasets` and of a text file. Prints the figures as JSON, in seconds;
`fetched` is what the network carried for the column, in bytes read from the file.
Without URLs, LINES is the path of the text file, and only its lines are read, by
`io.BufferedReader` over its bytes in memory.
"""

import io
import json
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import fsspec
from tests.helpers.datasets import CountingFile, read_parquet

__all__: list[str] = []

SMALL = 100  # bytes
WARM = 20_000  # small reads of one block
BLOCK = 64 * 1024  # bytes
OPENS = 200
LINES = 500_000
FEW_LINES = 200  # for file systems that read a block for each line


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def received() -> int:
    """Return the bytes that loopback of this namespace has received so far."""
    text = Path("/proc/net/dev").read_text(encoding="utf-8")
    return int(text.partition("lo:")[2].split()[0])


def read_warm(file: Any, offsets: list[int]) -> None:
    """Seek to each offset and read a little."""
    for offset in offsets:
        file.seek(offset)
        assert len(file.read(SMALL)) == SMALL


def read_blocks(file: Any) -> None:
    """Read everything in blocks."""
    place = 0
    while data := file.read(BLOCK):
        place += len(data)
    assert place == file.size


def read_lines(file: Iterable[bytes], number: int) -> None:
    """Read some lines."""
    assert sum(1 for _ in islice(file, number)) == number


def open_often(fs: Any, path: str, offsets: list[int]) -> None:
    """Open a file, read a little of it and close it, again and again."""
    for offset in offsets:
        with fs.open(path) as file:
            file.seek(offset)
            assert len(file.read(SMALL)) == SMALL


def measure(options: dict[str, Any], table: str, lines: str) -> dict[str, float]:
    """Return the seconds of each kind of read, and what is fetched for a column."""
    rng = Random(5)
    fs, path = fsspec.url_to_fs(table, **options)
    figures: dict[str, float] = {}
    with fs.open(path) as file:
        counting, before = CountingFile(file), received()
        figures["column"] = seconds(lambda: read_parquet(counting))
        figures["fetched"] = (received() - before) / counting.asked
    with fs.open(path) as file:
        file.read(BLOCK)
        offsets = [rng.randrange(BLOCK - SMALL) for _ in range(WARM)]
        figures["warm"] = seconds(lambda: read_warm(file, offsets)) / WARM
    with fs.open(path) as file:
        blocks = -(-file.size // BLOCK)
        figures["sequential"] = seconds(lambda: read_blocks(file)) / blocks
    offsets = [rng.randrange(BLOCK) for _ in range(OPENS)]
    figures["open"] = seconds(lambda: open_often(fs, path, offsets)) / OPENS
    path = fs._strip_protocol(lines)
    number = LINES if table.startswith("shoal:") else FEW_LINES
    with fs.open(path) as file:
        read_lines(file, number)
        file.seek(0)
        figures["lines"] = seconds(lambda: read_lines(file, number)) / number
    return figures


def main(options: str, *urls: str) -> None:
    """Run with the arguments of the command line."""
    if len(urls) == 2:
        figures = measure(json.loads(options), *urls)
    else:
        file = io.BufferedReader(io.BytesIO(Path(options).read_bytes()))
        figures = {"lines": seconds(lambda: read_lines(file, LINES)) / LINES}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
