"""One join of a topic: when it is looked up, and which nodes it asks for newcomers.

After the first lookups, those of one topic send at most 20 packets a minute, together
with the questions for newcomers.

A node behind a NAT is reached only if it dials at the same time as the other. So it has
to hear of a newcomer within seconds, and not at its next lookup: it keeps asking a few
of the nodes nearest to the topic, to which every newcomer announces itself
(docs/protocol.md, "DHT discovery").
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random

from shoal.discovery.base import AddressQueue
from shoal.discovery.dht.krpc import DhtNode
from shoal.discovery.dht.pace import LookupQueue, LookupSchedule, Priority, WaitRange

__all__ = [
    "MAX_WAITING",
    "SEEK",
    "SEEK_NEAREST",
    "SEEK_NODES",
    "LookupTurns",
    "Search",
]

MAX_WAITING = 1000  # addresses of one join; the next lookup finds the rest again
SEEK = WaitRange(10.0, 15.0)  # seconds between two questions for newcomers
SEEK_NODES = 2  # asked at a time between lookups, and one during a lookup
# Of the nodes that a sharer knows as the nearest eight, a newcomer announces itself to
# the first ones almost surely, and to the last ones about three times of four.
SEEK_NEAREST = 4  # nodes of which one is asked if only one is asked at a time
SEEK_TOPICS = 20  # topics of this node up to which each is asked for so often
FIRST_LOOKUPS = 2  # that are quick although nobody waits: the first may miss nodes


class Search:
    """Hold one join of a topic."""

    def __init__(
        self,
        topic: bytes,
        port: int | None,
        is_awaited: Callable[[], bool],
        rng: Random,
        *,
        interval: WaitRange,
        retry: WaitRange,
        seek: WaitRange = SEEK,
    ) -> None:
        self.topic = topic
        self.port = port
        self.is_awaited = is_awaited
        self.was_announced = False
        """Whether most of the nodes nearest to the topic know of us."""
        self.schedule = LookupSchedule(
            rng=rng, port=port, interval=interval, retry=retry
        )
        self.queue = AddressQueue(MAX_WAITING)
        self.is_due = asyncio.Event()
        """Set to look the topic up again without waiting."""
        self._rng = rng
        self._seek = seek
        self._nearest: list[DhtNode] = []
        self._turns = 0

    def restart(self) -> None:
        """Look the topic up and announce it at once, as at first."""
        self.was_announced = False
        self.schedule.restart()
        self.is_due.set()

    @property
    def priority(self) -> Priority:
        """Return when the next lookup's turn is, beside others.

        A `REPEATED` lookup is not urgent, so its packets are spaced.
        """
        if self.schedule.is_early:
            if self.is_awaited():
                return Priority.AWAITED
            if not self.was_announced or self.schedule.lookups < FIRST_LOOKUPS:
                return Priority.FIRST
        return Priority.REPEATED

    def on_lookup(self, nearest: Iterable[DhtNode]) -> None:
        """Note the live nodes that a lookup has found, the nearest to the topic first.

        A newcomer may find other ones, but most likely the same nearest ones.
        """
        self._nearest = list(nearest)

    def next_asked(self, count: int = SEEK_NODES) -> list[DhtNode]:
        """Return `count` nodes to ask for newcomers now.

        The last one is another one each time; the others are the nearest to the topic.
        One that is asked alone is one of the `SEEK_NEAREST`.
        """
        asked, others = self._nearest[: count - 1], self._nearest[count - 1 :]
        if not asked:
            others = others[:SEEK_NEAREST]
        if others:
            asked.append(others[self._turns % len(others)])
            self._turns += 1
        return asked

    def seek_wait(self, topics: int) -> float | None:
        """Return the seconds until newcomers are asked for; None for never.

        Without an announced port no peer could dial us, so a newcomer is not urgent.
        Many `topics` share the packets of `SEEK_TOPICS`.
        """
        if self.port is None:
            return None
        return self._rng.uniform(*self._seek) * max(1.0, topics / SEEK_TOPICS)


class LookupTurns:
    """Have lookups wait until they may run."""

    def __init__(self) -> None:
        self._queue = LookupQueue()
        self._may_start: dict[int, asyncio.Event] = {}

    @asynccontextmanager
    async def wait(self, priority: Priority) -> AsyncIterator[None]:
        """Wait until a lookup may run, and keep its place during the block."""
        number = self._queue.add(priority)
        may_start = self._may_start[number] = asyncio.Event()
        try:
            if not self._queue.is_running(number):
                await may_start.wait()
            yield
        finally:
            del self._may_start[number]
            for started in self._queue.remove(number):
                self._may_start[started].set()
