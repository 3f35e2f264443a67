"""Decide how far to fetch ahead of a reader, by what it has read; pure.

As many bytes are fetched ahead as the reader has read without a jump, up to a limit. So
a stream is soon fetched as fast as it arrives, a reader that jumps about costs nothing
that it does not read, and at most as many bytes are wasted as were used.
"""

__all__ = ["AHEAD_LIMIT", "ReadAhead"]

AHEAD_LIMIT = 16 * 1024 * 1024  # bytes


class ReadAhead:
    """Measure the sequential reads of one reader."""

    def __init__(self, limit: int = AHEAD_LIMIT) -> None:
        """Fetch at most `limit` bytes ahead."""
        self._limit = limit
        self._next = -1  # where a sequential read would begin
        self._run = 0  # bytes read without a jump

    def on_read(self, first: int, end: int) -> int:
        """Note a read of bytes `first` to `end - 1`; return how many more to fetch."""
        if first != self._next:
            self._next, self._run = end, end - first
            return 0
        self._next = end
        self._run += end - first
        return min(self._run, self._limit)
