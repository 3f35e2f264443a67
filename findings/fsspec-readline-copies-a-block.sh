#!/bin/sh
# Each line of a file that fsspec opens in binary mode copies a whole block: 5 MiB, even
# for lines of ten bytes.
#
# Packages: fsspec 2026.9.0 (PyPI), CPython 3.11.
#
# Expected: fs.open(path) returns a buffered file, documented as "file-like" and
# "with buffering", and its cache has the block already. "for line in file" should cost
# about as much as it does for io.BufferedReader: each byte is copied once or twice.
# https://filesystem-spec.readthedocs.io/en/latest/api.html#fsspec.spec.AbstractBufferedFile
#
# What happens: readline() reads blocksize bytes from the cache (a copy), searches them for
# a newline, and seeks back to the end of the line. The default block size is 5 MiB, so
# 500 lines of ten bytes copy 2.6 GB, and a file of n blocks and m lines costs m blocks
# rather than n. Text mode is not affected: io.TextIOWrapper reads 8 KiB at a time. So
# fs.open(path, "rb") with numpy.loadtxt or csv over its lines takes a million times the
# bytes of the file, while fs.open(path, "r") does not.
#
# Output seen:
#   binary: 500 lines of 10 bytes copied 2621440000 bytes from the cache in 500 reads
#   text: 500 lines of 10 bytes copied 8192 bytes from the cache in 1 reads
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 'fsspec==2026.9.0'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
"$work/venv/bin/python" - <<'PYTHON'
import sys
from itertools import islice

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

DATA = b"".join(b"%09d\n" % number for number in range(1_100_000))  # 11 MB.
copied = []  # Bytes of each read from the cache.


class CountingFile(AbstractBufferedFile):
    """Serve DATA and count what read() copies from the cache."""

    def _fetch_range(self, start, end):
        return DATA[start:end]

    def read(self, length=-1):
        found = super().read(length)
        copied.append(len(found))
        return found


class OneFile(AbstractFileSystem):
    """A file system of one file."""

    def info(self, path, **options):
        return {"name": path, "size": len(DATA), "type": "file"}

    def _open(self, path, mode="rb", **options):
        return CountingFile(self, path, mode, size=len(DATA))


def read_lines(kind, mode):
    """Read 500 lines; return how many bytes were copied from the cache."""
    copied.clear()
    with OneFile().open("data", mode) as file:
        lines = list(islice(file, 500))
    assert len(lines) == 500 and len(lines[0]) == 10
    print(f"{kind}: 500 lines of 10 bytes copied {sum(copied)} bytes from the cache "
          f"in {len(copied)} reads")
    return sum(copied)


binary, text = read_lines("binary", "rb"), read_lines("text", "r")
same = binary == 500 * 5 * 2**20 and text < 100_000
sys.exit(0 if same else "the behaviour has changed")
PYTHON
