"""Verify chunks for somebody who waits for them, and keep them in memory.

A file is written by threads, because that takes long and nobody waits for one chunk
of it. A reader does: handing a small chunk to a thread and back takes longer than
judging it here and now.
"""

from functools import partial
from typing import TypeVar

from shoal.transfer.writer import Arrived, ChunkWriter, Verdict

__all__ = ["PromptWriter"]

P = TypeVar("P")

PROMPT_SIZE = 256 * 1024  # bytes; a longer chunk would hold up the loop


class PromptWriter(ChunkWriter[P]):
    """Judge small chunks at once; put what is right into a store in memory.

    The store keeps the data as it came, with the buffer that it lies in.
    """

    def put(self, arrived: Arrived[P]) -> None:
        """Take a chunk; the verdict of a small one comes before this returns."""
        if self._is_stopped:
            return
        if len(arrived.data) <= PROMPT_SIZE:
            self._settle(arrived, self._judge(arrived))
            return
        self.waiting += len(arrived.data)
        self._run(
            self._flushing,
            partial(self._judge, arrived),
            partial(self._on_verdict, arrived),
        )

    def _on_verdict(self, arrived: Arrived[P], verdict: Verdict) -> None:
        self.waiting -= len(arrived.data)
        if not self._is_stopped:
            self._settle(arrived, verdict)

    def _settle(self, arrived: Arrived[P], verdict: Verdict) -> None:
        if verdict is Verdict.RIGHT:
            self._store.put(arrived.index, arrived.data)
        elif arrived.buffer is not None:
            self._pool.give(arrived.buffer)
        self._on_verdicts([(arrived, verdict)])
