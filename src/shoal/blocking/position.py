"""The position of a file that several threads may read.

A file object has one position, and programs rely on it: a thread continues where
another one stopped. Other programs (DuckDB) share a file among threads without a lock,
and each thread calls `seek` and then `read`. So the position of a thread's own seek is
kept until the thread reads, whatever other threads do between these two calls.
"""

import io
import os
from threading import Lock, get_ident
from typing import Any

__all__ = ["Position"]

MAX_SOUGHT = 1024  # threads that have called `seek`, but not read yet


class Position:
    """Let one call at a time use the position of a buffer; a context manager.

    Entering it returns the position. If the block raises, the position stays as it was.
    """

    def __init__(self, buffer: "io.BufferedReader[Any]", size: int) -> None:
        """Start where `buffer` is; `size` is that of the file, in bytes."""
        self._buffer = buffer
        self._size = size
        self._lock = Lock()
        self._sought: dict[int, int] = {}  # by thread, until it reads
        self._seeker = 0  # the thread whose seek was the last one
        self._before = 0

    @property
    def is_in_use(self) -> bool:
        """Return True while a call uses the position."""
        return self._lock.locked()

    def tell(self) -> int:
        """Return the position of the next read of this thread."""
        place = self._buffer.tell()
        return self._sought.get(get_ident(), place) if self._sought else place

    def seek(self, offset: int, whence: int) -> int:
        """Set the position, and return it; raises what `seek` of the buffer raises."""
        with self._lock:
            thread, buffer, sought = get_ident(), self._buffer, self._sought
            if whence == os.SEEK_CUR and thread in sought:
                buffer.seek(sought[thread])
            place = buffer.seek(offset, whence)
            # A seek to the end finds out the size; no read follows it.
            if place < self._size:
                if len(sought) >= MAX_SOUGHT:
                    del sought[next(iter(sought))]
                sought[thread] = place
                self._seeker = thread
            else:
                sought.pop(thread, None)
            return place

    def __enter__(self) -> int:
        self._lock.acquire()
        try:
            place = self._buffer.tell()
            if self._sought:
                own = self._sought.pop(get_ident(), None)
                if own is None:
                    # This thread continues where the seek of another one went.
                    self._sought.pop(self._seeker, None)
                elif own != place:
                    place = self._buffer.seek(own)
        except BaseException:
            self._lock.release()
            raise
        self._before = place
        return place

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None and not self._buffer.closed:
                self._buffer.seek(self._before)
                if self._before < self._size:
                    self._sought[get_ident()] = self._before
        finally:
            self._lock.release()
