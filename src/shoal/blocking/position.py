"""The position of a file that several threads may read.

A file object has one position, and programs rely on it: a thread continues where
another one stopped. Other programs (DuckDB) share a file among threads without a lock,
and each thread calls `seek` and then `read`. So the position of a thread's own seek is
kept until the thread reads, whatever other threads do between these two calls.
"""

import io
from os import SEEK_CUR
from threading import Lock, get_ident
from typing import Any

__all__ = ["Position"]

MAX_OTHERS = 1024  # threads that have called `seek`, but not read yet


class Position:
    """Let one call at a time use the position of a buffer; a context manager.

    Entering it returns the position. If the block raises, the position stays as it was.
    """

    def __init__(self, buffer: "io.BufferedReader[Any]", size: int) -> None:
        """Start where `buffer` is; `size` is that of the file, in bytes."""
        self._buffer = buffer
        self._size = size
        self._lock = Lock()
        self._seeker = 0  # the thread that called `seek` last
        self._place: int | None = None  # where that seek went, until its thread reads
        self._others: dict[int, int] = {}  # the same of other threads
        self._before = 0

    def tell(self) -> int:
        """Return the position of the next read of this thread."""
        thread, place = get_ident(), self._buffer.tell()
        own = self._place if thread == self._seeker else self._others.get(thread)
        return place if own is None else own

    def seek(self, offset: int, whence: int) -> int:
        """Set the position, and return it; raises what `seek` of the buffer raises."""
        with self._lock:
            thread = get_ident()
            if thread != self._seeker:
                self._set_seeker(thread)
            if whence == SEEK_CUR and self._place is not None:
                self._buffer.seek(self._place)
            place = self._buffer.seek(offset, whence)
            # A seek to the end finds out the size; no read follows it.
            self._place = place if place < self._size else None
            return place

    def _set_seeker(self, thread: int) -> None:
        """Let another thread be the one that called `seek` last."""
        if self._place is not None:
            if len(self._others) >= MAX_OTHERS:
                del self._others[next(iter(self._others))]
            self._others[self._seeker] = self._place
        self._seeker, self._place = thread, self._others.pop(thread, None)

    def __enter__(self) -> int:
        self._lock.acquire()
        try:
            place = self._buffer.tell()
            thread = get_ident()
            own = (
                self._place
                if thread == self._seeker
                else self._others.pop(thread, None)
            )
            if own is None or thread == self._seeker:
                # Its own seek is done, or it continues where that of another one went.
                self._place = None
            if own is not None and own != place:
                place = self._buffer.seek(own)
        except BaseException:
            self._lock.release()
            raise
        self._before = place
        return place

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None and not self._buffer.closed:
                self._set_seeker(get_ident())
                self._buffer.seek(self._before)
                self._place = self._before
        finally:
            self._lock.release()
