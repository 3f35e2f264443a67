"""Keep a limited number of the files of a share open.

To read or write a file, a caller borrows its descriptor. When too many files are open,
the one that was borrowed least recently is closed. A borrowed descriptor is never
closed, because the system could reuse its number for another file.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["MAX_OPEN", "OpenFiles"]

MAX_OPEN = 64
"""How many files of one share stay open, unless more are borrowed."""


class _Open:
    __slots__ = ("borrowed", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.borrowed = 1


class OpenFiles:
    """Lend the descriptors of numbered files; safe for threads."""

    def __init__(
        self,
        open_file: Callable[[int], int],
        close_file: Callable[[int], None],
        limit: int = MAX_OPEN,
    ) -> None:
        """Use `open_file` to open a file by its number, `close_file` to close it."""
        self._open_file = open_file
        self._close_file = close_file
        self._limit = limit
        self._lock = threading.Lock()
        self._files: OrderedDict[int, _Open] = OrderedDict()

    def borrow(self, number: int) -> int:
        """Return the descriptor of a file until `give_back`; open it if necessary.

        Raises the errors of `open_file`.
        """
        fd = self.borrow_now(number)
        if fd is not None:
            return fd
        fd = self._open_file(number)
        with self._lock:
            found = self._files.get(number)
            if found is None:
                self._files[number] = _Open(fd)
                surplus = self._take_surplus()
            else:  # another thread opened it first
                found.borrowed += 1
                surplus, fd = [fd], found.fd
        for each in surplus:
            self._close_file(each)
        return fd

    def borrow_now(self, number: int) -> int | None:
        """Return the descriptor of a file if it is open; never block."""
        with self._lock:
            found = self._files.get(number)
            if found is None:
                return None
            found.borrowed += 1
            self._files.move_to_end(number)
            return found.fd

    @contextmanager
    def borrowed(self, number: int) -> Iterator[int]:
        """Borrow the descriptor of a file for the block, as `borrow` does."""
        fd = self.borrow(number)
        try:
            yield fd
        finally:
            self.give_back(number)

    def give_back(self, number: int) -> None:
        """Return a borrowed descriptor."""
        with self._lock:
            found = self._files.get(number)
            if found is not None:
                found.borrowed -= 1

    def forget(self, number: int) -> None:
        """Close a file if it is open; it must not be borrowed."""
        with self._lock:
            found = self._files.pop(number, None)
        if found is not None:
            self._close_file(found.fd)

    def close(self) -> None:
        """Close all files; none may be borrowed. Idempotent."""
        with self._lock:
            files, self._files = self._files, OrderedDict()
        for each in files.values():
            self._close_file(each.fd)

    def _take_surplus(self) -> list[int]:
        """Remove and return descriptors beyond the limit that are not borrowed."""
        surplus: list[int] = []
        for number in list(self._files)[: max(0, len(self._files) - self._limit + 1)]:
            if len(self._files) <= self._limit:
                break
            if not self._files[number].borrowed:
                surplus.append(self._files.pop(number).fd)
        return surplus
