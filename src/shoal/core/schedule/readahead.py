"""Decide what to fetch for a reader: how far ahead, which chunks and blocks; pure."""

from typing import NamedTuple

from shoal.core.manifest.blocks import Run, block_count, runs_covering
from shoal.core.manifest.chunks import Chunks

__all__ = ["AHEAD_LIMIT", "NOTHING", "ReadAhead", "Wanted", "wanted_for"]

AHEAD_LIMIT = 16 * 1024 * 1024  # bytes that one reader fetches ahead
# Fetching a chunk as a whole costs fewer messages, and all peers can share the work.
MOST = 7 / 8  # part of a chunk for which the whole chunk is fetched


class ReadAhead:
    """Decide how far to fetch ahead of one reader, by its sequential reads.

    As many bytes are fetched ahead as it has read without a jump, up to `AHEAD_LIMIT`.
    So a stream is soon fetched as fast as it arrives, a reader that jumps about costs
    nothing that it does not read, and no more bytes are wasted than were used.
    """

    def __init__(self) -> None:
        """Start before the first read."""
        self._next = -1  # where a sequential read would begin
        self._run = 0  # bytes read without a jump

    def on_read(self, first: int, end: int) -> int:
        """Note a read of bytes `first` to `end - 1`; return how many more to fetch."""
        is_jump = first != self._next
        self._next = end
        self._run = end - first + (0 if is_jump else self._run)
        return 0 if is_jump else min(self._run, AHEAD_LIMIT)

    def on_got(self, end: int) -> None:
        """Note that a read got the bytes up to `end - 1`: whole blocks are fetched."""
        self._run += max(end - self._next, 0)
        self._next = max(end, self._next)


class Wanted(NamedTuple):
    """What a reader wants of the chunks that its reads cover."""

    chunks: range
    """Whole chunks."""
    runs: tuple[Run, ...]
    """Parts of the chunks at the ends."""

    def has(self, run: Run) -> bool:
        """Return True if a run, or part of it, is wanted."""
        return run.index in self.chunks or any(
            each.index == run.index
            and each.first < run.blocks.stop
            and run.first < each.blocks.stop
            for each in self.runs
        )

    def has_part_of(self, index: int) -> bool:
        """Return True if a chunk, or part of it, is wanted."""
        return index in self.chunks or any(each.index == index for each in self.runs)


NOTHING = Wanted(range(0), ())


def wanted_for(
    chunks: Chunks, first: int, end: int, *, by_blocks: bool = False
) -> Wanted:
    """Return what a reader of bytes `first` to `end - 1` of a share wants.

    That is whole chunks, and blocks of the first and the last one unless the reader
    wants most of them. With `by_blocks`, only blocks are wanted of the first chunk.
    """
    covered = chunks.covering(first, end)
    runs: list[Run] = []
    for index in dict.fromkeys((*covered[:1], *covered[-1:])):
        start = max(first, chunks.offset(index))
        (run,) = runs_covering(
            chunks, start, min(end, chunks.offset(index) + chunks.length(index))
        )
        count = block_count(chunks, index)
        is_blocks = by_blocks and index == covered[0] and count > 1
        if is_blocks or run.count < MOST * count:
            runs.append(run)
    parts = {run.index for run in runs}
    whole = range(
        covered.start + (covered.start in parts),
        covered.stop - (covered.stop - 1 in parts and len(covered) > 1),
    )
    return Wanted(whole if len(whole) else range(0), tuple(runs))
