"""The simulated network: the size of messages, and how an uplink sends chunks.

Downlinks have no limit. The connections that have chunks to send share an uplink
equally, as TCP connections do. Messages other than chunks are counted and use the
uplink, but are never delayed.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from benchmarks.simulation.clock import Clock
from shoal.core.wire.messages import encode_frame

__all__ = ["Tally", "Uplink", "weight"]

RECORD = 18  # bytes that encryption adds to a message


def weight(*messages: Struct) -> int:
    """Return the encoded size of messages that are sent together, in bytes."""
    return sum(len(encode_frame(each)) for each in messages) + RECORD


class Tally:
    """Count messages and their bytes by kind."""

    def __init__(self) -> None:
        self.messages: dict[str, int] = {}
        """The number of Noise messages with messages of each kind."""
        self.bytes: dict[str, int] = {}
        """The bytes of these, including what encryption adds."""

    def add(self, kind: str, size: int, number: int = 1) -> None:
        """Add `number` records with `size` bytes in total."""
        self.messages[kind] = self.messages.get(kind, 0) + number
        self.bytes[kind] = self.bytes.get(kind, 0) + size


class Uplink:
    """Send chunks on several connections at the same time and rate."""

    def __init__(
        self, clock: Clock, rate: float, on_sent: Callable[[Sequence[Any]], None]
    ) -> None:
        """Send `rate` bytes per second; call `on_sent` for each chunk that was sent."""
        self.rate = rate
        self.debt = 0
        """Bytes of other messages that were sent since the last chunk started."""
        self.busy = 0.0
        """Total seconds of sending, up to the last change."""
        self._clock = clock
        self._on_sent = on_sent
        self._sending: list[
            tuple[float, int, Any]
        ] = []  # by the level at which they end
        self._level = 0.0  # bytes that each connection has sent so far
        self._since = 0.0  # the time of the level
        self._version = 0
        self._count = 0
        self._is_telling = False

    def __len__(self) -> int:
        """Return the number of connections that are sending."""
        return len(self._sending)

    def start(self, link: Any, size: int) -> None:
        """Start to send a chunk."""
        self._pass_time()
        self._count += 1
        end = self._level + size + self.debt
        self.debt = 0
        heapq.heappush(self._sending, (end, self._count, link))
        self._plan()

    def stop(self, link: Any) -> None:
        """Stop sending the current chunk of a connection, if there is one."""
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
        """Schedule a check for the time when the next chunk is sent."""
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
        # The expected chunk is sent, despite rounding errors.
        while self._sending and (not sent or self._sending[0][0] <= self._level + 1):
            sent.append(heapq.heappop(self._sending)[2])
        self._is_telling = True
        self._on_sent(sent)
        self._is_telling = False
        self._plan()
