#!/bin/sh
# Dataset.take([0]) reads every row group of a Parquet file.
#
# Packages: pyarrow 26.0.1, fsspec 2026.9.0, numpy 2.4.6 (PyPI), CPython 3.11.
#
# Expected: Dataset.take(indices) "selects rows of data by index". The footer of a
# Parquet file gives the row count and the position of each row group, so row 0 needs
# the footer and the first row group. The same object's count_rows() answers from the
# footer alone.
# https://arrow.apache.org/docs/python/generated/pyarrow.dataset.Dataset.html#pyarrow.dataset.Dataset.take
#
# What happens: take() scans; it does not seek. Row 0 costs the whole file of 100 row
# groups, 86 times what read_row_group(0) reads. The last row costs as much, and so
# does an empty list of indices.
#
# Output seen:
#   file: 40091060 bytes in 100 row groups
#   count_rows(): 65536 bytes
#   take([0]): 40104036 bytes
#   take([999999]): 40104036 bytes
#   take([]): 40104036 bytes
#   ParquetFile.read_row_group(0): 465921 bytes
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 'pyarrow==26.0.1' 'fsspec==2026.9.0' 'numpy==2.4.6'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
"$work/venv/bin/python" - <<'PYTHON'
import io
import sys

import numpy
import pyarrow
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import dataset, parquet

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
        return CountingFile(self.store[path].getvalue())


table = pyarrow.table({f"c{i}": numpy.arange(1_000_000) + i for i in range(5)})
sink = io.BytesIO()
parquet.write_table(
    table, sink, row_group_size=10_000, use_dictionary=False, compression="none"
)
MemoryFileSystem().pipe("/table.parquet", sink.getvalue())
files = CountingFileSystem()  # It shares the store of MemoryFileSystem.
total = len(sink.getvalue())
print(f"file: {total} bytes in 100 row groups")


def cost(name, call):
    """Return the share of the file that the call reads."""
    opened = dataset.dataset("/table.parquet", filesystem=files)
    sizes.clear()
    call(opened)
    print(f"{name}: {sum(sizes)} bytes")
    return sum(sizes) / total


count = cost("count_rows()", lambda opened: opened.count_rows())
first = cost("take([0])", lambda opened: opened.take([0]))
last = cost("take([999999])", lambda opened: opened.take([999_999]))
none = cost("take([])", lambda opened: opened.take(pyarrow.array([], pyarrow.int64())))
group = cost(
    "ParquetFile.read_row_group(0)",
    lambda opened: parquet.ParquetFile(files.open("/table.parquet")).read_row_group(0),
)
same = count < 0.01 and min(first, last, none) > 0.99 and group < 0.02
sys.exit(0 if same else "the behaviour has changed")
PYTHON
