"""Write the bytes of a share to standard output without blocking the event loop.

This is no part of `output`, because `shoal --help` would then import asyncio.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from typing import TypeAlias

from shoal.cli.output import writing_output

__all__ = ["BytesWriter"]

Block: TypeAlias = bytes | bytearray | memoryview


class BytesWriter:
    """Write bytes to standard output in a thread, one block at a time.

    A reader that stops reading blocks the thread, not the event loop, so the node
    continues to upload. The thread does not delay the end of the process. What a
    program writes to `sys.stdout` meanwhile would not be in order.
    """

    def __init__(self) -> None:
        sys.stdout.flush()
        # Not through Python's stream, whose lock would be held while the thread blocks.
        self._fd = sys.stdout.fileno()
        self._loop = asyncio.get_running_loop()
        self._blocks: deque[tuple[Block, asyncio.Future[None]]] = deque()
        self._waiting = threading.Semaphore(0)  # for each block that is not taken
        # A worker of an executor would be waited for at exit.
        threading.Thread(target=self._run, name="shoal-output", daemon=True).start()

    async def write(self, block: Block) -> None:
        """Write a block; return once the system has all of it.

        Raises as `writing_output`.
        """
        written: asyncio.Future[None] = self._loop.create_future()
        self._blocks.append((block, written))
        self._waiting.release()
        with writing_output():
            await written

    def _run(self) -> None:
        while True:
            self._waiting.acquire()
            block, written = self._blocks.popleft()
            error: OSError | None = None
            try:
                with memoryview(block).cast("B") as rest:
                    done = 0
                    while done < len(rest):
                        done += os.write(self._fd, rest[done:])
            except OSError as failed:
                error = failed
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(_settle, written, error)


def _settle(written: "asyncio.Future[None]", error: OSError | None) -> None:
    if written.done():
        return  # the writer was cancelled
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(error)
