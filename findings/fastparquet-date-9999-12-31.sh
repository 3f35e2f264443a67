#!/bin/sh
# fastparquet reads the date 9999-12-31 as 1816-03-29.
#
# Packages: fastparquet 2026.9.0, pandas 3.1.1, pyarrow 26.0.1 to write (PyPI),
# CPython 3.11.
#
# Expected: the dates that pyarrow reads, or an error for a date that does not fit.
# 9999-12-31 is the usual "valid until" of data warehouses. fastparquet reads it
# correctly from a timestamp column of microseconds, since pandas has had units other
# than nanoseconds from version 2 on:
# https://pandas.pydata.org/docs/user_guide/timeseries.html#timestamp-limitations
#
# What happens: a date column (days, 32 bits) is multiplied to nanoseconds in 64 bits
# and wraps around. Dates outside of 1677-09-22 to 2262-04-11 come back as other,
# plausible dates, a multiple of 584.5 years off, without an error or warning. A
# comparison afterwards selects the wrong rows.
#
# Output seen:
#   date 2262-04-11: 2262-04-11 (pyarrow 2262-04-11)
#   date 2262-04-12: 1677-09-21 (pyarrow 2262-04-12)
#   date 9999-12-31: 1816-03-29 (pyarrow 9999-12-31)
#   date 0001-01-01: 1754-08-30 (pyarrow 0001-01-01)
#   timestamp 9999-12-31: 9999-12-31
#   rows valid in 2030: 1 with fastparquet, 3 in the file
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 'fastparquet==2026.9.0' 'pandas==3.1.1' 'pyarrow==26.0.1'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
"$work/venv/bin/python" -W error -W ignore::ResourceWarning - "$work" <<'PYTHON'
import datetime
import pathlib
import sys

import fastparquet
import pyarrow
from pyarrow import parquet

folder = pathlib.Path(sys.argv[1])
TEXTS = ["2262-04-11", "2262-04-12", "9999-12-31", "0001-01-01"]
days = pyarrow.array([datetime.date.fromisoformat(text) for text in TEXTS])
parquet.write_table(pyarrow.table({"until": days}), folder / "days.parquet")
moments = days.cast(pyarrow.timestamp("us"))
parquet.write_table(pyarrow.table({"until": moments}), folder / "moments.parquet")


def read(name):
    """Return fastparquet's column, and its values as ISO dates."""
    column = fastparquet.ParquetFile(str(folder / name)).to_pandas()["until"]
    return column, [value.isoformat()[:10] for value in column]


column, fast = read("days.parquet")
arrow = [str(day) for day in parquet.read_table(folder / "days.parquet")["until"].to_pylist()]
for text, one, other in zip(TEXTS, fast, arrow):
    print(f"date {text}: {one} (pyarrow {other})")
_, stamps = read("moments.parquet")
print(f"timestamp {TEXTS[2]}: {stamps[2]}")
valid = int((column > "2030-01-01").sum())
true = sum(text > "2030" for text in TEXTS)
print(f"rows valid in 2030: {valid} with fastparquet, {true} in the file")
same = (
    fast == ["2262-04-11", "1677-09-21", "1816-03-29", "1754-08-30"]
    and arrow == TEXTS
    and stamps[2] == TEXTS[2]
    and (valid, true) == (1, 3)
)
sys.exit(0 if same else "the behaviour has changed")
PYTHON
