"""How far to fetch ahead of a reader, judged by what it has read.

As much as it has read in one go, up to a limit: so a stream is soon fetched as fast
as it comes, someone who picks here and there costs nothing that is not read, and at
worst as much is fetched in vain as was of use.
"""

__all__ = ["AHEAD_LIMIT", "ReadAhead"]

AHEAD_LIMIT = 16 * 1024 * 1024  # bytes


class ReadAhead:
    """Follow one reader."""

    def __init__(self, limit: int = AHEAD_LIMIT) -> None:
        """Fetch at most `limit` bytes ahead."""
        self._limit = limit
        self._next = -1  # where a read would go on from the last one
        self._run = 0  # bytes read in one go

    def on_read(self, first: int, end: int) -> int:
        """Note a read; return how many bytes after `end` are worth fetching now."""
        if first != self._next:
            self._next, self._run = end, end - first
            return 0
        self._next = end
        self._run += end - first
        return min(self._run, self._limit)
