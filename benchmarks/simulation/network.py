"""The simulated network: what a message weighs, and how an uplink sends chunks.

Downlinks are as wide as it takes. An uplink is shared equally by the connections
that have something to send, as TCP's are; messages beside the chunks are counted
and take up the uplink, but are never held up.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from benchmarks.simulation.clock import Clock
from shoal.core.wire.messages import encode_frame

__all__ = ["Tally", "Uplink", "weight"]

RECORD = 22  # bytes that TLS 1.3 adds to a record


def weight(*messages: Struct) -> int:
    """Return the bytes of messages that are sent together, really encoded."""
    return sum(len(encode_frame(each)) for each in messages) + RECORD


class Tally:
    """Count messages and their bytes, by what they are."""

    def __init__(self) -> None:
        self.messages: dict[str, int] = {}
        """How many records with messages of a kind were sent."""
        self.bytes: dict[str, int] = {}
        """Bytes of them, with what TLS adds."""

    def add(self, kind: str, size: int, number: int = 1) -> None:
        """Note `number` records of `size` bytes in all."""
        self.messages[kind] = self.messages.get(kind, 0) + number
        self.bytes[kind] = self.bytes.get(kind, 0) + size


class Uplink:
    """Send on several connections at once, each at the same rate."""

    def __init__(
        self, clock: Clock, rate: float, on_sent: Callable[[Sequence[Any]], None]
    ) -> None:
        """Send `rate` bytes per second; tell `on_sent` what has been sent."""
        self.rate = rate
        self.debt = 0
        """Bytes of other messages that went out since a chunk began."""
        self.busy = 0.0
        """Seconds it has sent in all, up to the last change."""
        self._clock = clock
        self._on_sent = on_sent
        self._sending: list[tuple[float, int, Any]] = []  # by the level at their end
        self._level = 0.0  # bytes that each connection was given so far
        self._since = 0.0  # when the level was right
        self._version = 0
        self._count = 0
        self._is_telling = False

    def __len__(self) -> int:
        """Return how many connections are sending."""
        return len(self._sending)

    def start(self, link: Any, size: int) -> None:
        """Begin to send a chunk."""
        self._pass_time()
        self._count += 1
        end = self._level + size + self.debt
        self.debt = 0
        heapq.heappush(self._sending, (end, self._count, link))
        self._plan()

    def stop(self, link: Any) -> None:
        """Give up what is being sent on a connection, if anything is."""
        self._pass_time()
        self._sending = [each for each in self._sending if each[2] is not link]
        heapq.heapify(self._sending)
        self._plan()

    def _pass_time(self) -> None:
        if self._sending:
            passed = self._clock.now - self._since
            self._level += passed * self.rate / len(self._sending)
            self.busy += passed
        self._since = self._clock.now

    def _plan(self) -> None:
        """Wake when the next chunk has been sent."""
        if self._is_telling or not self._sending:
            return
        self._version += 1
        left = max(0.0, self._sending[0][0] - self._level)
        seconds = left * len(self._sending) / self.rate
        self._clock.later(seconds, self._look, self._version)

    def _look(self, version: int) -> None:
        if version != self._version:
            return
        self._pass_time()
        sent: list[Any] = []
        # The one that was waited for is done, whatever became of the last digit.
        while self._sending and (not sent or self._sending[0][0] <= self._level + 1):
            sent.append(heapq.heappop(self._sending)[2])
        self._is_telling = True
        self._on_sent(sent)
        self._is_telling = False
        self._plan()
