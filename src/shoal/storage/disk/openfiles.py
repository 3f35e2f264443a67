"""Keep a limited number of files open, for each share and for all of a node.

To read or write a file, a caller borrows its descriptor. When too many files are open,
the one that was borrowed least recently is closed. A borrowed descriptor is never
closed, because the system could reuse its number for another file.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import islice

__all__ = ["MAX_OPEN", "OpenFileLimit", "OpenFiles"]

MAX_OPEN = 64
"""How many files of one share stay open, unless more are borrowed."""
MAX_OF_NODE = 256
"""How many files of all shares of a node stay open, unless more are borrowed."""
_PART = 8  # the part of all descriptors that files may take, and twice that folders
_LEAST_FOLDERS = 4


class _Open:
    __slots__ = ("borrowed", "fd", "number", "owner")

    def __init__(self, owner: "OpenFiles", number: int, fd: int) -> None:
        self.owner = owner
        self.number = number
        self.fd = fd
        self.borrowed = 1


class OpenFileLimit:
    """Limit how many files all `OpenFiles` of a node keep open together."""

    def __init__(self, limit: int | None = None) -> None:
        """Without `limit`, allow a part of the descriptors of this process."""
        descriptors = _count_descriptors()
        self.limit = limit or min(MAX_OF_NODE, max(1, descriptors // _PART))
        """The most files that stay open."""
        self.most_folders = max(_LEAST_FOLDERS, descriptors // _PART // 2)
        """The most folders of one download that stay open."""
        self.lock = threading.Lock()
        self.files: OrderedDict[_Open, None] = OrderedDict()
        """All open files, the one borrowed least recently first."""


def _count_descriptors() -> int:
    """Return how many descriptors this process may have."""
    try:
        import resource
    except ImportError:  # Windows
        return 512
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


class OpenFiles:
    """Lend the descriptors of numbered files; safe for threads."""

    def __init__(
        self,
        open_file: Callable[[int], int],
        close_file: Callable[[int], None],
        limit: int = MAX_OPEN,
        of_node: OpenFileLimit | None = None,
    ) -> None:
        """Use `open_file` to open a file by its number, `close_file` to close it.

        At most `limit` of these files stay open, and with those of other shares at
        most as many as `of_node` allows.
        """
        self._open_file = open_file
        self._close_file = close_file
        self._limit = limit
        self._of_node = of_node or OpenFileLimit(limit)
        self._lock = self._of_node.lock
        self._files: OrderedDict[int, _Open] = OrderedDict()

    def borrow(self, number: int) -> int:
        """Return the descriptor of a file until `give_back`; open it if necessary.

        Raises the errors of `open_file`.
        """
        fd = self.borrow_now(number)
        if fd is not None:
            return fd
        fd = self._open_file(number)
        surplus: list[_Open] = []
        with self._lock:
            found = self._files.get(number)
            if found is None:
                made = self._files[number] = _Open(self, number, fd)
                self._of_node.files[made] = None
                surplus = self._take_surplus()
            else:  # another thread opened it first
                found.borrowed += 1
                surplus, fd = [_Open(self, number, fd)], found.fd
        for each in surplus:
            each.owner._close_file(each.fd)
        return fd

    def borrow_now(self, number: int) -> int | None:
        """Return the descriptor of a file if it is open; never block."""
        with self._lock:
            found = self._files.get(number)
            if found is None:
                return None
            found.borrowed += 1
            self._files.move_to_end(number)
            self._of_node.files.move_to_end(found)
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

    def close(self) -> None:
        """Close all files; none may be borrowed. Idempotent."""
        with self._lock:
            files, self._files = self._files, OrderedDict()
            for each in files.values():
                del self._of_node.files[each]
        for each in files.values():
            self._close_file(each.fd)

    def _take_surplus(self) -> list[_Open]:
        """Remove and return files beyond the limits that are not borrowed."""
        mine = _surplus(self._files.values(), self._limit)
        for each in mine:
            self._remove(each)
        others = _surplus(self._of_node.files.keys(), self._of_node.limit)
        for each in others:
            self._remove(each)
        return mine + others

    def _remove(self, file: _Open) -> None:
        del file.owner._files[file.number]
        del self._of_node.files[file]


def _surplus(files: Collection[_Open], limit: int) -> list[_Open]:
    """Return the first files that are not borrowed, as many as are beyond `limit`."""
    free = (each for each in files if not each.borrowed)
    return list(islice(free, max(0, len(files) - limit)))
