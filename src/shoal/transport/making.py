"""Data that is made in threads, part by part, as the socket takes it.

A chunk may have 16 MiB, and a peer that has requested it may read it over minutes. So
no more of it is read from the disk than there is room for, and the next part once the
socket has taken the last one.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeAlias, TypeVar

from shoal.core.send_budget import SMALL_PART

__all__ = ["Data", "Making", "Room"]

Data: TypeAlias = bytes | bytearray | memoryview
T = TypeVar("T")

ROOM_PAUSE = 0.05  # seconds until room is asked for again where there is none


class Room(Protocol):
    """Tell how much may be made for one peer."""

    def take(self) -> int:
        """Return how many bytes may be made now; 0 for none."""

    def made(self) -> None:
        """Note that what was taken last is made, and is in the memory of its peer."""


class Making(Generic[T]):
    """Hold the answers that are being sent to one peer."""

    def __init__(
        self,
        count: int,
        make: Callable[[Callable[[], int]], Iterator[tuple[list[Data], T | None]]],
        room: Room,
    ) -> None:
        """Prepare to make `count` answers.

        `make` gets a function that returns how many bytes a part may have, and yields
        parts, each with a note if it ends an answer. A part is valid until the next
        one.
        """
        self.notes: asyncio.Future[list[T]] = asyncio.get_running_loop().create_future()
        """The notes of all answers, once they are made."""
        self._count = count
        self._parts = make(lambda: self._size)
        self._room = room
        self._size = 0  # of the last parts
        self._noted: list[T] = []
        self._again: asyncio.TimerHandle | None = None

    @property
    def is_done(self) -> bool:
        """Return True if every answer was made."""
        return len(self._noted) == self._count

    def take(self, size: int) -> Iterator[list[Data]]:
        """Yield parts with about `size` bytes together; called in a thread."""
        taken = 0
        while taken < size and not self.is_done:
            parts, note = next(self._parts)
            if note is not None:
                self._noted.append(note)
            taken += sum(map(len, parts))
            yield parts
            parts.clear()  # the generator has them still, and may wait for long

    def next_size(
        self, queued: int, ask_again: Callable[[], None], *, asks: bool = False
    ) -> int:
        """Return how many bytes to make now; 0 for none.

        That is so until `queued`, the bytes that wait for the socket, are few; if it
        `asks`, `ask_again` is called after a pause then. It always is if there is no
        room.
        """
        # Of large parts the next one is made in time; small ones are to save memory.
        few = self._size // 2 if self._size > SMALL_PART else 0
        if self._size and queued > few:
            if asks:
                self._ask(ask_again)
            return 0
        size = self._room.take()
        if size:
            self._size = size
        else:
            self._ask(ask_again)
        return size

    def _ask(self, ask_again: Callable[[], None]) -> None:
        def due() -> None:
            self._again = None
            ask_again()

        if self._again is None:
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(ROOM_PAUSE, due)

    def on_made(self) -> None:
        """Note that a thread has made the parts of `next_size`, or has failed to."""
        self._room.made()

    def finish(self) -> None:
        """Report that every answer was made and waits for the socket."""
        self.notes.set_result(self._noted)

    def fail(self, error: BaseException) -> None:
        """Report that an answer could not be made."""
        self._stop()
        self.notes.set_exception(error)

    def cancel(self) -> None:
        """Make nothing more: the connection has ended; no thread may be at it."""
        self._stop()
        self.notes.cancel()

    def _stop(self) -> None:
        if self._again is not None:
            self._again.cancel()
