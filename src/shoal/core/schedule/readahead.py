"""Decide what to fetch for a reader: how far ahead, which chunks and blocks; pure."""

from typing import NamedTuple

from shoal.core.manifest.blocks import BLOCK_SIZE, Run, block_count, runs_covering
from shoal.core.manifest.chunks import Chunks

__all__ = [
    "AHEAD_LIMIT",
    "FIRST_PART",
    "FIRST_SIZE",
    "LEFT",
    "NOTHING",
    "NO_WAIT",
    "SHORT_WAIT",
    "SMALL_PART",
    "STREAM",
    "STREAM_MOST",
    "STREAM_PART",
    "ReadAhead",
    "Wanted",
    "wanted_for",
]

AHEAD_LIMIT = 16 * 1024 * 1024  # bytes that one reader fetches ahead
SHORT_WAIT = 0.01  # seconds for an answer that are not worth much waste to save
SMALL_PART = 32  # of what was read; one such part is fetched ahead then
FIRST_PART = 8  # of what was read; one such part is, as long as that is within a block
STREAM = 4 * 1024 * 1024  # bytes read without a jump, after which waste matters less
STREAM_PART = 20  # of what was read; one such part at most is fetched ahead then
STREAM_MOST = 2 * 1024 * 1024  # bytes that are enough to keep near peers busy
WAITS_AHEAD = 4  # times of waiting for peers in which as much is read as is ahead
# Part of what is ahead at which more is requested. What is requested together arrives
# together, so a larger part than half keeps peers busy while we verify the last one.
LEFT = 3 / 4
FIRST_SIZE = 128 * 1024  # bytes at most that show how long an answer takes
NO_WAIT = 0.0001  # seconds; what takes less was in the cache
SMOOTHING = 0.25  # weight of a new wait in the average
# Fetching a chunk as a whole costs fewer messages, and all peers can share the work.
MOST = 7 / 8  # part of a chunk for which the whole chunk is fetched


class ReadAhead:
    """Decide how far to fetch ahead of one reader, by its sequential reads.

    A stream is fetched as far ahead as it is read in the time that peers take to
    answer, so that it soon does not wait for them. That is never more than it has read
    without a jump, and where they answer within `SHORT_WAIT`, a small part of that: at
    most one in `STREAM_PART` once it has read `STREAM` bytes, and less until then. So a
    reader that jumps about costs little that it does not read.
    """

    def __init__(self) -> None:
        """Start before the first read."""
        self._next = -1  # where a sequential read would begin
        self._run = 0  # bytes read without a jump
        self._since = 0.0  # when that began
        self._edge = 0  # the end of what was fetched ahead
        self._is_jump = True  # whether the last read was one
        self._wait = 0.0  # usual seconds until the first bytes after a jump

    def on_read(self, first: int, end: int, now: float) -> int:
        """Note a read of bytes `first` to `end - 1`; return how many more to fetch."""
        self._is_jump = first != self._next
        self._next = end
        if self._is_jump:
            self._run, self._since, self._edge = end - first, now, end
            return 0
        self._run += end - first
        rate = self._run / max(now - self._since, self._wait, NO_WAIT)
        wait = max(self._wait, SHORT_WAIT)
        ahead = int(min(WAITS_AHEAD * wait * rate, AHEAD_LIMIT))
        if self._wait < SHORT_WAIT:
            # Verifying and a busy machine delay answers more than the network does.
            most = min(self._run // STREAM_PART, STREAM_MOST)
            stream = min(self._run - STREAM, ahead, most)
            little = max(
                self._run // SMALL_PART, min(self._run // FIRST_PART, BLOCK_SIZE)
            )
            ahead = max(little, stream)
        ahead = min(ahead, self._run, AHEAD_LIMIT)
        # Not a little more with each read, because every request costs time.
        if self._edge - end < int(LEFT * ahead):
            self._edge = end + ahead
        return max(self._edge - end, 0)

    def on_got(self, first: int, end: int, waited: float) -> None:
        """Note that bytes `first` to `end - 1` arrived together after `waited` seconds.

        Whole blocks and chunks are fetched, so they may be more than a read asked for.
        """
        # A long chunk takes time on the line, too.
        waited *= min(1.0, FIRST_SIZE / max(end - first, 1))
        self._run += max(end - self._next, 0)
        self._next = max(end, self._next)
        # Without a jump it is part of the time only, unless nothing better is known.
        if (self._is_jump or not self._wait) and waited > NO_WAIT:
            self._wait += (waited - self._wait) * (SMOOTHING if self._wait else 1)
            self._is_jump = False


class Wanted(NamedTuple):
    """What a reader wants of the chunks that its reads cover."""

    chunks: range
    """Whole chunks."""
    runs: tuple[Run, ...]
    """Parts of the chunks at the ends."""

    @property
    def last(self) -> int:
        """Return the last chunk of which anything is wanted."""
        last: int = max((*self.chunks[-1:], *(run.index for run in self.runs)))
        return last

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
