"""The required answers to `Range` requests for a file (RFC 9110), case by case.

Section 14.2 permits a server to ignore or to reject invalid ranges. The gateway rejects
them with 416, as in section 15.5.17 and like nginx, so a client that requests little
does not get everything. For an unknown unit or several ranges, it sends the whole file.
"""

from typing import NamedTuple

__all__ = ["RANGES", "SIZE", "RangeCase"]

SIZE = 50_000
LAST = SIZE - 1


class RangeCase(NamedTuple):
    """One request and the required answer."""

    value: str
    status: int
    first: int = 0
    last: int = LAST
    nginx: bool = True
    """Whether nginx gives the same answer."""


RANGES = [
    # A first byte, with or without a last byte.
    RangeCase("bytes=0-0", 206, 0, 0),
    RangeCase("bytes=0-", 206),
    RangeCase(f"bytes=0-{LAST}", 206),
    RangeCase(f"bytes=0-{SIZE}", 206),
    RangeCase("bytes=0-999999999999", 206),
    RangeCase("bytes=0-1180591620717411303424", 206, nginx=False),
    RangeCase(f"bytes=0-{'9' * 5000}", 206, nginx=False),
    RangeCase("bytes=1-1", 206, 1, 1),
    RangeCase(f"bytes={LAST}-", 206, LAST, LAST),
    RangeCase(f"bytes={LAST}-{LAST}", 206, LAST, LAST),
    RangeCase(f"bytes={LAST}-{SIZE}", 206, LAST, LAST),
    RangeCase("bytes=16383-16384", 206, 16_383, 16_384),
    RangeCase("bytes=16384-32767", 206, 16_384, 32_767),
    RangeCase("bytes=16000-40000", 206, 16_000, 40_000),
    RangeCase("bytes=007-0000000000000000000000009", 206, 7, 9),
    # A number of bytes at the end.
    RangeCase("bytes=-1", 206, LAST, LAST),
    RangeCase("bytes=-20000", 206, 30_000, LAST),
    RangeCase(f"bytes=-{SIZE}", 206),
    RangeCase(f"bytes=-{SIZE + 1}", 206),
    RangeCase("bytes=-1180591620717411303424", 206, nginx=False),
    # Other spellings.
    RangeCase("BYTES=1-2", 206, 1, 2),
    RangeCase("bytes=1-2,", 206, 1, 2, nginx=False),
    RangeCase("bytes=,1-2", 206, 1, 2, nginx=False),
    RangeCase("bytes=, ,\t1-2 ,,", 206, 1, 2, nginx=False),
    # Outside the file.
    RangeCase(f"bytes={SIZE}-", 416),
    RangeCase(f"bytes={SIZE}-{SIZE + 1}", 416),
    RangeCase("bytes=1180591620717411303424-", 416),
    RangeCase("bytes=-0", 416),
    # Invalid.
    RangeCase("bytes=5-2", 416),
    RangeCase("bytes=", 416, nginx=False),
    RangeCase("bytes=-", 416),
    RangeCase("bytes=,", 416),
    RangeCase("bytes=abc", 416),
    RangeCase("bytes=1", 416),
    RangeCase("bytes=1-2-3", 416),
    RangeCase("bytes=0x0-0x5", 416),
    RangeCase("bytes=--1", 416),
    RangeCase("bytes=+1-2", 416),
    RangeCase("bytes=1 - 2", 416, nginx=False),
    RangeCase("bytes= 1-2", 416, nginx=False),
    RangeCase("bytes=1-2;3-4", 416),
    # Answered with the whole file.
    RangeCase("bytes=0-0,2-3", 200),
    RangeCase("bytes=0-10,5-15", 200),
    RangeCase("bytes=" + ",".join(["0-"] * 1000), 200),
    RangeCase("items=0-5", 200),
    RangeCase("bytes 0-5", 200),
    RangeCase("bytes", 200),
    RangeCase("none", 200),
]
