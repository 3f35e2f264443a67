#!/bin/sh
# The first row of a streamed Parquet table makes datasets read every row group.
#
# Packages: datasets 5.2.0, pyarrow 26.0.1, numpy 2.4.6, fsspec 2026.9.0 (PyPI),
# CPython 3.11.
#
# Expected: load_dataset(..., streaming=True) "lets you use a dataset without downloading
# it: the data is streamed as you iterate". The first row of a table with ten row groups
# needs the footer and the first row group, a tenth of the file.
# https://huggingface.co/docs/datasets/stream
#
# What happens: datasets lets pyarrow merge the ranges of a scan up to 128 MiB
# (range_size_limit), so one read covers every row group of a file below that size. A
# reader that looks at a few rows of each of many such files downloads all of them. With
# columns=, only that column is read, also of row groups that the row is not in.
#
# Output seen (the last figure is between one row group of the column and all ten):
#   file: 32037342 bytes in 10 row groups
#   first row: 32080936 bytes in 2 reads
#   first row of one column: 1666306 bytes
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 'datasets==5.2.0' 'pyarrow==26.0.1' \
        'numpy==2.4.6' 'fsspec==2026.9.0'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
HF_HOME="$work/home" HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PYTHON'
import io
import sys

import datasets
import fsspec
import numpy
import pyarrow
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import parquet

sizes = []  # Bytes of each read.


class CountingFile(io.BytesIO):
    """Record the size of each read."""

    def read(self, size=-1):
        data = super().read(size)
        sizes.append(len(data))
        return data


class CountingFileSystem(MemoryFileSystem):
    """Open each file of the memory file system as a CountingFile."""

    def _open(self, path, mode="rb", **options):
        return CountingFile(self.store[self._strip_protocol(path)].getvalue())


rng = numpy.random.default_rng(1)
table = pyarrow.table({f"c{i}": rng.random(200_000) for i in range(20)})
sink = io.BytesIO()
parquet.write_table(
    table, sink, row_group_size=20_000, use_dictionary=False, compression="none"
)
MemoryFileSystem().pipe("/table.parquet", sink.getvalue())
fsspec.register_implementation("memory", CountingFileSystem, clobber=True)
total = len(sink.getvalue())
print(f"file: {total} bytes in 10 row groups")


def first_row(**options):
    """Return how many bytes the first row costs."""
    stream = datasets.load_dataset(
        "parquet", data_files="memory://table.parquet", split="train",
        streaming=True, **options,
    )
    sizes.clear()
    next(iter(stream))
    return sum(sizes)


all_columns = first_row()
print(f"first row: {all_columns} bytes in {len(sizes)} reads")
one_column = first_row(columns=["c7"])
print(f"first row of one column: {one_column} bytes")
same = all_columns > total * 0.99 and one_column < total * 0.2
sys.exit(0 if same else "the behaviour has changed")
PYTHON
