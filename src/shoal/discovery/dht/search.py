"""One join of a topic: when it is looked up, and which nodes it asks for newcomers.

A node behind a NAT is reached only if it dials at the same time as the other. So it has
to hear of a newcomer within seconds, and not at its next lookup: it keeps asking a few
of the nodes nearest to the topic, to which every newcomer announces itself
(docs/protocol.md, "DHT discovery").
"""

import asyncio
from collections.abc import Callable, Iterable
from random import Random

from shoal.discovery.base import AddressQueue
from shoal.discovery.dht.krpc import DhtNode
from shoal.discovery.dht.pace import LookupSchedule, Priority, WaitRange

__all__ = ["MAX_WAITING", "SEEK", "SEEK_NODES", "Search"]

MAX_WAITING = 1000  # addresses of one join; the next lookup finds the rest again
SEEK = WaitRange(10.0, 15.0)  # seconds between two questions for newcomers
SEEK_NODES = 3  # asked at a time: 12 to 18 packets a minute
SEEK_TOPICS = 20  # topics of this node up to which each is asked for so often


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
        """Whether a node has confirmed an announcement."""
        self.schedule = LookupSchedule(
            rng=rng, port=port, interval=interval, retry=retry
        )
        self.queue = AddressQueue(MAX_WAITING)
        self.is_due = asyncio.Event()
        """Set to look the topic up again without waiting."""
        self.has_changed = asyncio.Event()
        """Set when a message for the current lookup has arrived."""
        self._rng = rng
        self._seek = seek
        self._nearest: list[DhtNode] = []
        self._turns = 0

    @property
    def priority(self) -> Priority:
        """Return when the next lookup's turn is, beside others."""
        if self.is_awaited():
            return Priority.AWAITED
        return Priority.REPEATED if self.was_announced else Priority.FIRST

    def on_lookup(self, nearest: Iterable[DhtNode]) -> None:
        """Note the live nodes that a lookup has found, the nearest to the topic first.

        A newcomer may find other ones, but most likely the same nearest ones.
        """
        self._nearest = list(nearest)

    def next_asked(self, count: int = SEEK_NODES) -> list[DhtNode]:
        """Return `count` nodes to ask for newcomers now.

        The last one is another one each time; the others are the nearest to the topic.
        """
        asked, others = self._nearest[: count - 1], self._nearest[count - 1 :]
        if others:
            asked.append(others[self._turns % len(others)])
            self._turns += 1
        return asked

    def seek_wait(self, topics: int) -> float | None:
        """Return the seconds until newcomers are asked for; None for never.

        Without an announced port no peer could dial us, so a newcomer is not urgent.
        Many `topics` share the packets of `SEEK_TOPICS`.
        """
        if self.port is None or not self._nearest:
            return None
        return self._rng.uniform(*self._seek) * max(1.0, topics / SEEK_TOPICS)
