"""Read chunks for receivers, in threads, from a store that may be replaced.

A download that ends gives its chunks to another store. Threads that read at that moment
still read from the old store. Every later read is from the new one, even of the rest of
a chunk that is sent part by part.
"""

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

from shoal.errors import ShoalError
from shoal.storage.store import ChunkReader, Span

__all__ = ["READ_BATCH", "Read", "Requests", "StoreReader"]

READ_BATCH = 2 * 1024 * 1024  # bytes of chunks that are read at once

T = TypeVar("T")

Requests: TypeAlias = Sequence[tuple[int | Span, Hashable]]
"""Chunks or parts of them, each with a note for the receiver."""
Read: TypeAlias = bytes | memoryview | Exception
"""A chunk or a part, or why it cannot be read."""


class _Scratch(threading.local):
    """Hold memory for one chunk in each thread."""

    def __init__(self) -> None:
        self._room = memoryview(b"")

    def room(self, size: int) -> memoryview | None:
        """Return memory for a chunk; None if that would be much."""
        if size > READ_BATCH:
            return None
        if len(self._room) < size:
            self._room = memoryview(bytearray(size))
        return self._room


_scratch = _Scratch()


class StoreReader:
    """Read from one store, until another one replaces it."""

    def __init__(self, store: ChunkReader) -> None:
        self.store = store
        """The present store."""
        self._lock = threading.Lock()
        self._running = 0  # threads that read
        self._over: asyncio.Event | None = None  # set when none does
        self._loop = asyncio.get_running_loop()

    async def read_from(self, store: ChunkReader) -> None:
        """Read from another store; wait until no thread reads the old one."""
        self.store = store
        over = asyncio.Event()
        with self._lock:
            if not self._running:
                return
            self._over = over
        await over.wait()

    def size_of(self, wanted: int | Span) -> int:
        """Return the size of a chunk or part in bytes."""
        if isinstance(wanted, Span):
            return wanted.end - wanted.first
        return self.store.chunks.length(wanted)

    def get_now(self, wanted: int | Span) -> bytes | None:
        """Return a chunk or part if that does not block; raises as the store does."""
        if isinstance(wanted, Span):
            return self.store.get_span_now(wanted)
        return self.store.get_now(wanted)

    # In a thread.

    def read(self, wanted: int | Span) -> bytes | Exception:
        """Return a chunk or part, or the error of reading it."""
        with self._lock:
            self._running += 1
        try:
            if isinstance(wanted, Span):
                return _result(partial(self.store.get_span, wanted))
            return _result(partial(self.store.get, wanted))
        finally:
            self._end()

    def read_into(self, wanted: int | Span) -> Read:
        """Return the same, in memory that the next call in this thread uses again."""
        room = _scratch.room(self.store.chunks.chunk_size)
        if room is None or isinstance(wanted, Span):
            return self.read(wanted)
        with self._lock:
            self._running += 1
        try:
            return _result(partial(self.store.get_into, wanted, room))
        finally:
            self._end()

    def _end(self) -> None:
        """Note that a thread does not read any more."""
        with self._lock:
            self._running -= 1
            if not self._running and self._over is not None:
                self._loop.call_soon_threadsafe(self._over.set)
                self._over = None


def _result(read: Callable[[], T]) -> T | Exception:
    """Return what `read` does, or its error, which the receiver reports to the user."""
    try:
        return read()
    except ShoalError as error:
        # Its traceback would keep the bytes that were read and not sent.
        return type(error)(str(error))
    except KeyError as error:
        return KeyError(*error.args)
    except Exception as error:
        return error
