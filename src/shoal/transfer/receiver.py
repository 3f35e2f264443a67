"""What an `Uploader` serves: one peer, or one client of an open channel."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Protocol, TypeAlias

from shoal.core.rate_limit import RateLimit
from shoal.core.send_budget import SendBudget, Sending
from shoal.storage.store import Span
from shoal.transfer.store_reader import Read, Requests
from shoal.transport.making import Room

__all__ = ["LONE_SIZE", "Receiver", "Sent", "UploadRoom"]

LONE_SIZE = 64 * 1024  # bytes up to which a receiver's only request is urgent

Sent: TypeAlias = int | Exception
"""The size of a chunk that was sent, or why it cannot be read."""


class Receiver(Sending, Protocol):
    """Receive chunks for one peer; called on the event loop only."""

    def __hash__(self) -> int:
        return id(self)

    @property
    def is_writable(self) -> bool:
        """Return True if more can be sent without piling up in memory."""

    @property
    def owner(self) -> Hashable:
        """Return whose connection it is, as far as that is known."""
        return self

    @property
    def is_urgent(self) -> bool:
        """Return True if others that are sent to must not delay its requests."""
        return False

    @property
    def is_alone(self) -> bool:
        """Return True if there is no other receiver, whose chunks could be delayed."""
        return False

    def next_requests(self, limit: int) -> Requests:
        """Return up to `limit` chunks, or parts of them, to send now.

        Each comes with a note for `send`.
        """

    def send(self, chunks: list[tuple[Hashable, bytes]]) -> None:
        """Send chunks, each with the note of its request."""

    @property
    def can_send_read(self) -> bool:
        """Return True if `send_read` can be called now."""
        return False

    def send_read(
        self,
        requests: "Requests",
        read: "Callable[[int | Span], Read]",
        room: Room,
    ) -> "asyncio.Future[list[Sent]]":
        """Read chunks with `read` in threads, and send those that can be read.

        `room` tells how many bytes may be read now. What `read` returns is valid
        until its next call in that thread. The result has one element per request; it
        is cancelled if the connection ends.
        """
        raise AssertionError("a receiver that cannot do this")

    def on_sent(self, sent: list[tuple[Hashable, int]]) -> None:
        """Note the requests that `send_read` has answered, with the chunks' sizes."""
        raise AssertionError("a receiver without `send_read`")

    def refuse(self, notes: list[Hashable], error: Exception) -> None:
        """Refuse requests whose chunks cannot be read."""


class UploadRoom(Room):
    """Tell how many bytes may be read for one peer now, within rate and budget."""

    def __init__(
        self,
        size: int,
        rate: RateLimit,
        budget: SendBudget,
        clock: Callable[[], float],
    ) -> None:
        """Ask `clock` for the time in seconds; about `size` bytes are to be read."""
        self._size = size
        self.given = 0
        """Bytes in all; both limits have counted them."""
        self._last = 0
        self._rate = rate
        self._budget = budget
        self._clock = clock

    def take(self) -> int:
        """Return how many bytes may be read now; 0 for none."""
        now = self._clock()
        if self.given and self._rate.wait(now):
            return 0
        size = self._budget.room(now, self._size - self.given)
        self._rate.take(size, now)
        self.given += size
        self._last = size
        return size

    def made(self) -> None:
        """Note that they are read."""
        self._budget.made(self._last)
