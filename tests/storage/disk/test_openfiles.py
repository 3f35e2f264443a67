"""Few files stay open, and none is closed while it is borrowed."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shoal.errors import StoreError
from shoal.storage.disk.openfiles import OpenFiles


class Opener:
    """Return a number for each opened file, and record which are open."""

    def __init__(self) -> None:
        self.open: dict[int, int] = {}
        self.opened: list[int] = []
        self._lock = threading.Lock()

    def open_file(self, number: int) -> int:
        if number < 0:
            raise StoreError("there is no such file")
        with self._lock:
            self.opened.append(number)
            fd = len(self.opened)
            self.open[fd] = number
        return fd

    def close_file(self, fd: int) -> None:
        with self._lock:
            del self.open[fd]


def test_the_least_recently_borrowed_file_is_closed() -> None:
    opener = Opener()
    files = OpenFiles(opener.open_file, opener.close_file, 3)
    for number in (1, 2, 3, 1, 4):
        files.borrow(number)
        files.give_back(number)
    assert set(opener.open.values()) == {1, 3, 4}
    assert opener.opened == [1, 2, 3, 4]
    assert files.borrow_now(2) is None
    assert files.borrow_now(1) is not None
    files.close()
    files.close()
    assert not opener.open


def test_a_borrowed_file_stays_open() -> None:
    opener = Opener()
    files = OpenFiles(opener.open_file, opener.close_file, 2)
    for number in range(5):
        files.borrow(number)
    assert len(opener.open) == 5
    for number in range(5):
        files.give_back(number)
    files.borrow(9)
    assert len(opener.open) == 2


def test_an_error_while_opening_is_raised_and_nothing_stays_open() -> None:
    opener = Opener()
    files = OpenFiles(opener.open_file, opener.close_file)
    with pytest.raises(StoreError):
        files.borrow(-1)
    assert files.borrow_now(-1) is None


def test_threads_never_see_the_descriptor_of_another_file() -> None:
    opener = Opener()
    files = OpenFiles(opener.open_file, opener.close_file, 4)

    def use(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(3_000):
            number = rng.randrange(12)
            fd = files.borrow(number)
            assert opener.open[fd] == number
            files.give_back(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(4)))
    assert len(opener.open) == 4
    files.close()
    assert not opener.open
