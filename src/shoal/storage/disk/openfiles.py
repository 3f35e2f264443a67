"""A bounded number of open files out of any number of them.

Whoever reads or writes one borrows its descriptor; the one not borrowed for the
longest time is closed when there are too many. A descriptor is never closed while
it is borrowed: its number could become that of another file meanwhile.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["MAX_OPEN", "OpenFiles"]

MAX_OPEN = 64
"""How many files of one share are open, if no more are borrowed."""


class _Open:
    __slots__ = ("borrowed", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.borrowed = 1


class OpenFiles:
    """Lend descriptors of files that are numbered; safe for threads."""

    def __init__(
        self,
        open_file: Callable[[int], int],
        close_file: Callable[[int], None],
        limit: int = MAX_OPEN,
    ) -> None:
        """Open by number with `open_file`, close a descriptor with `close_file`."""
        self._open_file = open_file
        self._close_file = close_file
        self._limit = limit
        self._lock = threading.Lock()
        self._files: OrderedDict[int, _Open] = OrderedDict()

    def borrow(self, number: int) -> int:
        """Return the descriptor of a file, until `give_back`; open it if need be.

        Raises what opening raises.
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
            else:  # another thread was quicker
                found.borrowed += 1
                surplus, fd = [fd], found.fd
        for each in surplus:
            self._close_file(each)
        return fd

    def borrow_now(self, number: int) -> int | None:
        """Return the descriptor of a file if it is open; never wait."""
        with self._lock:
            found = self._files.get(number)
            if found is None:
                return None
            found.borrowed += 1
            self._files.move_to_end(number)
            return found.fd

    def give_back(self, number: int) -> None:
        """Let a borrowed descriptor go."""
        with self._lock:
            found = self._files.get(number)
            if found is not None:
                found.borrowed -= 1

    def forget(self, number: int) -> None:
        """Close a file if it is open; nobody may be borrowing it."""
        with self._lock:
            found = self._files.pop(number, None)
        if found is not None:
            self._close_file(found.fd)

    def close(self) -> None:
        """Close all; nobody may be borrowing any. Idempotent."""
        with self._lock:
            files, self._files = self._files, OrderedDict()
        for each in files.values():
            self._close_file(each.fd)

    def _take_surplus(self) -> list[int]:
        """Take out, oldest first, what is open beyond the limit and not borrowed."""
        surplus: list[int] = []
        for number in list(self._files)[: max(0, len(self._files) - self._limit + 1)]:
            if len(self._files) <= self._limit:
                break
            if not self._files[number].borrowed:
                surplus.append(self._files.pop(number).fd)
        return surplus
