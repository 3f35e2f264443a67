"""Verify the chunks that a reader waits for, and store them in memory."""

from functools import partial
from typing import TypeVar

from shoal.transfer.writer import Arrived, ChunkWriter, Opened, Outcome

__all__ = ["MemoryWriter"]

P = TypeVar("P")

ON_LOOP_SIZE = 256 * 1024  # bytes; verifying a longer chunk would delay the loop


class MemoryWriter(ChunkWriter[P]):
    """Verify small chunks on the event loop; put them into a store in memory.

    A reader waits for each chunk, and passing a small one to a thread and back takes
    longer than hashing it. The store keeps the data in the buffer it was received into.
    """

    def put(self, arrived: Arrived[P]) -> None:
        """Take a chunk; a small one is verified before this returns."""
        if self._is_stopped:
            return
        if len(arrived.data) <= ON_LOOP_SIZE:
            self._report(self._open(arrived))
            return
        self.waiting += len(arrived.data)
        self._run(
            self._resources.threads, partial(self._open, arrived), self._on_opened
        )

    def _on_opened(self, opened: Opened[P]) -> None:
        self.waiting -= len(opened.arrived.data)
        if not self._is_stopped:
            self._report(opened)

    def _report(self, opened: Opened[P]) -> None:
        arrived, is_kept = opened.arrived, opened.outcome is Outcome.VERIFIED
        if is_kept:
            self._store.put(arrived.index, opened.data)
        if arrived.buffer is not None and (opened.plain is not None or not is_kept):
            self._resources.buffers.give(arrived.buffer)
        self._on_results([(arrived, opened.outcome)])
