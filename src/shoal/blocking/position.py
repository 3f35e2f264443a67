"""The position of a file that several threads may read.

A file object has one position, and programs rely on it: a thread continues where
another one stopped. Other programs (DuckDB) share a file among threads without a lock,
and each thread calls `seek` and then `read`. So the position of a thread's own seek is
kept until the thread reads, whatever other threads do between these two calls.
"""

import io
from operator import index
from os import SEEK_CUR, SEEK_SET
from threading import Lock, get_ident
from typing import Any

from shoal.reading.reader import seek_to

__all__ = ["Position"]

MAX_OTHERS = 1024  # threads that have called `seek`, but not read yet


class Position:
    """Let one call at a time use the position of a file; a context manager.

    Entering it returns the position; the block sets `place` to the next one. If the
    block raises, the position stays as it was.
    """

    def __init__(self, size: int, place: int = 0) -> None:
        """Start at `place`; `size` is that of the file, in bytes."""
        self.place = place
        """Where the last read ended, or where the last seek went."""
        self.lines: io.BufferedReader[Any] | None = None
        """The buffer of an iterator over the lines, if there is one.

        It has the position, since it moves without a call of ours.
        """
        self._size = size
        self._lock = Lock()
        self._seeker = 0  # the thread that called `seek` last
        self._sought: int | None = None  # where that went, until its thread reads
        self._others: dict[int, int] = {}  # the same of other threads
        self._before = 0

    def tell(self) -> int:
        """Return the position of the next read of this thread."""
        thread, place = get_ident(), self._common()
        own = self._sought if thread == self._seeker else self._others.get(thread)
        return place if own is None else own

    def _common(self) -> int:
        """Return the position of a thread that has not called `seek`."""
        return self.place if self.lines is None else self.lines.tell()

    def seek(self, offset: int, whence: int) -> int:
        """Set the position, and return it; raises what `seek_to` raises."""
        with self._lock:
            thread = get_ident()
            if thread != self._seeker:
                self._set_seeker(thread)
            place = index(offset)
            if whence != SEEK_SET or place < 0:
                start = self._sought
                if whence == SEEK_CUR and start is None:
                    start = self._common()
                place = seek_to(start or 0, self._size, place, whence)
            self.place = place
            # A seek to the end finds out the size; no read follows it.
            self._sought = place if place < self._size else None
            if self.lines is not None:
                self.lines.seek(place)
            return place

    def _set_seeker(self, thread: int) -> None:
        """Let another thread be the one that called `seek` last."""
        if self._sought is not None:
            if len(self._others) >= MAX_OTHERS:
                del self._others[next(iter(self._others))]
            self._others[self._seeker] = self._sought
        self._seeker, self._sought = thread, self._others.pop(thread, None)

    def __enter__(self) -> int:
        self._lock.acquire()
        try:
            thread, own = get_ident(), self._sought
            if thread != self._seeker:
                own = self._others.pop(thread, None) if self._others else None
            if own is None or thread == self._seeker:
                # Its own seek is done, or it continues where that of another one went.
                self._sought = None
            if own is None:
                own = self._common()
            self.place = self._before = own
            return own
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self._set_seeker(get_ident())
                self._sought = self.place = self._before
            if self.lines is not None and not self.lines.closed:
                self.lines.seek(self.place)
        finally:
            self._lock.release()
