"""Wait at relays for peers that cannot be reached otherwise.

A relay joins any two nodes that wait for the same share. A node with a complete copy
always waits, so that every newcomer meets it; one that downloads waits while no chunk
arrives. Relays cost the people who run them, so a download tries all other ways first.
"""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, TypeAlias

from shoal.core.names.address import Address
from shoal.core.report.events import Notice
from shoal.core.report.status import RELAYED
from shoal.errors import PeerError
from shoal.transport.sealed.proven import Factory
from shoal.transport.sealed.relay import direct_time, meet_again

if TYPE_CHECKING:
    from shoal.swarm.swarm import Swarm

__all__ = ["Meet", "Relays"]

# More than `MAX_IDLE_PER_ADDRESS`, as all have the relay's address: idle ones give way.
MAX_RELAYED = 32  # peers of one share that a node is connected with through relays
LOOK_PERIOD = 0.5  # seconds between looks at whether a peer is needed
LEAVE_PERIOD = 2.0  # seconds between looks for ways around a relay
# Two nodes that are connected already are joined again and again: they pause.
REST = (1.0, 60.0)  # seconds until the second attempt, and until later ones at most

Meet: TypeAlias = Callable[[Address, Factory, Callable[[], None]], Awaitable[None]]
"""Wait at a relay; as `Port.meet` does, for one share."""


class Relays:
    """Meet peers of one share at relays, as long as `run` runs."""

    def __init__(
        self,
        swarm: "Swarm",
        meet: Meet,
        rng: Random,
        on_notice: Callable[[Notice], None],
        timeout: float | None = None,
    ) -> None:
        """Add the peers that `meet` finds to `swarm`.

        A download that gives up `timeout` seconds after the last chunk waits at a relay
        early enough.
        """
        self.tried: list[Address] = []
        """The relays at which peers were waited for."""
        self._direct_time = direct_time(timeout)  # seconds without a new chunk
        self._swarm = swarm
        self._meet = meet
        self._rng = rng
        self._on_notice = on_notice
        self._clock = asyncio.get_running_loop().time
        self._stored = 0  # chunks, when last looked at
        self._stored_at = self._clock()  # when that number changed

    async def run(self, relays: AsyncIterable[tuple[Address, str]]) -> None:
        """Wait at each of the relays until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._leave_forever())
            async for relay, _ in relays:
                attempt = partial(self._meet_when_needed, relay)
                again = meet_again(relay, attempt, REST, self._rng, self._on_notice)
                tasks.create_task(again)

    async def _leave_forever(self) -> None:
        """Close connections through a relay once we have found a way around it.

        Only a peer that we have dialled counts, and only once it has sent a right
        chunk: a node id is a claim that any holder can copy.
        """
        while True:
            await asyncio.sleep(LEAVE_PERIOD)
            peers = self._swarm.peers
            around = {p.node_id for p in peers if p.dialled and p.verified}
            for peer in peers:
                if peer.is_relayed and peer.node_id in around:
                    peer.close()

    async def _meet_when_needed(self, relay: Address) -> bool:
        while not self._is_needed():  # noqa: ASYNC110  time alone may change it
            await asyncio.sleep(min(LOOK_PERIOD, self._direct_time))
        if relay not in self.tried:
            self.tried.append(relay)
        return await self._meet_one(relay)

    async def _meet_one(self, relay: Address) -> bool:
        """Return True once a peer is connected, False when none is needed any more.

        Raises what `meet` does.
        """
        is_met = asyncio.Event()
        meeting = asyncio.ensure_future(
            self._meet(relay, self._swarm.accept, is_met.set)
        )
        try:
            while not meeting.done():
                wait = None if self._swarm.is_complete else LOOK_PERIOD
                await asyncio.wait([meeting], timeout=wait)
                if not is_met.is_set() and not self._is_needed():
                    return False
            meeting.result()
            return True
        finally:
            meeting.cancel()
            with suppress(PeerError, asyncio.CancelledError):
                await meeting

    def _is_needed(self) -> bool:
        """Return True if a peer should be met at a relay."""
        status, now = self._swarm.status(), self._clock()
        stored = 0 if status.have is None else len(status.have)
        if stored != self._stored:
            self._stored, self._stored_at = stored, now
        if sum(peer.path == RELAYED for peer in status.peers) >= MAX_RELAYED:
            return False
        return self._swarm.is_complete or now - self._stored_at >= self._direct_time
