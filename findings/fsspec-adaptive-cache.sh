#!/bin/sh
# fsspec's "adaptive" read-ahead cache asks for one range per read, whatever block_size
# says; the plain "readahead" cache asks for one per block.
#
# Packages: fsspec 2026.9.0 (PyPI), CPython 3.11.
#
# Expected: cache_type="adaptive" is described as optimized for sequential reads, by
# adjusting "the amount of data prefetched in the background", with blocksize as the
# nominal read size. For 500 sequential reads of 4 KiB from a file that is opened with
# block_size=4 MiB it should ask for no more ranges than cache_type="readahead": one.
# https://filesystem-spec.readthedocs.io/en/latest/api.html#read-buffering
#
# What happens: the adaptive cache does not use block_size at all. The unit of its
# prefetch is the average of the last reads, and it fetches several of these units ahead
# in parallel rather than one larger range. A reader of small records thus turns into
# as many requests as it makes reads, and twice as many with the prefetch. On an object
# store, where requests are what is slow and billed, the cache named adaptive costs
# hundreds of times the requests of the cache it is to improve on.
#
# Output seen (the adaptive counts vary by a few with the timing of its background task):
#   500 reads of 4096 bytes: readahead 1 ranges of 4198400 bytes on average, adaptive 998 ranges of 4096
#   160 reads of 65536 bytes: readahead 3 ranges of 4259840 bytes on average, adaptive 161 ranges of 97693
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 'fsspec==2026.9.0'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
"$work/venv/bin/python" - <<'PYTHON'
import sys

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

DATA = bytes(range(256)) * 200_000  # 51.2 MB.
ranges = []  # Bytes of each range that a cache asks for.


class RangeFile(AbstractBufferedFile):
    """Serve DATA and record each range."""

    def _fetch_range(self, start, end):
        ranges.append(end - start)
        return DATA[start:end]


class RangeFileSystem(AbstractFileSystem):
    """A file system of one file, as a store of objects presents it."""

    def info(self, path, **options):
        return {"name": path, "size": len(DATA), "type": "file"}

    def _open(self, path, mode="rb", **options):
        return RangeFile(self, path, mode, size=len(DATA), **options)


def read(cache_type, count, size):
    """Return the number of ranges and of their bytes for sequential reads."""
    with RangeFileSystem().open("data", block_size=4 << 20, cache_type=cache_type) as file:
        ranges.clear()
        for index in range(count):
            assert file.read(size) == DATA[index * size : (index + 1) * size]
    return len(ranges), sum(ranges)


changed = False
for count, size in ((500, 4096), (160, 65_536)):
    plain, plain_bytes = read("readahead", count, size)
    adaptive, adaptive_bytes = read("adaptive", count, size)
    print(f"{count} reads of {size} bytes: readahead {plain} ranges of {plain_bytes // plain} bytes "
          f"on average, adaptive {adaptive} ranges of {adaptive_bytes // adaptive}")
    changed |= plain > 3 or adaptive < count * 0.9
sys.exit("the behaviour has changed" if changed else 0)
PYTHON
